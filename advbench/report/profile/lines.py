"""The lines of a profile as text: one place for their contents, whatever the format. No torch."""

from collections.abc import Iterable
from typing import NamedTuple

from advbench.analysis.profile.profiles import Profile
from advbench.analysis.profile.queries import QueryCurve
from advbench.analysis.profile.threat_rows import ThreatRow
from advbench.analysis.statistics import Proportion
from advbench.analysis.transfer.names import LONGEST_LABEL
from advbench.config.budgets import describe_norm
from advbench.report.columns import Column, describe_median
from advbench.sanitize import display_name, told_apart

UNTARGETED = "untargeted"
_MOST_NAMES = 4
"""Most attacks or corruptions that are named in a line."""


class Line(NamedTuple):
    """One line of a profile."""

    threat: str
    """The threat in words."""
    by: str
    """The attacks, or the corruptions."""
    robust: Proportion
    """Share of all images that are robust."""
    noise: str = ""
    """Robust accuracy under random noise of this size."""
    alone: str = ""
    """Number of images that only this threat breaks."""
    passes: str = ""
    """Forward and backward passes per image."""
    seconds: str = ""
    """Seconds for each image."""
    note: str = ""
    """What else is known: the median size of the smallest perturbation, or the mean accuracy."""
    strong: bool = False
    """Whether it is the worst case over several threats."""


class Page(NamedTuple):
    """The profile of one model on one data set."""

    title: str
    """Model and data set."""
    lead: str
    """Clean accuracy and the cost of it all in words."""
    lines: tuple[Line, ...]
    """The threats, and last the worst cases."""
    curves: tuple[str, ...]
    """Success against queries, a sentence for each attack."""

    @property
    def texts(self) -> list[tuple[str, ...]]:
        """The lines under the headings of `COLUMNS`."""
        return [tuple(column.text(line) for column in COLUMNS) for line in self.lines]


COLUMNS: tuple[Column[Line], ...] = (
    Column("threat", lambda line: line.threat, kind="name"),
    Column("by", lambda line: line.by, kind="name", dropped=4),
    Column(
        "robust",
        lambda line: line.robust.percent,
        "share of all images that are correct when clean and not broken",
        kind="share",
    ),
    Column("k/n", lambda line: line.robust.counts, kind="range", dropped=6),
    Column("95 %", lambda line: line.robust.interval, kind="range"),
    Column("noise", lambda line: line.noise, "robust accuracy under random noise", terminal=False),
    Column("alone", lambda line: line.alone, "images that no other threat breaks", dropped=3),
    Column("passes", lambda line: line.passes, "forward and backward passes per image", dropped=5),
    Column("s/image", lambda line: line.seconds, terminal=False),
    Column(
        "median or mean",
        lambda line: line.note,
        "median size of the smallest perturbation, or mean accuracy over the corruptions",
        kind="name",
        dropped=2,
    ),
)
"""Columns of the table of a profile."""
LEGEND = "; ".join(
    [*(f"{each.heading}: {each.meaning}" for each in COLUMNS if each.meaning), "intervals are 95 % Wilson intervals"]
)
"""Meaning of these columns."""


def pages(found: Iterable[Profile]) -> list[Page]:
    """The profiles of a run as text."""
    return [_page(profile) for profile in found]


def _page(profile: Profile) -> Page:
    lines = [_line(row) for row in profile.rows]
    if profile.attacks is not None and len(profile.rows) > 1:
        lines.append(Line("every attack together", "image by image", profile.attacks, strong=True))
    if any(row.kind == "corruption" for row in profile.rows):
        lines.append(Line("every threat together", "image by image", profile.everything, strong=True))
    as_clean = "; without labels, so correct means as on the clean image" if profile.relative else ""
    spent = f"{profile.passes:,.0f} passes and {profile.seconds:.3g} s per image in total"
    names = map(display_name, (profile.model, profile.dataset))
    return Page(
        title=f"{' on '.join(names)} · profile",
        lead=f"clean accuracy {profile.clean}; {spent}{as_clean}",
        lines=tuple(lines),
        curves=tuple(map(_curve, profile.queries)),
    )


def _line(row: ThreatRow) -> Line:
    return Line(
        threat=describe_threat(row),
        by=_named(row.attacks),
        robust=row.robust,
        noise=row.noise.percent if row.noise else "",
        alone=str(row.alone) if row.alone else "",
        passes="" if row.passes is None else f"{row.passes:.0f}",
        seconds="" if row.seconds is None else f"{row.seconds:.2g}",
        note=_note(row),
    )


def describe_threat(row: ThreatRow) -> str:
    """A threat in words.

    Example:
        >>> import numpy as np
        >>> state = np.zeros(1, np.int8)
        >>> describe_threat(ThreatRow(kind="queries", goal="untargeted", norm="linf", eps=4 / 255, state=state))
        'queries · Linf ≤ 4/255'
    """
    if row.kind == "corruption":
        return f"corruptions · severity {row.severity}"
    words = {"movement": "rotated and shifted", "mask": f"only {row.mask}", "patch": f"patch, {row.mask}"}.get(
        row.kind, row.kind
    )
    bound = [f"only {display_name(row.mask)}"] if row.mask and row.kind not in ("mask", "patch") else []
    bound += [describe_norm(row.norm, row.eps)] if row.norm else []
    goal = row.goal.replace("label-out-of-topk:", "first ")
    return " · ".join([display_name(words), *bound, *([goal] if goal != UNTARGETED else [])])


def _named(names: tuple[str, ...]) -> str:
    few = told_apart(names[:_MOST_NAMES], limit=LONGEST_LABEL)
    shown = [display_name(name, limit=LONGEST_LABEL).replace("_", " ") for name in few]
    return ", ".join(shown) if len(names) <= _MOST_NAMES else f"{len(names)} kinds"


def _note(row: ThreatRow) -> str:
    if row.mean is not None:
        return str(row.mean)
    if row.median is not None:
        return describe_median(row.norm, row.median, row.eps)
    return ""


def _curve(curve: QueryCurve) -> str:
    place = describe_norm(curve.norm, curve.eps)
    goal = "" if curve.goal == UNTARGETED else f", {curve.goal}"
    points = "; ".join(
        f"{point.queries:,} {'query' if point.queries == 1 else 'queries'} {point.success.percent}"
        for point in curve.points
    )
    last = curve.points[-1].success
    return f"{curve.attack}, {place}{goal}, of the images right when clean: {points} ({last.counts}, {last.interval})"

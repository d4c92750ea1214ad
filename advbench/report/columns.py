"""The numbers of a run as rows of text: one place for what stands in every table."""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from advbench.analysis.compare import Change, Outcomes
from advbench.analysis.metrics import WORST_CASE, Cell
from advbench.analysis.statistics import Quantile
from advbench.analysis.threats import Threat
from advbench.config.budgets import describe_eps, describe_norm
from advbench.sanitize import display_name

HEADINGS = (
    *("eps", "attack", "robust", "k/n", "95 %", "noise", "success", "flipped", "fooled", "median", "passes"),
    "s/image",
)
"""Of the table of a threat; `LEGEND` says what they mean."""
CHANGE_HEADINGS = ("eps", "attack", "images", "before", "after", "points", "broken", "mended", "p", "p (Holm)")
"""Of the table of a comparison; points, broken, mended and p are about those images that both runs know of."""
UNLIKE = "* the two runs took their gradients from different forms of the network"
"""What a star in the table of a comparison means."""
NO_LABELS = "without labels: correct means classified as when clean"
"""Said of numbers that are relative to the clean predictions."""
LEGEND = (
    "robust: correct when clean and not broken within eps, of all images; noise: the same under random noise; "
    "success: broken, of those correct when clean; flipped: the first class changed, whatever the goal; fooled: wrong "
    "in the end, changed or not; median: size of the smallest perturbation; passes: forward and backward, for each "
    "image; intervals are Wilson's, at 95 %"
)
"""What the columns of a table mean."""


class Table(NamedTuple):
    """The numbers of one threat."""

    threat: Threat
    """What is measured."""
    title: str
    """Model, data set, goal and norm in words."""
    clean: str
    """Clean accuracy in words."""
    cells: tuple[Cell, ...]
    """The numbers."""
    rows: tuple[tuple[str, ...], ...]
    """Their texts, under `HEADINGS`."""


def tables(cells: Iterable[Cell]) -> list[Table]:
    """A table for each threat, in the order of the numbers."""
    found = []
    for threat, group in groupby(cells, key=lambda cell: cell.threat):
        own = tuple(group)
        relative = f"; {NO_LABELS}" if own[0].relative else ""
        clean = f"clean accuracy {own[0].clean}{describe_left_out(own[0])}{relative}{_form(own)}"
        found.append(Table(threat, describe_threat(threat), clean, own, tuple(map(row, own))))
    return found


def describe_left_out(cell: Cell) -> str:
    """How many images a goal has no meaning for, as the end of a sentence; empty if it has one for all."""
    if not cell.left_out:
        return ""
    target = "the first target" if cell.threat.goal.startswith("ordered") else "the target"
    if cell.left_out == 1:
        return f"; 1 image left out: its {'class' if cell.relative else 'label'} is {target}"
    return f"; {cell.left_out} images left out: their {'class' if cell.relative else 'label'} is {target}"


def _form(cells: Iterable[Cell]) -> str:
    """From which form of the network attacks took their gradients, where that is not the network as it is."""
    forms = sorted({form for cell in cells for form in cell.form.split(", ")} - {"", "plain"})
    return f"; gradients from the form {' and '.join(forms)}, verdicts from the network itself" if forms else ""


def describe_threat(threat: Threat) -> str:
    """Model, data set, goal and norm in words.

    Example:
        >>> describe_threat(Threat("vgg16", "photos", "untargeted", "linf"))
        'vgg16 on photos · untargeted · Linf'
    """
    names = [f"{display_name(threat.model, limit=40)} on {display_name(threat.dataset, limit=40)}"]
    names += [display_name(threat.goal, limit=60)] if threat.goal else []
    return " · ".join([*names, *([describe_norm(threat.norm, None).partition(",")[0]] if threat.norm else [])])


def describe_place(threat: Threat, eps: float | None) -> str:
    """A threat with an eps in words.

    Example:
        >>> describe_place(Threat("vgg16", "photos", "untargeted", "linf"), 2 / 255)
        'vgg16 on photos · untargeted · Linf ≤ 2/255'
    """
    if not threat.norm:
        return describe_threat(threat)
    return f"{describe_threat(threat._replace(norm=''))} · {describe_norm(threat.norm, eps)}"


def row(cell: Cell) -> tuple[str, ...]:
    """The texts of one number."""
    passes = None if cell.forwards is None or cell.backwards is None else cell.forwards + cell.backwards
    return (
        describe_bound(cell.threat.norm, cell.eps),
        display_name(cell.attack, limit=60),
        cell.robust.percent,
        cell.robust.counts,
        cell.robust.interval,
        cell.noise.percent if cell.noise else "",
        cell.success.percent,
        cell.flipped.percent,
        cell.fooled.percent,
        describe_median(cell.threat.norm, cell.median, cell.eps),
        "" if passes is None else f"{passes:.0f}",
        "" if cell.seconds is None else f"{cell.seconds:.2g}",
    )


def describe_bound(norm: str, eps: float | None) -> str:
    """An eps in a table."""
    return "no bound" if eps is None else describe_eps(norm, eps)


def describe_median(norm: str, median: Quantile | None, eps: float | None) -> str:
    """A median in a table, in the unit of its eps; empty if the attack was given it, `none` if too few succeeded."""
    if median is None:
        return ""
    return "none" if median.value is None else describe_eps(norm, median.value, like=eps)


class Differences(NamedTuple):
    """The changes of one threat."""

    title: str
    """Models, data set, goal and norm in words."""
    changes: tuple[Change, ...]
    """The cells."""
    rows: tuple[tuple[str, ...], ...]
    """Their texts, under `CHANGE_HEADINGS`."""


def differences(changes: Iterable[Change]) -> list[Differences]:
    """A table for each threat of a comparison."""
    found = []
    for names, group in groupby(changes, key=lambda change: (change.before.model, change.after.threat)):
        own, (old, threat) = tuple(group), names
        title = describe_threat(threat)
        title = title if old == threat.model else f"{display_name(old, limit=40)} → {title}"
        found.append(Differences(title, own, tuple(map(change_row, own))))
    return found


def change_row(change: Change) -> tuple[str, ...]:
    """The texts of one change; points are those that the second run is higher, a star marks :data:`UNLIKE`."""
    return (
        "" if not change.after.key.norm else describe_bound(change.after.key.norm, change.after.key.eps),
        f"{display_name(change.after.key.attack, limit=60)}{' *' if change.unlike else ''}",
        str(change.pairs),
        change.before.share.percent,
        change.after.share.percent,
        f"{0.0 - change.drop_pp:+.1f} ±{change.half_width_pp:.1f}",
        str(len(change.broken)),
        str(len(change.mended)),
        f"{change.p_value:.2g}",
        f"{change.p_adjusted:.2g}",
    )


def describe_outcomes(outcomes: Outcomes) -> str:
    """A cell that only one of two runs has."""
    place = describe_place(outcomes.threat, outcomes.key.eps)
    attack = outcomes.key.params if outcomes.key.attack == WORST_CASE else outcomes.key.attack
    return f"{place}: {display_name(attack, limit=200)}"

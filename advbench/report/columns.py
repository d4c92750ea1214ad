"""The numbers of a run as rows of text: one place for the contents of every table."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Generic, Literal, NamedTuple, TypeVar

from advbench.analysis.anytime.estimate import Estimate
from advbench.analysis.compare import Change, Outcomes
from advbench.analysis.metrics import WORST_CASE, Cell
from advbench.analysis.statistics import Quantile
from advbench.analysis.threats import WHOLE_RUN, Threat
from advbench.analysis.transfer.names import LONGEST_LABEL
from advbench.config.budgets import describe_eps, describe_norm
from advbench.sanitize import count_of, display_name

UNLIKE = "* the two runs took their gradients from different forms of the network"
"""Meaning of a star in the table of a comparison."""
NO_LABELS = "without labels: correct means classified as when clean"
"""Note for numbers that are relative to the clean predictions."""
_T = TypeVar("_T")


class Column(NamedTuple, Generic[_T]):
    """One column of a table, for every format of the report."""

    heading: str
    """Heading of one or two words."""
    text: Callable[[_T], str]
    """Makes the text of a cell; a column without any text is not shown."""
    meaning: str = ""
    """Explanation for the legend; empty if the heading says it all."""
    kind: Literal["name", "number", "range", "share"] = "number"
    """A name is aligned left; a range has two ends, which a terminal shortens; a share is a range in percent."""
    terminal: bool = True
    """Whether a terminal of 100 columns has room for it."""
    dropped: int = 0
    """Order in which columns are dropped on a narrower terminal: 1 goes first, 0 stays."""
    bar: bool = False
    """Whether the HTML page also draws the number as a bar."""


class Table(NamedTuple):
    """The numbers of one threat."""

    threat: Threat
    """The threat that is measured."""
    title: str
    """Model, data set, goal and norm in words."""
    clean: str
    """Clean accuracy in words."""
    cells: tuple[Cell, ...]
    """The numbers, one cell for each row."""
    rows: tuple[tuple[str, ...], ...]
    """Their texts, under the headings of `COLUMNS`."""
    estimates: tuple[str, ...]
    """Sentences on robust accuracies that are estimated from a part of the images."""


def tables(cells: Iterable[Cell]) -> list[Table]:
    """A table for each threat, in the order of the numbers."""
    found = []
    for threat, group in groupby(cells, key=lambda cell: cell.threat):
        own = tuple(group)
        relative = f"; {NO_LABELS}" if own[0].relative else ""
        accuracy = f"{own[0].clean}{_about_labels(threat.goal)}{describe_left_out(own[0])}"
        clean = f"clean accuracy {accuracy}{relative}{_form(own)}{_obstacle(own)}"
        found.append(Table(threat, describe_threat(threat), clean, own, tuple(map(row, own)), tuple(_estimates(own))))
    return found


def _estimates(cells: Iterable[Cell]) -> Iterator[str]:
    """Sentences on the worst cases whose robust accuracy is estimated."""
    for cell in cells:
        if isinstance(cell.robust, Estimate):
            yield f"{describe_norm(cell.threat.norm, cell.eps)}: robust accuracy {cell.robust}"


def describe_left_out(cell: Cell) -> str:
    """The number of images that a goal has no meaning for, as the end of a sentence; empty if there are none."""
    if not cell.left_out:
        return ""
    kind = cell.threat.goal.partition(":")[0]
    if (why := _ASIDE.get(kind)) is not None:
        return f"; {count_of(cell.left_out, 'image')} left out, {why}"
    target = "the first target" if cell.threat.goal.startswith("ordered") else "the target"
    whose = f"{'its' if cell.left_out == 1 else 'their'} {'class' if cell.relative else 'label'}"
    return f"; {count_of(cell.left_out, 'image')} left out: {whose} is {target}"


_RIGHT = {
    "any-label-flips": "every label is right",
    "labels-equal": "every label is right",
    "label-off": "the label is found",
    "label-on": "the label is not found",
}
"""Goal for several labels -> what makes an image correct."""
_ASIDE = {
    "label-off": "without the label",
    "label-on": "with the label",
    "labels-equal": "with these labels alone",
}
"""Goal for several labels -> which images it has no meaning for."""


def _about_labels(goal: str) -> str:
    """What correct means under a goal for several labels, as the end of a sentence; empty for any other goal."""
    right = _RIGHT.get(goal.partition(":")[0])
    return f" (correct: {right})" if right else ""


def _obstacle(cells: Iterable[Cell]) -> str:
    """Why the network cannot be proved, as the end of a sentence; empty if it can, or nothing was to be proved."""
    found = next((cell.obstacle for cell in cells if cell.obstacle), "")
    return f"; {display_name(found, limit=200)}" if found else ""


def _form(cells: Iterable[Cell]) -> str:
    """The forms of the network that attacks took their gradients from, other than the plain one, in words."""
    forms = sorted({form for cell in cells for form in cell.form.split(", ")} - {"", "plain"})
    return f"; gradients from the form {' and '.join(forms)}, verdicts from the network itself" if forms else ""


def describe_threat(threat: Threat) -> str:
    """Model, data set, goal and norm in words.

    Example:
        >>> describe_threat(Threat("vgg16", "photos", "untargeted", "linf"))
        'vgg16 on photos · untargeted · Linf'
        >>> describe_threat(WHOLE_RUN)
        'the whole run'
    """
    if threat == WHOLE_RUN:
        return "the whole run"
    names = [f"{display_name(threat.model)} on {display_name(threat.dataset)}"]
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
    """The texts of one cell, under the headings of `COLUMNS`."""
    return tuple(column.text(cell) for column in COLUMNS)


def describe_bound(norm: str, eps: float | None) -> str:
    """An eps as it is written in a table."""
    return "no bound" if eps is None else describe_eps(norm, eps)


def describe_median(norm: str, median: Quantile | None, eps: float | None) -> str:
    """A median for a table, in the unit of its eps; empty for an attack within an eps, `none` if too few succeeded."""
    if median is None:
        return ""
    return "none" if median.value is None else describe_eps(norm, median.value, like=eps)


class Differences(NamedTuple):
    """The changes of one threat."""

    title: str
    """Models, data set, goal and norm in words."""
    changes: tuple[Change, ...]
    """The changes, one for each row."""
    rows: tuple[tuple[str, ...], ...]
    """Their texts, under the headings of `CHANGE_COLUMNS`."""


def differences(changes: Iterable[Change]) -> list[Differences]:
    """A table for each threat of a comparison."""
    found = []
    for names, group in groupby(changes, key=lambda change: (change.before.model, change.after.threat)):
        own, (old, threat) = tuple(group), names
        before = "" if old == threat.model else f"{display_name(old)} → "
        found.append(Differences(f"{before}{describe_threat(threat)}", own, tuple(map(change_row, own))))
    return found


def change_row(change: Change) -> tuple[str, ...]:
    """The texts of one change, under the headings of `CHANGE_COLUMNS`."""
    return tuple(column.text(change) for column in CHANGE_COLUMNS)


def describe_outcomes(outcomes: Outcomes) -> str:
    """A cell that only one of two runs has, in words."""
    place = describe_place(outcomes.threat, outcomes.key.eps)
    attack = outcomes.key.params if outcomes.key.attack == WORST_CASE else outcomes.key.attack
    return f"{place}: {display_name(attack, limit=200)}"


def _passes(cell: Cell) -> str:
    return "" if cell.forwards is None or cell.backwards is None else f"{cell.forwards + cell.backwards:.0f}"


COLUMNS: tuple[Column[Cell], ...] = (
    Column("eps", lambda cell: describe_bound(cell.threat.norm, cell.eps)),
    Column("attack", lambda cell: display_name(cell.attack, limit=LONGEST_LABEL), kind="name"),
    Column(
        "robust",
        lambda cell: cell.robust.percent,
        "share of all images that are correct when clean and not broken within eps",
        kind="share",
        bar=True,
    ),
    Column("flags", lambda cell: cell.flags, "trust flags that cast doubt on the number", kind="name"),
    Column("k/n", lambda cell: cell.robust.counts, kind="range", dropped=7),
    Column("95 %", lambda cell: cell.interval, kind="range", dropped=6),
    Column(
        "proved",
        lambda cell: cell.proved.percent if cell.proved else "",
        "share of all images with a proof that nothing within eps succeeds",
        kind="share",
    ),
    Column("open", lambda cell: cell.open.percent if cell.open else "", "neither broken nor proved", kind="share"),
    Column(
        "noise",
        lambda cell: cell.noise.percent if cell.noise else "",
        "robust accuracy under random noise",
        terminal=False,  # it has a separate line next to the attacks
    ),
    Column(
        "success",
        lambda cell: cell.success.percent,
        "share of the correct clean images that are broken",
        kind="share",
        dropped=3,
    ),
    Column(
        "flipped",
        lambda cell: cell.flipped.percent,
        "share whose top class (or any label) changed, whatever the goal",
        kind="share",
        dropped=2,
    ),
    Column(
        "fooled",
        lambda cell: cell.fooled.percent,
        "share that is wrong after the attack, clean mistakes included",
        kind="share",
        dropped=1,
    ),
    Column(
        "median",
        lambda cell: describe_median(cell.threat.norm, cell.median, cell.eps),
        "median size of the smallest perturbation",
        dropped=5,
    ),
    Column("passes", _passes, "forward and backward passes per image", dropped=4),
    Column("s/image", lambda cell: "" if cell.seconds is None else f"{cell.seconds:.2g}", terminal=False),
)
"""Columns of the table of a threat."""


def legend(cells: Iterable[Cell]) -> str:
    """The meaning of the columns that have a text for some of the cells, in one sentence.

    Args:
        cells: Numbers in the tables.
    """
    rows = list(map(row, cells))
    shown = [column for i, column in enumerate(COLUMNS) if column.meaning and any(texts[i] for texts in rows)]
    meanings = (f"{column.heading}: {column.meaning}" for column in shown)
    return "; ".join([*meanings, "intervals are 95 % Wilson intervals"])


def _change_bound(change: Change) -> str:
    key = change.after.key
    return describe_bound(key.norm, key.eps) if key.norm else ""


def _change_name(change: Change) -> str:
    return f"{display_name(change.after.key.attack, limit=LONGEST_LABEL)}{' *' if change.unlike else ''}"


CHANGE_COLUMNS: tuple[Column[Change], ...] = (
    Column("eps", _change_bound),
    Column("attack", _change_name, kind="name"),  # a star marks UNLIKE
    Column("images", lambda change: str(change.pairs), dropped=4),
    Column("before", lambda change: change.before.share.percent),
    Column("after", lambda change: change.after.share.percent),
    # percentage points by which the second run is higher
    Column("points", lambda change: f"{0.0 - change.drop_pp:+.1f} ±{change.half_width_pp:.1f}"),
    Column("broken", lambda change: str(len(change.broken)), dropped=2),
    Column("mended", lambda change: str(len(change.mended)), dropped=1),
    Column("p", lambda change: f"{change.p_value:.2g}", dropped=3),
    Column("p (Holm)", lambda change: f"{change.p_adjusted:.2g}"),
)
"""Columns of the table of a comparison; points, broken, mended and p refer to the images known in both runs."""

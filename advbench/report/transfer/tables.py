"""A table from surrogates to models, for every format of the report. No torch."""

from collections.abc import Iterable
from typing import NamedTuple

from advbench.analysis.statistics import Proportion
from advbench.analysis.transfer.matrix import TransferCell, TransferMatrix
from advbench.config.budgets import describe_norm
from advbench.sanitize import display_name, told_apart

_LONGEST = 40
"""Most characters of a model's label in the tables."""

CAPTION = (
    "Share of the images that both models classify correctly when clean on which the goal is met, with its 95 % "
    "interval, and how often both predict the same class when clean. Transfer shows what an attacker without access to "
    "the model can do, and no more: to measure its robustness, attack the model itself"
)
"""What the numbers of the table are."""


class Crossing(NamedTuple):
    """One attack from one surrogate to one model."""

    text: str
    """Success with its interval, and clean agreement."""
    share: float
    """Success from 0 to 1, for the colour."""
    told: str
    """Both with their counts."""


class TransferRow(NamedTuple):
    """One surrogate."""

    name: str
    """Label of the surrogate."""
    cells: tuple[Crossing, ...]
    """Its numbers, by model."""


class TransferTable(NamedTuple):
    """One attack at one eps."""

    title: str
    """Attack, data set, goal and budget in words."""
    lead: str
    """What stands in rows and columns, in one sentence."""
    models: tuple[str, ...]
    """Headings of the columns: labels of the models."""
    rows: tuple[TransferRow, ...]
    """Surrogates, in the order of the run."""

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of the columns."""
        return ("from \\ to", *self.models)

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The rows as plain text, under the headings."""
        return tuple((row.name, *(cell.text for cell in row.cells)) for row in self.rows)


def transfer_tables(found: Iterable[TransferMatrix]) -> list[TransferTable]:
    """A table for each attack and budget, in the order of the run."""
    return [_table(each) for each in found]


def _table(found: TransferMatrix) -> TransferTable:
    parts = [f"{found.attack} on {display_name(found.dataset)}", display_name(found.goal, limit=60)]
    parts += [describe_norm(found.norm, found.eps), "transfer"]
    lead = "made on the model of the row, judged on that of the column"
    lead += "; without labels: right means classified as the model does when clean" if found.relative else ""
    labels = tuple(dict.fromkeys((*found.surrogates, *found.models)))
    named = (display_name(label, limit=_LONGEST) for label in told_apart(labels, limit=_LONGEST))
    called = dict(zip(labels, named, strict=True))
    rows = tuple(
        TransferRow(
            called[source],
            tuple(_crossing(found.cells.get((source, to)), itself=source == to) for to in found.models),
        )
        for source in found.surrogates
    )
    return TransferTable(" · ".join(parts), lead, tuple(called[model] for model in found.models), rows)


def _crossing(cell: TransferCell | None, *, itself: bool) -> Crossing:
    if cell is None:
        return Crossing("", 0.0, "")
    told = f"success {cell.success}; clean agreement {cell.agreement}"
    if cell.success.rate is None:
        return Crossing(f"no image; agree {_percent(cell.agreement)}", 0.0, told)
    beside = "the model itself" if itself else f"agree {_percent(cell.agreement)}"
    text = f"{cell.success.percent} {cell.success.interval}; {beside}"
    return Crossing(text, cell.success.rate, told)


def _percent(share: Proportion) -> str:
    return "nothing" if share.rate is None else share.percent

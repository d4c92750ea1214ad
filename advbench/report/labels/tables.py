"""Tables of the rates of each label: rows of text for every format of the report. No torch."""

from collections.abc import Iterable
from typing import NamedTuple

from advbench.analysis.labels.rates import LabelRates, LabelTable
from advbench.analysis.statistics import Proportion
from advbench.analysis.threats import Threat
from advbench.analysis.transfer.names import LONGEST_LABEL
from advbench.report.columns import Column, describe_place
from advbench.sanitize import display_name, told_apart

_LONGEST = 30
"""Most characters of a label's name in a table."""

CAPTION = (
    "right: share of all images with the true answer; turned off, turned on: by any attack, share of the images with "
    "and without the label in the model's clean answer; intervals are 95 % Wilson intervals. The goals of the run "
    "decide which labels its attacks change: label-off:LABEL measures the worst case of one. Trust checks D2, D3 and "
    "A11 need one class per image, and were not run"
)
"""What the numbers of the tables are, and what is not checked."""


def _share(share: Proportion) -> str:
    return "" if share.rate is None else f"{share.percent} {share.interval}"


def _counted(share: Proportion) -> str:
    return "" if share.rate is None else f"{share.counts} {share.interval}"


LABEL_COLUMNS: tuple[Column[LabelRates], ...] = (
    Column("label", lambda rates: display_name(rates.name, limit=_LONGEST), kind="name"),
    Column("images", lambda rates: str(rates.images), "that have it", dropped=1),
    Column("right when clean", lambda rates: _share(rates.clean)),
    Column("right under attack", lambda rates: _share(rates.robust)),
    Column("turned off", lambda rates: _counted(rates.off)),
    Column("turned on", lambda rates: _counted(rates.on)),
)
"""Columns of a table of labels."""


class LabelRows(NamedTuple):
    """A table of labels in words."""

    title: str
    """Model, data set, norm and eps."""
    lead: str
    """Subset accuracy, clean and under attack, in one sentence."""
    rows: tuple[tuple[str, ...], ...]
    """A text for each of `LABEL_COLUMNS`, for each label."""


def label_rows(tables: Iterable[LabelTable]) -> list[LabelRows]:
    """The tables of a run in words."""
    return [_in_words(table) for table in tables]


def _in_words(table: LabelTable) -> LabelRows:
    place = describe_place(Threat(table.model, table.dataset, "", table.norm), table.eps)
    attacks = ", ".join(display_name(name, limit=LONGEST_LABEL) for name in table.attacks)
    lead = f"every label right: {table.clean} when clean, {table.robust} under {attacks}"
    lead += "; without labels: right means as when clean" if table.relative else ""
    names = told_apart([rates.name for rates in table.rates], limit=_LONGEST)
    named = [rates._replace(name=name) for rates, name in zip(table.rates, names, strict=True)]
    rows = tuple(tuple(column.text(rates) for column in LABEL_COLUMNS) for rates in named)
    return LabelRows(f"{place} · label by label", lead, rows)

"""How models rank from threat to threat, as text: one place for the contents, whatever the format. No torch."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from advbench.analysis.profile.rankings import Rankings
from advbench.report.profile.lines import describe_threat
from advbench.sanitize import display_name, told_apart

_LONGEST = 30
"""Most characters of a model's label in the table."""

CLEAN = "clean images"
ORDER_CAPTION = "Rank of each model, 1 is best, and its robust accuracy in percent"
"""What the first table holds."""
TAU_CAPTION = (
    "Kendall's tau between the rankings under two threats: 1 is the same order, 0 no relation, -1 the opposite; in "
    "brackets the 95 % interval over images"
)
"""What the second table holds."""


class Grid(NamedTuple):
    """A table of texts."""

    headings: tuple[str, ...]
    """Headings of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Rows, each with a text under every heading."""


class RankingPage(NamedTuple):
    """How the models of a run rank on one data set."""

    title: str
    """Data set, and how many models there are."""
    order: Grid
    """Places of the models by threat."""
    tau: Grid
    """Agreement of every threat with the others: with clean images, on average, and where it is least."""


def ranking_pages(found: Iterable[Rankings]) -> list[RankingPage]:
    """The rankings of a run as text."""
    return [_page(each) for each in found]


def _page(found: Rankings) -> RankingPage:
    names = [CLEAN if row is None else describe_threat(row) for row in found.threats]
    models = tuple(display_name(model, limit=_LONGEST) for model in told_apart(found.models, limit=_LONGEST))
    cells = [
        tuple(f"{rank:g} ({100 * rate:.0f})" for rank, rate in zip(ranks, rates, strict=True))
        for ranks, rates in zip(found.ranks.tolist(), found.rates.tolist(), strict=True)
    ]
    order = tuple((name, *own) for name, own in zip(names, cells, strict=True))
    return RankingPage(
        title=f"{display_name(found.dataset)} · how {len(models)} models rank from threat to threat",
        order=Grid(("threat", *models), order),
        tau=Grid(("threat", "with clean", "with the others, mean", "least with"), tuple(_agreement(found, names))),
    )


def _agreement(found: Rankings, names: list[str]) -> Iterable[tuple[str, ...]]:
    for place, name in enumerate(names):
        others = {names[other]: tau for other, tau in enumerate(found.tau[place]) if other != place and tau is not None}
        if not others:
            yield (name, "", "", "all models are tied")
            continue
        least = min(others, key=lambda other: others[other].value)
        mean = np.mean([tau.value for tau in others.values()])
        clean = "" if place == 0 else str(found.tau[place][0] or "")
        yield (name, clean, f"{mean:.2f}", f"{others[least]} · {least}")

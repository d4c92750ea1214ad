"""Trust flag M10: accuracy on clean images that is not the published one. No torch."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from advbench.analysis.statistics import Proportion
from advbench.analysis.threats import ThreatResults
from advbench.catalog import DATASETS, MODELS
from advbench.records.flag import Flag

if TYPE_CHECKING:
    from advbench.config.suite import Suite

LEVEL = 0.001
"""Largest probability of so few right answers by the choice of images alone, for a flag."""


def check_published(evidence: Sequence[ThreatResults], suite: "Suite") -> list[Flag]:
    """Flags of models that are worse on clean images than published, beyond what the choice of images explains.

    Args:
        evidence: Results of each threat of a run.
        suite: Suite that was run; its models of the table have a published accuracy, unless other weights were given.
    """
    from scipy.special import bdtr  # which takes a while to import

    published = dict(_published(suite))
    found = {}
    for each in evidence:
        where = each.threat.model, each.threat.dataset
        if where not in published or each.relative or each.left_out:
            continue
        known = each.clean >= 0
        clean = Proportion(int(each.correct.sum()), int(known.sum()), 0)
        if bdtr(clean.k, clean.n, published[where]) < LEVEL:
            found[where] = Flag(
                id="M10", severity="F", model=where[0], dataset=where[1], value=clean.rate,
                message=f"accuracy on clean images is {clean}, and {published[where]:.1%} was published",
                advice="are these its weights, its images and its preprocessing? A defence may cost accuracy too",
            )  # fmt: skip
    return list(found.values())


def _published(suite: "Suite") -> Iterator[tuple[tuple[str, str], float]]:
    """Model and data set -> accuracy, where the data set is a sample of what it was measured on."""
    for model in suite.models:
        if model.name not in MODELS or model.weights is not None:
            continue
        card = MODELS[model.name]
        for data in suite.datasets:
            same = data.name in DATASETS and DATASETS[data.name].data == card.data
            if same and card.clean is not None and data.split in (None, "test", "val"):
                yield (model.label, data.label), card.clean

"""Trust flags that compare the rows of a run with its suite: M10, and A12. Does not import torch."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from advbench.analysis.statistics import Proportion
from advbench.analysis.threats import ThreatResults
from advbench.catalog import ATTACKS, DATASETS, MODELS
from advbench.records.flag import Flag
from advbench.records.record import PROOF

if TYPE_CHECKING:
    from advbench.config.suite import Suite

WITHOUT_GRADIENTS = {"l0": "sparse_rs"}
"""Norm -> gradient-free attacks to suggest, where these differ from the usual ones."""
LEVEL = 0.001
"""Significance level: largest probability, by the choice of images alone, of an accuracy this low."""


def check_suite(evidence: Sequence[ThreatResults], suite: "Suite") -> list[Flag]:
    """Flags for a model that is worse on clean images than published (M10), and for attacks of only one kind (A12).

    Args:
        evidence: Results of each threat of a run.
        suite: Suite that was run; its catalogue models have a published accuracy, unless other weights were given.
    """
    return [*_worse_than_published(evidence, suite), *(flag for each in evidence for flag in _one_kind(each))]


def _one_kind(evidence: ThreatResults) -> Iterator[Flag]:
    """A12: all attacks use the model's gradients, which a defence may hide; transfer attacks do not."""
    if any(trial.surrogate is not None for trial in evidence.trials):
        return
    names = dict.fromkeys(trial.attack for trial in evidence.trials if trial.attack != PROOF)
    cards = [ATTACKS[name] for name in names if name in ATTACKS]
    guided = [card for card in cards if card.search != "blind"]
    if not guided or len(cards) < len(names) or not len(evidence.samples):  # a kind is unknown, or nothing was run
        return
    if all(card.access == "gradients" and not card.besides for card in guided):
        others = WITHOUT_GRADIENTS.get(evidence.threat.norm, "square or hop_skip_jump")
        yield Flag(
            id="A12", severity="I", model=evidence.threat.model, dataset=evidence.threat.dataset,
            message=f"all attacks in {evidence.threat.norm} use gradients: {', '.join(card.name for card in guided)}",
            advice=f"add a gradient-free one, such as {others}, or standard, which combines both kinds",
        )  # fmt: skip


def _worse_than_published(evidence: Sequence[ThreatResults], suite: "Suite") -> list[Flag]:
    """M10: accuracy on clean images is lower than the choice of images explains."""
    from scipy.special import bdtr  # slow to import

    published = dict(_published(suite))
    found = {}
    for each in evidence:
        where = each.threat.model, each.threat.dataset
        if (
            where not in published
            or each.relative
            or each.left_out
            or each.threat.goal.startswith(("label-o", "labels"))
        ):
            continue  # with a goal about one label, correct means correct about that label
        known = each.clean >= 0
        clean = Proportion(int(each.correct.sum()), int(known.sum()), 0)
        if bdtr(clean.k, clean.n, published[where]) < LEVEL:
            found[where] = Flag(
                id="M10", severity="F", model=where[0], dataset=where[1], value=clean.rate,
                message=f"accuracy on clean images is {clean}, and {published[where]:.1%} was published",
                advice="are weights, images and preprocessing the right ones? A defence may also cost accuracy",
            )  # fmt: skip
    return list(found.values())


def _published(suite: "Suite") -> Iterator[tuple[tuple[str, str], float]]:
    """Model and data set -> published accuracy, if the data set is a sample of the one it was measured on."""
    for model in suite.models:
        if model.name not in MODELS or model.weights is not None:
            continue
        card = MODELS[model.name]
        for data in suite.datasets:
            same = data.name in DATASETS and DATASETS[data.name].data == card.data
            if same and card.clean is not None and data.split in (None, "test", "val"):
                yield (model.label, data.label), card.clean

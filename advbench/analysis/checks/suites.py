"""Trust flags that compare the rows of a run with its suite: M10, and A12. No torch."""

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
"""Norm -> attacks that do without gradients, where these are not the usual ones."""
LEVEL = 0.001
"""Largest probability of so few right answers by the choice of images alone, for a flag."""


def check_suite(evidence: Sequence[ThreatResults], suite: "Suite") -> list[Flag]:
    """Flags of a model that is worse on clean images than published (M10), and of attacks of one kind alone (A12).

    Args:
        evidence: Results of each threat of a run.
        suite: Suite that was run; its models of the table have a published accuracy, unless other weights were given.
    """
    return [*_worse_than_published(evidence, suite), *(flag for each in evidence for flag in _one_kind(each))]


def _one_kind(evidence: ThreatResults) -> Iterator[Flag]:
    """A12: all attacks go by gradients, which a defence may hide; those made on other models do not."""
    if any(trial.surrogate is not None for trial in evidence.trials):
        return
    names = dict.fromkeys(trial.attack for trial in evidence.trials if trial.attack != PROOF)
    cards = [ATTACKS[name] for name in names if name in ATTACKS]
    guided = [card for card in cards if card.search != "blind"]
    if not guided or len(cards) < len(names) or not len(evidence.samples):  # one is of unknown kind, or nothing was run
        return
    if all(card.access == "gradients" and not card.besides for card in guided):
        others = WITHOUT_GRADIENTS.get(evidence.threat.norm, "square or hop_skip_jump")
        yield Flag(
            id="A12", severity="I", model=evidence.threat.model, dataset=evidence.threat.dataset,
            message=f"all attacks in {evidence.threat.norm} go by gradients: {', '.join(card.name for card in guided)}",
            advice=f"add one that does not, such as {others}, or standard, which does both",
        )  # fmt: skip


def _worse_than_published(evidence: Sequence[ThreatResults], suite: "Suite") -> list[Flag]:
    """M10: fewer right answers on clean images than the choice of images explains."""
    from scipy.special import bdtr  # which takes a while to import

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
            continue  # with a goal that is about one label, right means right about that one
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

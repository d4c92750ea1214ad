"""Numbers of a run from its frame, each with count, interval and noise baseline. Does not import torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from advbench.analysis.anytime.estimate import Estimate
from advbench.analysis.arrays import Bools, Floats
from advbench.analysis.proofs import proved_at
from advbench.analysis.statistics import Proportion, Quantile, quantile
from advbench.analysis.threats import BROKEN, ROBUST, UNKNOWN, Threat, ThreatResults, Trial, states, within

WORST_CASE = "worst case"
"""Label for all attacks together: an image counts as broken if any of them broke it."""
Budgets = Mapping[tuple[str, str], Sequence[float]]
"""(data set, norm) -> budgets at which to report minimum-norm attacks."""
NO_BUDGETS: Budgets = {}
"""No budgets for any data set."""
NOISE = "noise"
"""Name of the baseline attack that every other attack must beat."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The numbers of one attack, or of the worst case over all attacks, at one eps.

    Robust accuracy is a share of all images; success is a share of those classified correctly when clean. Images that
    are left out because the goal has no meaning for them count in none of the numbers, not even in clean accuracy, so
    an attack that does nothing leaves robust accuracy equal to clean accuracy. If a data set has no labels, `relative`
    is true and "correct" means "as when clean".
    """

    threat: Threat
    """Model, data set, goal and norm."""
    attack: str
    """Name of the attack, with parameters if several share the name, or `WORST_CASE`."""
    params: str
    """Parameters of the attack, as JSON; empty for the worst case."""
    eps: float | None
    """Budget, image units; None: no bound."""
    clean: Proportion
    """Clean accuracy, over all images."""
    robust: Proportion | Estimate
    """Robust accuracy, over all images: correct when clean, and the goal not met within eps. An estimate for the worst
    case of a run that stopped once it was decided."""
    success: Proportion
    """Attack success rate, over the images that are correct when clean."""
    flipped: Proportion
    """Label-flip rate, over all images: the predicted class changed within eps, whatever the goal."""
    fooled: Proportion
    """Fooling rate, over all images: misclassified in the end, whether the class changed or not."""
    noise: Proportion | None
    """Robust accuracy under random noise at this eps; None if the run has no noise."""
    median: Quantile | None
    """Median size of the smallest perturbation of images that are correct when clean, counting failures as infinite;
    None for attacks with a given eps."""
    quartile1: Quantile | None
    """First quartile of these sizes."""
    quartile3: Quantile | None
    """Third quartile of these sizes."""
    forwards: float | None
    """Mean number of forward passes per image, at this eps."""
    backwards: float | None
    """Mean number of backward passes per image."""
    seconds: float | None
    """Mean number of seconds per image."""
    relative: bool
    """Whether "correct" means equal to the clean prediction, because there are no labels."""
    form: str = ""
    """Form of the network in which the attack computed gradients; several are separated by commas."""
    flags: str = ""
    """Ids of the trust flags of severity E or F about this cell, separated by commas: open doubts."""
    proved: Proportion | None = None
    """Proved accuracy, over all images: correct when clean, not broken, and proved that nothing within eps meets the
    goal. Given for the worst case of a run with proofs; None otherwise."""
    open: Proportion | None = None
    """Share of all images that are neither broken nor proved: robust accuracy lies between `proved` and `proved` plus
    `open`. None if `proved` is."""
    obstacle: str = ""
    """Why the network cannot be proved; empty if it can, or if there are no proofs."""
    left_out: int = 0
    """Number of images left out of all numbers, because the goal wants the class that they already have."""
    part_of: int = 0
    """Total number of images, if the numbers come from a random part of them; 0: they come from all images."""

    @property
    def interval(self) -> str:
        """The 95 % interval of robust accuracy in percent; empty if there is none that holds."""
        # Of a part that ended when the run was decided, an interval that looks at the data once would not hold.
        return "" if self.part_of and self.attack != WORST_CASE else self.robust.interval


def cells_of(evidence: ThreatResults, eps: Budgets = NO_BUDGETS) -> list[Cell]:
    """All numbers of one threat.

    A perturbation counts at every eps of at least its measured size, so robust accuracy never grows with eps. Unknown
    images turn a number into a range; none of them counts as robust.

    Args:
        evidence: Results of one threat.
        eps: Budgets at which to report minimum-norm attacks, if the run has no attack with an eps under the same
            threat; without any, they are reported only without a bound.

    Returns:
        For each eps, first the worst case, then each attack.

    Example:
        >>> from advbench.analysis.threats import gather
        >>> row = {"model": "net", "dataset": "toy", "goal": "untargeted", "norm": "linf", "attack": "pgd",
        ...        "params": "{}", "eps": 0.1, "sample_id": "a", "label": 3, "clean_class": 3, "adv_class": 5,
        ...        "flipped": True, "met": True, "linf": 0.05, "status": "ok", "forwards": 9.0, "backwards": 8.0,
        ...        "seconds": 0.1}
        >>> spared = row | {"sample_id": "b", "adv_class": 3, "flipped": False, "met": False, "linf": None}
        >>> (evidence,) = gather(pd.DataFrame([row, spared]))
        >>> worst, pgd = cells_of(evidence)
        >>> print(pgd.robust)
        50.0 % (1/2) [9.5, 90.5]
    """
    found = []
    for level in levels(evidence, eps):
        speaking = [trial for trial in evidence.trials if trial.at(level) is not None]
        noise = [trial for trial in speaking if trial.attack == NOISE]
        baseline = robust_accuracy(evidence, noise, level) if noise else None
        found.append(_with_proofs(_cell(evidence, speaking, level, baseline, WORST_CASE), evidence))
        found += [_cell(evidence, [trial], level, baseline, trial.label) for trial in speaking]
    return found


def robust_accuracy(evidence: ThreatResults, trials: Sequence[Trial], eps: float | None) -> Proportion:
    """The share of all images that none of some attacks broke at an eps.

    Args:
        evidence: Results of all attacks under one threat.
        trials: Attacks to count, from this evidence.
        eps: Budget, image units; None: no bound.
    """
    state = states(evidence, trials, eps)
    return Proportion.of(state == ROBUST, state == UNKNOWN)


def levels(evidence: ThreatResults, eps: Budgets = NO_BUDGETS) -> list[float | None]:
    """The eps at which a threat has numbers, ascending; None (no bound) is last."""
    bounds: list[float | None] = list(
        evidence.eps or sorted(eps.get((evidence.threat.dataset, evidence.threat.norm), ()))
    )
    return bounds or [None]


def form_of(trials: Sequence[Trial]) -> str:
    """Forms of the network in which some attacks could compute gradients, such as "bfloat16, plain"."""
    return ", ".join(sorted(set[str]().union(*(trial.forms for trial in trials))))


_PARTS: dict[Any, tuple[str, ...]] = {
    Proportion: ("k", "n", "unknown", "rate", "low", "high"),
    Proportion | Estimate: ("k", "n", "unknown", "rate", "low", "high", "seen"),
    Quantile: ("value", "low", "high"),
}
"""Type of a number -> its parts, each of which has a column in JSON and CSV."""


def as_frame(found: Iterable[Cell]) -> pd.DataFrame:
    """Numbers as a table: one row per cell, shares as counts, rates and interval ends, and only finite values."""
    return pd.DataFrame([as_dict(cell) for cell in found])


def as_dict(cell: Cell) -> dict[str, object]:
    """One cell as plain values, for JSON and CSV."""
    row: dict[str, object] = {}
    for field in fields(cell):
        value = getattr(cell, field.name)
        parts = next((parts for kind, parts in _PARTS.items() if field.type in (kind, kind | None)), ())
        if isinstance(value, Threat):
            row |= value._asdict()
        elif parts:
            row |= {f"{field.name}_{part}": getattr(value, part, None) for part in parts}
        else:
            row[field.name] = value
    return row


def smallest(evidence: ThreatResults, trials: Sequence[Trial]) -> Floats:
    """Size of the smallest perturbation of each image (N,) over some attacks.

    0 for an image that is misclassified when clean, infinite if none was found.
    """
    radius = np.min([trial.radius for trial in trials], axis=0) if trials else np.full(len(evidence.samples), np.inf)
    wrong = (evidence.clean >= 0) & ~evidence.correct
    return np.where(wrong, 0.0, radius)


def _cell(
    evidence: ThreatResults, trials: Sequence[Trial], eps: float | None, noise: Proportion | None, attack: str
) -> Cell:
    known, correct = evidence.clean >= 0, evidence.correct
    state = states(evidence, trials, eps)
    total = len(state)
    minimal = [trial for trial in trials if trial.minimal]
    costs, (flipped, fooled) = costs_of(trials, eps), _rates(evidence, trials, eps)
    first, median, third = (size_quantile(evidence, minimal, q) for q in (0.25, 0.5, 0.75)) if minimal else (None,) * 3
    return Cell(
        threat=evidence.threat,
        attack=attack,
        params=trials[0].params if attack != WORST_CASE else "",
        eps=eps,
        clean=Proportion(int(correct.sum()), total, int((~known).sum())),
        robust=Proportion.of(state == ROBUST, state == UNKNOWN),
        success=Proportion.of((state == BROKEN)[correct], (state == UNKNOWN)[correct]),
        flipped=flipped,
        fooled=fooled,
        noise=noise,
        median=median,
        quartile1=first,
        quartile3=third,
        forwards=costs["forwards"],
        backwards=costs["backwards"],
        seconds=costs["seconds"],
        relative=evidence.relative,
        form=form_of(trials),
        left_out=evidence.left_out,
    )


def _with_proofs(cell: Cell, evidence: ThreatResults) -> Cell:
    """Add the proofs at its eps to a worst-case cell."""
    proved = proved_at(evidence.proofs, cell.eps)
    if proved is None:
        return cell
    standing = states(evidence, evidence.trials, cell.eps) != BROKEN
    certain = proved & standing & evidence.correct
    total = len(standing)
    return replace(
        cell,
        proved=Proportion(int(certain.sum()), total, 0),
        open=Proportion(int((standing & ~certain).sum()), total, 0),
        obstacle="; ".join(sorted({why for each in evidence.proofs.values() for why in each.obstacles})),
    )


def _rates(evidence: ThreatResults, trials: Sequence[Trial], eps: float | None) -> tuple[Proportion, Proportion]:
    """Share of all images whose class any of the attacks changed within eps, and of those misclassified in the end."""
    changed, fooled = np.zeros((2, len(evidence.samples)), bool)
    unknown = evidence.clean < 0
    for trial in trials:
        if (level := trial.at(eps)) is None:
            continue
        flipped = changed_within(trial, eps, level.flipped)
        wrong = (level.adv_class >= 0) & (level.adv_class != evidence.truth) & flipped
        still = (evidence.clean >= 0) & ~evidence.correct & ~flipped
        changed |= flipped
        fooled |= wrong | still
        unknown = unknown | level.unknown
    return Proportion.of(changed, unknown), Proportion.of(fooled, unknown)


def changed_within(trial: Trial, eps: float | None, flipped: Bools) -> Bools:
    """Images whose predicted class the candidate changed, if its size is known to be within eps."""
    return flipped if eps in trial.levels else flipped & within(trial.radius, eps)


def size_quantile(evidence: ThreatResults, trials: Sequence[Trial], q: float = 0.5) -> Quantile:
    """A quantile of the smallest perturbations of images that are correct when clean.

    If an attack failed on an image, a smaller perturbation than those that were found may exist.

    Args:
        evidence: Results of all attacks under one threat.
        trials: Minimum-norm attacks from this evidence; at least one.
        q: Level of the quantile, between 0 and 1.
    """
    failed = np.any([trial.levels[None].unknown for trial in trials], axis=0)
    return quantile(smallest(evidence, trials)[evidence.correct], q, failed[evidence.correct])


def costs_of(trials: Sequence[Trial], eps: float | None) -> dict[str, float | None]:
    """Mean forward passes, backward passes and seconds per image, summed over attacks; None if none is known.

    Args:
        trials: Attacks to add up.
        eps: Budget at which the costs are counted; None: no bound.
    """
    found = [level for trial in trials if (level := trial.at(eps)) is not None and level.rows]
    return {
        name: sum(level.cost[name] / level.rows for level in found) if found else None
        for name in ("forwards", "backwards", "seconds")
    }

"""Rows of a profile: the attacks that make up each threat, and the images that survive it. Does not import torch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from advbench.analysis.arrays import COSTS
from advbench.analysis.corruptions.outcomes import Corrupted
from advbench.analysis.metrics import NOISE, Budgets, costs_of, robust_accuracy, size_quantile
from advbench.analysis.statistics import Mean, Proportion, Quantile, mean_over
from advbench.analysis.threats import BROKEN, ROBUST, UNKNOWN, ThreatResults, Trial, states
from advbench.analysis.transfer.names import parameters
from advbench.catalog.attacks import ATTACKS, UNIVERSAL
from advbench.config.masks import mask_in, without_mask
from advbench.sanitize import one_line

Kind = Literal["gradients", "mask", "patch", "queries", "transfer", "universal", "movement", "corruption"]
"""Capability of the attacker: gradients within a norm; gradients under a mask; a patch at some place; queries without
gradients; another model; one perturbation for all images; rotation and translation; or none, for corruptions such as
noise, blur, weather or compression."""
PATCH = "patch"
"""The attack that puts a patch on each image, bounded by its share of the image and not by a norm."""
MOVEMENTS = ("spatial", "foolbox/spatial")
"""Attacks that rotate and translate an image, bounded by no norm."""
States = NDArray[np.int8]
"""Outcome of each image: `BROKEN`, `ROBUST` or `UNKNOWN`."""


class Images(NamedTuple):
    """The images of a profile, in order."""

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set, without a mask."""
    clean: ThreatResults
    """Labels and clean predictions of the images."""
    known: Mapping[str, frozenset[str]]
    """Label of the data set, with and without masks -> ids of its images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ThreatRow:
    """One threat of a profile."""

    kind: Kind
    """Capability of the attacker."""
    goal: str = ""
    """Goal, which defines what counts as broken; empty for corruptions."""
    norm: str = ""
    """Norm in which perturbations are measured; empty for movements, patches and corruptions."""
    eps: float | None = None
    """Budget, image units; None: no bound."""
    mask: str = ""
    """The mask or the patch; empty: everything may change."""
    severity: int | None = None
    """Severity of the corruptions; None for attacks."""
    attacks: tuple[str, ...] = ()
    """Labels of the attacks, or names of the corruptions."""
    state: States
    """Outcome of each image of the profile (N,)."""
    median: Quantile | None = None
    """Median size of the smallest perturbation; None without minimum-norm attacks."""
    noise: Proportion | None = None
    """Share of the images that survive random noise of this size; None if the run has none."""
    mean: Mean | None = None
    """Mean accuracy under a corruption of this severity; None for attacks."""
    forwards: float | None = None
    """Mean number of forward passes per image."""
    backwards: float | None = None
    """Mean number of backward passes per image."""
    seconds: float | None = None
    """Mean number of seconds per image."""
    alone: int = 0
    """Number of images that survive all other rows, but not this one."""

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def robust(self) -> Proportion:
        """Share of the images that survive the threat."""
        return share_of(self.state)

    @property
    def passes(self) -> float | None:
        """Forward and backward passes per image."""
        return None if self.forwards is None else self.forwards + (self.backwards or 0.0)

    def as_dict(self) -> dict[str, Any]:
        """The row as plain values, for JSON."""
        names = ("kind", "goal", "norm", "eps", "mask", "severity", "forwards", "backwards", "seconds", "alone")
        numbers = {name: getattr(self, name) for name in ("median", "mean")}
        return {
            **{name: getattr(self, name) for name in names},
            "attacks": list(self.attacks),
            "robust": self.robust.as_dict(),
            "noise": None if self.noise is None else self.noise.as_dict(),
            **{name: None if found is None else found._asdict() for name, found in numbers.items()},
        }


def share_of(state: States) -> Proportion:
    """The share of all images that survive.

    Example:
        >>> print(share_of(np.array([ROBUST, BROKEN, UNKNOWN, ROBUST], np.int8)))
        50.0 to 75.0 % (2 to 3/4) [15.0, 95.4]
    """
    return Proportion.of(state == ROBUST, state == UNKNOWN)


def together(found: Sequence[States]) -> States:
    """Outcome of each image under several threats: broken under any, else unknown under any, else robust.

    Args:
        found: Outcomes (N,), at least one.
    """
    every = np.stack(found)
    outcome = np.where((every == BROKEN).any(0), BROKEN, np.where((every == UNKNOWN).any(0), UNKNOWN, ROBUST))
    return outcome.astype(np.int8)


def kind_of(attack: str, dataset: str, surrogate: str | None = None) -> Kind:
    """Capability of the attacker that an attack requires.

    Args:
        attack: Registry name of the attack.
        dataset: Label of the data set, which ends with the mask if there is one.
        surrogate: Label of the surrogate that it is made on; None: the model itself.

    Example:
        >>> kind_of("apgd", "photos"), kind_of("apgd", "photos, only border:8"), kind_of("square", "photos")
        ('gradients', 'mask', 'queries')
    """
    if surrogate is not None:
        return "transfer"
    if mask_in(dataset):
        return "mask"
    if attack == PATCH:
        return "patch"
    if attack in MOVEMENTS:
        return "movement"
    if attack == UNIVERSAL:
        return "universal"
    if attack not in ATTACKS:  # from a plugin, or counterexamples of a proof
        return "gradients"
    card = ATTACKS[attack]
    return "queries" if card.access in ("scores", "decisions") and card.search != "blind" else "gradients"


def attack_rows(images: Images, evidence: Iterable[ThreatResults], budgets: Budgets) -> Iterator[ThreatRow]:
    """The rows of the attacks on some images, in the order of `Kind`.

    Args:
        images: Images of the profile.
        evidence: Results of all threats of the run; those of other models and data sets are ignored.
        budgets: Budgets at which minimum-norm attacks are reported.
    """
    own = [
        each
        for each in evidence
        if each.threat.model == images.model and without_mask(each.threat.dataset) == images.dataset
    ]
    for kind in get_args(Kind):
        for each in own:
            trials = [trial for trial in each.trials if trial.attack != NOISE]
            mine = [trial for trial in trials if kind_of(trial.attack, each.threat.dataset, trial.surrogate) == kind]
            if mine and kind in ("movement", "patch"):
                by_mask = groupby(mine, key=lambda trial: _patch(trial) if kind == "patch" else "")
                for mask, several in by_mask:
                    yield _row(images, each, list(several), None, kind=kind, goal=each.threat.goal, mask=mask)
            elif mine:
                yield from _bounded(images, each, mine, budgets, kind)


def _patch(trial: Trial) -> str:
    """Shape and share of a patch, in words."""
    about = parameters(trial.params)
    return f"{about.get('shape', 'square')} of {float(str(about.get('share', 'nan'))):.0%}"


def _bounded(
    images: Images, evidence: ThreatResults, trials: Sequence[Trial], budgets: Budgets, kind: Kind
) -> Iterator[ThreatRow]:
    """Yield a row at each budget of these attacks, or else at those of the suite."""
    threat = evidence.threat
    given = sorted({eps for trial in trials for eps in trial.levels if eps is not None})
    bounds: list[float | None] = [*(given or sorted(budgets.get((threat.dataset, threat.norm), ())))]
    for eps in bounds or [None]:
        speaking = [trial for trial in trials if trial.at(eps) is not None]
        mask = mask_in(threat.dataset)
        yield _row(images, evidence, speaking, eps, kind=kind, goal=threat.goal, norm=threat.norm, eps=eps, mask=mask)


def _row(
    images: Images, evidence: ThreatResults, trials: Sequence[Trial], bound: float | None, **about: Any
) -> ThreatRow:
    minimal = [trial for trial in trials if trial.minimal] if "norm" in about else []
    noise = [trial for trial in evidence.trials if trial.attack == NOISE and bound is not None and trial.at(bound)]
    costs = costs_of(trials, bound)
    return ThreatRow(
        **about,
        attacks=tuple(trial.label for trial in trials),
        state=_placed(images, evidence, states(evidence, trials, bound)),
        median=size_quantile(evidence, minimal) if minimal else None,
        noise=robust_accuracy(evidence, noise, bound) if noise else None,
        forwards=costs["forwards"],
        backwards=costs["backwards"],
        seconds=costs["seconds"],
    )


def _placed(images: Images, evidence: ThreatResults, state: States) -> States:
    """Outcomes in the order of the profile's images; those missing from the data set are unknown.

    An image that was left out, because the goal has no meaning for it, survives if it is correct when clean.
    """
    known = dict(zip(map(str, evidence.samples), state.tolist(), strict=True))
    there = images.known[evidence.threat.dataset]
    pairs = zip(map(str, images.clean.samples), images.clean.correct.tolist(), strict=True)
    placed = [known.get(name, (ROBUST if fine else BROKEN) if name in there else UNKNOWN) for name, fine in pairs]
    return np.array(placed, np.int8)


def corruption_rows(images: Images, found: Iterable[Corrupted]) -> Iterator[ThreatRow]:
    """Yield a row for each severity: an image survives if it is classified correctly under every corruption.

    Args:
        images: Images of the profile.
        found: Results under corruptions; other models and data sets are ignored.
    """
    for each in found:
        if (each.images.threat.model, each.images.threat.dataset) != (images.model, images.dataset):
            continue
        broken = (each.images.clean >= 0) & ~each.images.correct
        for severity in sorted({severity for wrong in each.wrong.values() for severity in wrong}):
            wrong = {name: levels[severity] for name, levels in each.wrong.items() if severity in levels}
            every = np.stack(list(wrong.values()))
            failed, unknown = (every == 1).any(0) | broken, np.isnan(every).any(0) | (each.images.clean < 0)
            state = np.where(failed, BROKEN, np.where(unknown, UNKNOWN, ROBUST)).astype(np.int8)
            params = [each.params[name, severity] for name in wrong]
            rows = each.rows[each.rows["params"].isin(params)]
            spent = {name: float(rows[name].astype(float).sum()) / max(len(state), 1) for name in COSTS}
            yield ThreatRow(
                kind="corruption",
                severity=severity,
                attacks=tuple(wrong),
                state=_placed(images, each.images, state),
                mean=mean_over([1 - values for values in wrong.values()]),
                forwards=spent["forwards"],
                backwards=spent["backwards"],
                seconds=spent["seconds"],
            )

"""Numbers of a run whose last attack was run on a random part of the images. Does not import torch."""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from advbench.analysis.anytime.estimate import SHOWN, Estimate, Look
from advbench.analysis.arrays import Ints
from advbench.analysis.metrics import NO_BUDGETS, WORST_CASE, Budgets, Cell, cells_of, levels
from advbench.analysis.threats import BROKEN, UNKNOWN, ThreatResults, Trial, states
from advbench.records.unit import Unit


class Looks(NamedTuple):
    """The random part of the images that the last attack of a threat was run on."""

    attack: str
    """Registry name of the attack."""
    params: tuple[str, ...]
    """Parameters of the attack, as JSON: several entries if it is made on several surrogates."""
    images: tuple[tuple[str, ...], ...]
    """Ids of the images that each look added, in the order of the looks."""
    complete: bool
    """Whether these are all the images, so that nothing has to be estimated."""


def looks_of(units: Iterable[Unit], missing: Container[str]) -> dict[tuple[str, ...], Looks]:
    """The looks of each threat, up to the first one with an unfinished unit.

    Args:
        units: Units of the plan, including those that were not needed.
        missing: Ids of the units without a result.

    Returns:
        Threat -> looks, for each threat whose last attack processes the images in parts.
    """
    found: dict[tuple[str, ...], list[Unit]] = {}
    for unit in units:
        if unit.look:
            found.setdefault(unit.threat, []).append(unit)
    return {
        threat: Looks(
            own[0].attack,
            tuple(dict.fromkeys(unit.params for unit in own)),
            tuple(_images(own, missing)),
            complete=not any(unit.unit_id in missing for unit in own),
        )
        for threat, own in found.items()
    }


def _images(units: Sequence[Unit], missing: Container[str]) -> Iterator[tuple[str, ...]]:
    """Yield the images of each look, up to the first look that lacks a unit; they are the same at every eps."""
    for look in sorted({unit.look for unit in units}):
        own = [unit for unit in units if unit.look == look]
        if any(unit.unit_id in missing for unit in own):
            return
        yield tuple(dict.fromkeys(name for unit in own for name in unit.sample_ids))


def number_of_intervals(
    evidence: Iterable[ThreatResults], looks: Container[tuple[str, ...]], budgets: Budgets = NO_BUDGETS
) -> int:
    """Number of robust accuracies that may be estimated: they share alpha equally, so that all hold jointly.

    Args:
        evidence: Results of all threats of a run.
        looks: The threats whose last attack processes the images in parts.
        budgets: Budgets, as for :func:`advbench.analysis.metrics.cells_of`.
    """
    return max(1, sum(len(levels(each, budgets)) for each in evidence if each.threat in looks))


def estimate(
    evidence: ThreatResults, looks: Looks, eps: float | None, *, alpha: float = SHOWN, share: int = 1
) -> Estimate:
    """Estimate robust accuracy over all images at an eps, from those that every attack was run on.

    Args:
        evidence: Results of a threat, for all images.
        looks: The part that the last attack was run on.
        eps: Budget, image units; None: no bound.
        alpha: Largest probability that any interval of the run ever misses its number.
        share: Number of intervals that share this alpha.
    """
    quick = states(evidence, _quick(evidence, looks), eps) != BROKEN
    state = states(evidence, evidence.trials, eps)
    found, so_far = list[Look](), Look(0, 0, 0, 0)
    for rows in _rows(evidence, looks):
        own = rows[quick[rows]]
        fresh = len(rows), len(own), int((state[own] == BROKEN).sum()), int((state[own] == UNKNOWN).sum())
        so_far = Look(*(old + new for old, new in zip(so_far, fresh, strict=True)))
        found.append(so_far)
    return Estimate.of(found, standing=int(quick.sum()), n=len(quick), attack=looks.attack, alpha=alpha, share=share)


def part_of(evidence: ThreatResults, looks: Looks) -> ThreatResults:
    """Results of the images that every attack was run on: a random part, on which attacks can be compared."""
    rows = np.concatenate([np.empty(0, np.int64), *_rows(evidence, looks)])
    rows.sort()
    return replace(
        evidence,
        samples=evidence.samples[rows],
        label=evidence.label[rows],
        clean=evidence.clean[rows],
        trials=tuple(_some(trial, rows) for trial in evidence.trials),
    )


def sampled_cells(
    every: ThreatResults, part: ThreatResults, looks: Looks, budgets: Budgets, *, alpha: float, share: int
) -> list[Cell]:
    """Numbers of a threat whose last attack was run on a part of the images.

    Args:
        every: Results of all images.
        part: Result of :func:`part_of`.
        looks: The part that the last attack was run on.
        budgets: Budgets, as for :func:`advbench.analysis.metrics.cells_of`.
        alpha: Largest probability that any interval of the run ever misses its number.
        share: Number of intervals that share this alpha.

    Returns:
        For each eps, first the worst case, whose robust accuracy is an estimate, then each attack. The numbers of the
        last attack cover the part, those of the others all images.
    """
    quick = {(cell.eps, cell.attack): cell for cell in cells_of(replace(every, trials=_quick(every, looks)), budgets)}
    found = []
    for cell in cells_of(part, budgets):
        known = quick.get((cell.eps, cell.attack))
        if cell.attack == WORST_CASE:
            robust = estimate(every, looks, cell.eps, alpha=alpha, share=share)
            whole = known or cell
            found.append(replace(cell, robust=robust, clean=whole.clean, noise=whole.noise, part_of=len(every.samples)))
        else:
            found.append(known or replace(cell, part_of=len(every.samples)))
    return found


def _quick(evidence: ThreatResults, looks: Looks) -> tuple[Trial, ...]:
    """The attacks that were run on every image."""
    return tuple(t for t in evidence.trials if t.attack != looks.attack or t.params not in looks.params)


def _rows(evidence: ThreatResults, looks: Looks) -> Iterator[Ints]:
    """Yield the positions of the images of each look; those left out of the threat have none."""
    places = {str(name): place for place, name in enumerate(evidence.samples)}
    for names in looks.images:
        yield np.array([places[name] for name in names if name in places], np.int64)


def _some(trial: Trial, rows: Ints) -> Trial:
    """Results of an attack on some images; its costs remain those of all the images it was run on."""
    some = {
        eps: replace(
            level,
            unknown=level.unknown[rows],
            met=level.met[rows],
            flipped=level.flipped[rows],
            adv_class=level.adv_class[rows],
        )
        for eps, level in trial.levels.items()
    }
    return replace(trial, radius=trial.radius[rows], levels=some)

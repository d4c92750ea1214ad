"""The standard verdict without gradients: score-based, and decision-based where scores carry no information."""

from collections.abc import Iterator

from torch import Tensor

from attacks.hop_skip_jump import HopSkipJump
from attacks.noise import Noise
from attacks.norms import L0
from attacks.protocols import AttackError
from attacks.queries.gradients import forward
from attacks.searches.draws import uniform
from attacks.searches.lowest import Lowest
from attacks.searches.track import Survivors
from attacks.square import Square, scatter, schedule, search
from attacks.standard_in_l0 import explore

WIDE, NARROW = 0.8, 0.1
"""Fraction of the image that the first squares cover: from a new start, and around a good point."""
LONGER = 20
"""Factor for the number of squares where gradients are missing or masked."""
WALK = 15
"""Number of steps along the decision boundary."""


def change_squares(
    active: Survivors, best: Lowest, queries: int, seeds: Iterator[int], *, around_best: bool = False
) -> None:
    """Change random squares, in L0 and L1 random values, from a new start or around the best points.

    In L1 there is only a new start: as many values are set to 0 or 1 as the budget allows, however far each one moves.
    Images with more than three dimensions get no squares.
    """
    if active.norm.grain:
        explore(active, best, queries, next(seeds), around_best=around_best)
    elif not active.norm.sparse:
        _change_squares(active, best, queries, seeds, around_best=around_best)
    elif not around_best:
        with active.only(active.eps >= 1) as part:
            part.norm, part.eps = part.norm.masking(L0()), part.eps.floor()
            explore(part, best, queries, next(seeds))


def _change_squares(active: Survivors, best: Lowest, queries: int, seeds: Iterator[int], *, around_best: bool) -> None:
    if active.norm.name not in Square.norms or active.x.ndim > 4:
        return
    start = best.of(active) if around_best else scatter(active, next(seeds))
    best.look(active, search(active, start, schedule(queries, NARROW if around_best else WIDE), next(seeds)))


def change_squares_for_long(active: Survivors, best: Lowest, queries: int, seeds: Iterator[int]) -> None:
    """Twenty times as many squares, from a new start and then around the best points."""
    for around_best in (False, True):
        change_squares(active, best, LONGER * queries // 2, seeds, around_best=around_best)


def by_answers(active: Survivors, best: Lowest, queries: int, seeds: Iterator[int]) -> Tensor:
    """Attack a model that gives only scores or decisions; returns the whole batch (N, ...)."""
    change_squares(active, best, queries, seeds)
    still = best.margin >= best.clean
    by_decisions(active, best, still, queries, next(seeds))
    active.give_up(still[active.rows], best.of(active))
    change_squares_for_long(active, best, queries, seeds)
    return active.finish(best.of(active))


def by_decisions(active: Survivors, best: Lowest, some: Tensor, queries: int, seed: int) -> None:
    """Try random noise, then steps along the decision boundary, for ``some`` images of the batch, bool (N,)."""
    noisy = Noise(norm=active.norm, draws=queries)
    walk = HopSkipJump(norm=active.norm, steps=WALK) if active.norm.name in HopSkipJump.norms else None
    for attack in (noisy, walk):
        with active.only(some[active.rows]) as part:
            if attack is None or not len(part):
                continue
            try:
                found = attack(part.model, part.x, part.goal, eps=part.eps, seed=seed)
            except AttackError as error:  # without a start nothing is lost: squares and noise were tried
                found = error.x_adv
            best.look(part, found)


def mute(active: Survivors, best: Lowest) -> Tensor:
    """Whether the model seems to reveal nothing about an image but its top classes, bool (N,).

    Nothing has moved its margin so far, and noise as strong as the image changes only its sign.
    """
    mute = best.margin >= best.clean
    with active.only(mute[active.rows]) as some:
        if len(some):
            noise = uniform(0, some.goal.ids, 0, some.x.shape[1:]).to(some.x)
            noisy = some.goal.margin(forward(some.model, (some.x + noise) / 2, some.goal))
            mute[some.rows] = noisy.abs() == best.clean[some.rows]
    return mute

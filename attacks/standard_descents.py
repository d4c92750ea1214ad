"""The descents of the standard verdict: from random points, also from outside the budget, and towards rival classes."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from attacks.apgd import descend
from attacks.goals import Goal
from attacks.losses import Loss, margin
from attacks.objectives.rivals import Ways
from attacks.searches.draws import derive
from attacks.searches.lowest import Lowest, nearest_ways, side_by_side, towards
from attacks.searches.rivals_by_slope import ways_by_slope
from attacks.searches.track import Survivors

LONG = 100
"""Number of gradient steps of a long descent, as in AutoAttack."""
OUTSIDE = ((3, 1), (2, 1), (1, 2))
"""Radii of the balls on a path from outside, as multiples of the budget, and the fraction of gradient steps spent in
each."""
MANY = 10
"""Number of classes above which rivals are ordered by a linear model instead of by their logits."""

Legs = Sequence[tuple[float, int]]
"""Legs of a descent: the ball's radius as a multiple of the budget, and its gradient steps; the last leg is within the
budget."""


def from_outside(steps: int) -> Legs:
    """The legs of a descent of ``steps`` gradient steps that starts in a ball larger than the budget.

    Example:
        >>> from_outside(60)
        [(3, 15), (2, 15), (1, 30)]
    """
    parts = sum(share for _, share in OUTSIDE)
    return [(times, max(share * steps // parts, 1)) for times, share in OUTSIDE]


def descend_from_random(active: Survivors, best: Lowest, seed: int, loss: Loss, legs: Legs) -> None:
    """Descend the aim from a random point in the first leg's ball; better points are stored in ``best``."""
    best.look(active, _descend(active, _start(active, legs, seed), loss, legs))


def descend_from_copies(
    active: Survivors,
    best: Lowest,
    seed: int,
    loss: Loss,
    legs: Legs,
    count: int,
    aims: Callable[[Survivors], Goal] | None = None,
) -> None:
    """Do the same from ``count`` random points per image, side by side.

    Args:
        active: The images that are not fooled yet.
        best: Best points so far; better ones are stored in it.
        seed: Seed of the points.
        loss: Loss to descend.
        legs: Legs of the descent.
        count: Number of points per image.
        aims: Images -> the aims of their copies, side by side; None: the aim of the images.
    """
    for part, crowd, found in side_by_side(active, best, count):
        crowd.aim = crowd.aim if aims is None else aims(part)
        found.look(crowd, _descend(crowd, _starts(part, legs, seed, count), loss, legs))


class Rivals:
    """The rival classes of the active images, the nearest first, and descents towards them.

    With many classes, the nearest are those nearest in a linear model.

    Args:
        active: The images to be fooled.
        best: Best points so far, which determine the order.
        count: Number of rivals wanted.
    """

    def __init__(self, active: Survivors, best: Lowest, count: int) -> None:
        self._rows, logits = active.rows, active.logits[active.rows]
        self._ways = (
            ways_by_slope(active.model, active.x, active.goal, logits, active.norm, count)
            if logits.shape[1] > MANY
            else nearest_ways(active, best, count)
        )

    def descend(
        self, active: Survivors, best: Lowest, seeds: Iterator[int], legs: Legs, which: range
    ) -> Iterator[None]:
        """Descend the margin to some of the rivals, one after another, yielding after each."""
        ways = self._of(active)
        for _ in towards(active, (ways[place] for place in which)):
            descend_from_random(active, best, next(seeds), margin, legs)
            yield

    def descend_at_once(self, active: Survivors, best: Lowest, seed: int, legs: Legs, which: range) -> None:
        """Descend the margin to some of the rivals side by side."""

        def aims(part: Survivors) -> Goal:
            images = torch.arange(len(part), device=part.rows.device)
            places = torch.tensor(which, device=images.device)
            return self._of(part).of(images.repeat_interleave(len(which)), places.repeat(len(part)))

        descend_from_copies(active, best, seed, margin, legs, len(which), aims)

    def _of(self, active: Survivors) -> Ways:
        return self._ways.select(torch.searchsorted(self._rows, active.rows))


def _start(active: Survivors, legs: Legs, seed: int) -> Tensor:
    radius = legs[0][0] * active.eps
    return active.x + active.norm.random(active.x.shape[1:], radius, seed, active.goal.ids, draw=0).to(active.x)


def _starts(active: Survivors, legs: Legs, seed: int, count: int) -> Tensor:
    """Random points for ``count`` copies of each image, side by side."""
    return torch.stack([_start(active, legs, derive(seed, i)) for i in range(count)], 1).flatten(0, 1)


def _descend(active: Survivors, x_adv: Tensor, loss: Loss, legs: Legs) -> Tensor:
    """Descend the aim from ``x_adv`` (n, ...), leg by leg, to the lowest points of the last."""
    for times, steps in legs:
        start = active.norm.within(active.x, x_adv, times * active.eps)
        x_adv = descend(active if times == 1 else active.within(times * active.eps), start, loss, steps)
    return x_adv

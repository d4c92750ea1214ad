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
"""Gradient steps of the long descents, those of AutoAttack."""
OUTSIDE = ((3, 1), (2, 1), (1, 2))
"""Balls that a path from outside goes through, as multiples of the budget, and its shares of gradient steps there."""
MANY = 10
"""Number of classes above which rivals are ordered by a linear model, and not by their logits alone."""

Legs = Sequence[tuple[float, int]]
"""Legs of a descent: the ball as a multiple of the budget, and the gradient steps; the last is within the budget."""


def from_outside(steps: int) -> Legs:
    """The legs of a descent of ``steps`` gradient steps, from a ball larger than the budget inwards.

    Example:
        >>> from_outside(60)
        [(3, 15), (2, 15), (1, 30)]
    """
    parts = sum(share for _, share in OUTSIDE)
    return [(times, max(share * steps // parts, 1)) for times, share in OUTSIDE]


def descend_from_random(active: Survivors, best: Lowest, seed: int, loss: Loss, legs: Legs) -> None:
    """A descent of the aim from a random point of the first leg's ball; better points are stored in ``best``."""
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
    """The same from ``count`` random points of each image, side by side.

    Args:
        active: The images that are not fooled yet.
        best: Their best points so far; better ones are stored in it.
        seed: Seed of the points.
        loss: Loss that is descended.
        legs: Legs of the descent.
        count: Number of points of each image.
        aims: Images -> the aims of their copies, side by side; None: that of the images.
    """
    for part, crowd, found in side_by_side(active, best, count):
        crowd.aim = crowd.aim if aims is None else aims(part)
        found.look(crowd, _descend(crowd, _starts(part, legs, seed, count), loss, legs))


class Rivals:
    """The rival classes of the active images, the nearest first, and descents towards them.

    Where there are many classes, those are nearest to which a linear model has the shortest way.

    Args:
        active: The images that are to be fooled.
        best: Their best points so far, from which the order is taken.
        count: How many rivals are wanted.
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
        """Descend the margin to some of the rivals, one after the other, and pause after each."""
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
    """The descent of the aim from ``x_adv`` (n, ...), leg by leg, to the lowest points of the last."""
    for times, steps in legs:
        start = active.norm.within(active.x, x_adv, times * active.eps)
        x_adv = descend(active if times == 1 else active.widened(times), start, loss, steps)
    return x_adv

"""The standard verdict in L0, where a budget is a number of values."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from attacks.losses import margin
from attacks.searches import swaps
from attacks.searches.lowest import Lowest, nearest_ways, towards
from attacks.searches.track import Survivors
from attacks.sparse_rs import scatter, schedule, search
from attacks.spgd import SPGD, descend

HOP = 10
"""Gradient steps after a kick."""
FEW, BRIEF = 2, 3
"""By how many times there are fewer descents to rival classes than in the other norms, and shorter ones."""
SEARCH, AROUND = 4, 0.1
"""Queries of a random search from a new start and of one around the best point, as multiples of ``queries``."""
WIDE, NARROW = 0.8, 0.2
"""Share of the changed values that their first exchanges take."""
REACH = 3
"""Pixels within which every second exchange changes values beside those that are changed."""
LONG, LONGER = 100, 20
"""Steps of each Sparse-PGD, and queries of the last random search as a multiple of ``queries``."""


class Parameters(Protocol):
    """What :class:`attacks.Standard` says of how long its steps are."""

    @property
    def steps(self) -> int:
        """Gradient steps of each descent."""
        ...

    @property
    def targets(self) -> int:
        """Descents towards rival classes."""
        ...

    @property
    def queries(self) -> int:
        """By which the lengths of random searches go."""
        ...

    @property
    def rounds(self) -> int:
        """Most hops in Linf and L2; in L0 two thirds as many, in L1 a tenth as many long descents."""
        ...


def fool(active: Survivors, best: Lowest, seeds: Iterator[int], attack: Parameters) -> Tensor:
    """The steps of :class:`attacks.Standard` in L0.

    Every step works on the images that the steps before did not fool:

    1. exchange values along the gradient of the margin, from the image itself, then towards each rival class, the
       nearest first (:func:`attacks.searches.swaps.descend`);
    2. exchange values at random, without gradients, as :class:`attacks.SparseRS` does, every second time for values
       near those that are changed already: what fools a network lies together more often than not;
    3. hop from basin to basin: put a random share of the changed values back and change others, exchange along the
       gradient again, then a few at random. An image takes part as long as its margin is below 1/2, in later rounds
       1/3, 1/4, ... of the clean image's;
    4. both forms of :class:`attacks.SPGD`;
    5. exchange values at random for long, around the best point.

    An image that is left out early costs 880 passes, one that nearly falls up to 9,700.

    Args:
        active: The images and their budgets.
        best: The best points so far, the clean images to begin with.
        seeds: Seeds for the random draws, a new one each time.
        attack: How long the steps are.

    Returns:
        The whole batch, fooled images and best points (N, ...).
    """
    clean = best.margin.clone()
    swaps.descend(active, best, active.x, margin, attack.steps)
    few = max(attack.targets // FEW, 1)
    for _ in towards(active, nearest_ways(active, best, few)):
        swaps.descend(active, best, active.x, margin, max(attack.steps // BRIEF, 1))
    explore(active, best, SEARCH * attack.queries, next(seeds))
    active.precision = "exact"  # a rounded gradient decides nothing among those left
    for i in range(2 * attack.rounds // 3):
        hopeless = best.margin > clean / (2 + 0.2 * i)
        active.give_up(hopeless[active.rows], best.of(active))
        if not len(active):
            break
        swaps.descend(active, best, swaps.kick(active, best.of(active), next(seeds)), margin, HOP)
        explore(active, best, int(AROUND * attack.queries), next(seeds), around_best=True)
    for projected in (False, True):
        if len(active):
            best.look(active, descend(active, SPGD(steps=LONG, projected=projected), next(seeds)))
    explore(active, best, LONGER * attack.queries, next(seeds), around_best=True)
    return active.finish(best.of(active))


def explore(active: Survivors, best: Lowest, queries: int, seed: int, *, around_best: bool = False) -> None:
    """A random search, from a new start or around the best points; better points are stored in ``best``."""
    if not len(active):
        return
    start = best.of(active) if around_best else scatter(active, seed)
    best.look(active, search(active, start, schedule(queries, NARROW if around_best else WIDE), seed, reach=REACH))

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
"""Number of gradient steps after a kick."""
FEW, BRIEF = 2, 3
"""Divisor for the number and the length of descents to rival classes, compared with the other norms."""
SEARCH, AROUND = 4, 0.1
"""Queries of a random search from a new start and around the best point, as multiples of ``queries``."""
WIDE, NARROW = 0.8, 0.2
"""Fraction of the changed values exchanged at first in these searches."""
REACH = 3
"""Distance in pixels from changed values within which every second exchange picks new ones."""
LONG, LONGER = 100, 20
"""Steps of each Sparse-PGD run, and queries of the last random search as a multiple of ``queries``."""


class Parameters(Protocol):
    """The parameters of :class:`attacks.Standard` that set how long its steps are."""

    @property
    def steps(self) -> int:
        """Number of gradient steps of each descent."""
        ...

    @property
    def targets(self) -> int:
        """Number of descents towards rival classes."""
        ...

    @property
    def queries(self) -> int:
        """Number of queries that scales the random searches."""
        ...

    @property
    def rounds(self) -> int:
        """Largest number of hops in Linf and L2; in L0 two thirds of that, in L1 a tenth as many long descents."""
        ...


def fool(active: Survivors, best: Lowest, seeds: Iterator[int], attack: Parameters) -> Tensor:
    """Run the steps of :class:`attacks.Standard` in L0.

    Every step works on the images that the previous steps did not fool:

    1. exchange values along the gradient of the margin, from the image itself, then towards each rival class, the
       nearest first (:func:`attacks.searches.swaps.descend`);
    2. exchange values at random, without gradients, as :class:`attacks.SparseRS` does, every second time for values
       near those already changed: the values that fool a network tend to lie close together;
    3. hop from basin to basin: restore a random share of the changed values and change others, exchange along the
       gradient again, then a few at random. An image takes part as long as its margin is below 1/2, in later rounds
       1/3, 1/4, ... of the clean image's;
    4. both forms of :class:`attacks.SPGD`;
    5. run a long random search around the best point.

    An image that leaves early costs 880 passes, one that is nearly fooled up to 9,700.

    Args:
        active: The images and their budgets.
        best: The best points so far, initially the clean images.
        seeds: Seeds for the random draws, a new one each time.
        attack: The lengths of the steps.

    Returns:
        The whole batch (N, ...): fooled images, and best points of the others.
    """
    clean = best.margin.clone()
    swaps.descend(active, best, active.x, margin, attack.steps)
    few = max(attack.targets // FEW, 1)
    for _ in towards(active, nearest_ways(active, best, few)):
        swaps.descend(active, best, active.x, margin, max(attack.steps // BRIEF, 1))
    explore(active, best, SEARCH * attack.queries, next(seeds))
    active.precision = "exact"  # a rounded gradient would not decide between those left
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
    """Run a random search, from a new start or around the best points; better points are stored in ``best``."""
    if not len(active):
        return
    start = best.of(active) if around_best else scatter(active, seed)
    best.look(active, search(active, start, schedule(queries, NARROW if around_best else WIDE), seed, reach=REACH))

"""A confidence sequence for a count in a finite population, from draws without replacement. Does not import torch."""

import math
from bisect import bisect_left
from typing import NamedTuple

PRIOR = (0.5, 3.0)
"""Parameters of the beta prior over the possible shares. Any values give valid bounds; these give narrow ones if few
items are marked, since the last attack of a suite seldom breaks many of the images that the others left."""


class Count(NamedTuple):
    """Inclusive bounds on a whole number."""

    low: int
    """Smallest number that is not ruled out."""
    high: int
    """Largest number that is not ruled out."""


def marked_in(total: int, drawn: int, marked: int, alpha: float) -> Count:
    """Bounds on how many items of a population are marked, valid after every draw at once.

    Items are drawn in a random order without replacement. With a probability of at least ``1 - alpha`` the true number
    lies within the bounds after every draw, so one may look after any of them, and stop for any reason. Once everything
    has been drawn, both bounds equal the number itself.

    For the true number, the probability of the draws under a mixture of all numbers, divided by the probability under
    the true one, is a martingale that starts at 1; by Ville's inequality it ever reaches ``1 / alpha`` with a
    probability of at most ``alpha``. The numbers for which it has not reached that form an interval. The mixture is
    beta-binomial, which has a closed form.

    Args:
        total: Number of items in the population.
        drawn: Number of items drawn, 0 to ``total``.
        marked: Number of drawn items that are marked, 0 to ``drawn``.
        alpha: Largest probability that the bounds ever miss the true number, between 0 and 1.

    Raises:
        ValueError: The numbers contradict each other.

    References:
        I. Waudby-Smith and A. Ramdas, Confidence sequences for sampling without replacement
        <https://arxiv.org/abs/2006.04347>, 2020, section 2: the prior-posterior-ratio martingale

    Example:
        >>> marked_in(1000, 100, 5, alpha=0.05)
        Count(low=11, high=139)
    """
    if not 0 <= marked <= drawn <= total or not 0 < alpha < 1:
        raise ValueError(f"expected 0 <= marked <= drawn <= total and 0 < alpha < 1, got {marked, drawn, total, alpha}")
    log_mixture = _log_beta(PRIOR[0] + marked, PRIOR[1] + drawn - marked) - _log_beta(*PRIOR)

    def kept(number: int) -> bool:
        return log_mixture - _log_chance(number, total, drawn, marked) < -math.log(alpha)

    # The likeliest number is always kept; from there the probability falls on both sides.
    likeliest = min(marked * (total + 1) // drawn, total - drawn + marked) if drawn else 0
    low = bisect_left(range(marked, likeliest + 1), True, key=kept) + marked
    high = bisect_left(range(likeliest, total - drawn + marked + 1), True, key=lambda number: not kept(number))
    return Count(low, likeliest + high - 1)


def _log_chance(number: int, total: int, drawn: int, marked: int) -> float:
    """Log probability of one sequence of draws, if this number of items in the population is marked."""
    ways = _log_falling(number, marked) + _log_falling(total - number, drawn - marked)
    return ways - _log_falling(total, drawn)


def _log_falling(number: int, count: int) -> float:
    """Logarithm of the falling factorial number (number - 1) ..., which has ``count`` factors."""
    return math.lgamma(number + 1) - math.lgamma(number - count + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

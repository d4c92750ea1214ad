"""The Wilson score interval of a proportion. Does not import torch."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Confidence level of every reported interval."""


class Bounds(NamedTuple):
    """Lower and upper end of intervals."""

    low: Floats
    """Lower ends of the intervals."""
    high: Floats
    """Upper ends of the intervals."""


def wilson(k: ArrayLike, n: ArrayLike, level: float = LEVEL) -> Bounds:
    """The Wilson score interval of proportions k/n.

    Args:
        k: Counts, 0 to n, of any shape.
        n: Totals, of the same shape; where one is 0 the interval is [0, 1].
        level: Confidence level of the interval.

    References:
        E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927

    Example:
        >>> low, high = wilson(512, 1000)
        >>> f"{low:.3f} {high:.3f}"
        '0.481 0.543'
    """
    k, n = np.asarray(k, float), np.asarray(n, float)
    safe = np.maximum(n, 1)
    share, z2_by_n = k / safe, NormalDist().inv_cdf((1 + level) / 2) ** 2 / safe
    centre = (share + z2_by_n / 2) / (1 + z2_by_n)
    half = np.sqrt(z2_by_n * (share * (1 - share) + z2_by_n / 4)) / (1 + z2_by_n)
    # With k = 0 or k = n the formula gives exactly 0 or 1, apart from rounding.
    low = np.where((n > 0) & (k > 0), np.clip(centre - half, 0, 1), 0.0)
    return Bounds(low, np.where((n > 0) & (k < n), np.clip(centre + half, 0, 1), 1.0))

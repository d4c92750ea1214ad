"""Shares and quantiles with their uncertainty: order statistics and exact paired tests."""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advbench.intervals import LEVEL, Floats, wilson


class Proportion(NamedTuple):
    """A share of images, given as counts; the outcome of some may be unknown.

    Example:
        >>> print(Proportion(41, 100))
        41.0 % (41/100) [31.9, 50.8]
        >>> print(Proportion(41, 100, unknown=7))
        41.0 to 48.0 % (41 to 48/100) [31.9, 57.7]
    """

    k: int
    """Number of images that are certain to count."""
    n: int
    """Number of all images."""
    unknown: int = 0
    """Number of other images for which it is unknown whether they count."""

    @classmethod
    def of(cls, certain: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> Self:
        """The share of images that count.

        Args:
            certain: Which images are certain to count, bool (N,).
            unknown: Which of them may count, bool (N,); ignored for images that are certain to.

        Example:
            >>> Proportion.of(np.array([True, True, False]), np.array([True, False, True]))
            Proportion(k=2, n=3, unknown=1)
        """
        return cls(int(certain.sum()), len(certain), int((unknown & ~certain).sum()))

    @property
    def rate(self) -> float | None:
        """Share of images that are certain to count; None if there are no images."""
        return self.k / self.n if self.n else None

    @property
    def most(self) -> float | None:
        """Share if all unknown images count too; None if there are no images."""
        return (self.k + self.unknown) / self.n if self.n else None

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval, as if no unknown image counted."""
        return float(wilson(self.k, self.n).low)

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval, as if every unknown image counted."""
        return float(wilson(self.k + self.unknown, self.n).high)

    @property
    def percent(self) -> str:
        """The share in words: `41.0 %`, `41.0 to 48.0 %`, `none` if there are no images."""
        if self.rate is None or self.most is None:
            return "none"
        least, most = f"{100 * self.rate:.1f}", f"{100 * self.most:.1f}"
        return f"{least} %" if least == most else f"{least} to {most} %"

    @property
    def counts(self) -> str:
        """The counts: `41/100`, `41 to 48/100`."""
        return f"{self.k} to {self.k + self.unknown}/{self.n}" if self.unknown else f"{self.k}/{self.n}"

    @property
    def interval(self) -> str:
        """The interval in percent: `[31.9, 50.8]`."""
        return f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"

    def as_dict(self) -> dict[str, float | None]:
        """Counts, rate and interval as plain values, for JSON."""
        return {name: getattr(self, name) for name in ("k", "n", "unknown", "rate", "low", "high")}

    def __str__(self) -> str:
        return f"{self.percent} ({self.counts}) {self.interval}"


class Quantile(NamedTuple):
    """A quantile of distances, some of which are larger than anything that was found.

    Attributes:
        value: The quantile; None: there is none, because too few attacks succeeded.
        low: Lower end of its interval; None: unbounded.
        high: Upper end of its interval; None: unbounded.
    """

    value: float | None
    low: float | None
    high: float | None


def quantile(sizes: ArrayLike, q: float = 0.5, at_most: ArrayLike = False) -> Quantile:
    """A quantile with its distribution-free interval from order statistics, at 95 % or a little more.

    Args:
        sizes: Distances (N,); infinite where nothing was found, and these are included.
        q: Level between 0 and 1: the quantile is the smallest size that this share of the images do not exceed.
        at_most: Where the true distance may be smaller, bool (N,): the lower end allows for it.

    References:
        H. A. David and H. N. Nagaraja, Order Statistics, 3rd edition, 2003, section 7.1

    Example:
        >>> quantile([1, 2, 3, 4, 5, 6, 7, float("inf"), float("inf"), float("inf"), float("inf")])
        Quantile(value=6.0, low=2.0, high=None)
    """
    sizes = np.asarray(sizes, float)
    n = len(sizes)
    if not n:
        return Quantile(None, None, None)
    least, most = np.sort(np.where(at_most, 0, sizes)), np.sort(sizes)
    first, last = _ranks(n, q)
    low = least[first - 1] if first >= 1 else 0.0
    high = most[last - 1] if last <= n else np.inf
    return Quantile(_finite(most[max(math.ceil(q * n) - 1, 0)]), _finite(low), _finite(high))


@cache
def _ranks(n: int, q: float) -> tuple[int, int]:
    """The ranks, from 1, of the order statistics that enclose a quantile of n sizes; 0 and n + 1 lie outside."""
    # scipy.stats has this too, but takes half a second to import
    from scipy.special import bdtr

    # the r-th smallest lies above the quantile with probability P(B < r), B ~ Binomial(n, q)
    below = bdtr(np.arange(n), n, q)
    first, last = np.searchsorted(below, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return int(first), int(last) + 1


class McNemar(NamedTuple):
    """An exact test on the pairs that differ."""

    two_sided: float
    """Probability of a split of the differing pairs at least as uneven, if both directions were equally likely."""
    worse: float
    """Probability of at least as many images that got worse."""


def mcnemar(worse: int, better: int) -> McNemar:
    """McNemar's exact test on the pairs in which two runs differ.

    Args:
        worse: Number of images that were robust and no longer are.
        better: Number of images that were not robust and now are.

    References:
        Q. McNemar, Note on the sampling error of the difference between correlated proportions, 1947

    Example:
        >>> f"{mcnemar(12, 3).worse:.4f}"
        '0.0176'
    """
    if not worse + better:
        return McNemar(1.0, 1.0)
    from scipy.stats import binomtest

    return McNemar(
        float(binomtest(worse, worse + better).pvalue),
        float(binomtest(worse, worse + better, alternative="greater").pvalue),
    )


class Mean(NamedTuple):
    """A mean over images, with its 95 % interval.

    Example:
        >>> print(Mean(0.767, 0.742, 0.792))
        76.7 % [74.2, 79.2]
    """

    value: float
    """The mean; 1 is 100 %."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def mean_over(values: Sequence[Floats], low: float = 0.0, high: float = 1.0) -> Mean | None:
    """Mean over numbers and images; the images are the random sample, so the interval is over them.

    It is Wilson's interval, for the number of independent binary outcomes with the same spread as the means of the
    images. Unlike the normal interval, it stays valid if no image counts, or every image does.

    Args:
        values: Numbers of each image, each (N,).
        low: Smallest possible mean of an image.
        high: Largest possible mean of an image.

    Returns:
        The mean; None if there are no images, or if a number is unknown.

    Example:
        >>> print(mean_over([np.array([1.0, 0.0]), np.array([1.0, 1.0])]))
        75.0 % [25.6, 96.3]
    """
    if not values or not len(values[0]):
        return None
    each = (np.mean(values, axis=0) - low) / (high - low)
    if np.isnan(each).any():
        return None
    middle, spread = float(np.clip(each.mean(), 0, 1)), float(each.var(ddof=1)) if len(each) > 1 else 0.0
    count = len(each) * max(1.0, middle * (1 - middle) / spread if spread > 0 else 1.0)
    ends = wilson(middle * count, count)
    return Mean(*(low + (high - low) * float(place) for place in (middle, ends.low, ends.high)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p-values that may be compared with a single level, however many tests there were.

    References:
        S. Holm, A simple sequentially rejective multiple test procedure, 1979

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, so_far = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        so_far = max(so_far, min((len(p_values) - rank) * p_values[index], 1.0))
        adjusted[index] = so_far
    return adjusted


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

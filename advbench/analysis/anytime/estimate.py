"""Robust accuracy of all images, estimated from a random part of them. Does not import torch."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

from advbench.analysis.anytime.confidence import marked_in
from advbench.intervals import LEVEL

SHOWN = 1 - LEVEL
"""Alpha of an interval whose level is not printed."""


class Look(NamedTuple):
    """Counts of drawn images after one look at a run."""

    seen: int
    """Number of images drawn so far, including those that the quick attacks broke."""
    drawn: int
    """Number of images drawn that survive the quick attacks."""
    broken: int
    """Number of these survivors that the last attack broke."""
    unknown: int
    """Number of these survivors with unknown outcome."""


def narrowing(looks: Iterable[Look], *, standing: int, n: int, alpha: float) -> Iterator[tuple[float, float]]:
    """Bounds on robust accuracy after each look: the intersection of the bounds of this look and all earlier ones.

    Args:
        looks: Counts at each look, in order.
        standing: Number of all images that survive the quick attacks.
        n: Number of all images.
        alpha: Largest probability that the bounds miss robust accuracy at any look.

    Example:
        >>> looks = [Look(seen=100, drawn=60, broken=3, unknown=0), Look(seen=400, drawn=241, broken=14, unknown=0)]
        >>> [(round(low, 2), round(high, 2)) for low, high in narrowing(looks, standing=600, n=1000, alpha=0.05)]
        [(0.5, 0.6), (0.54, 0.58)]
    """
    low, high = 0.0, standing / max(n, 1)
    for look in looks:
        found = marked_in(standing, look.drawn, look.broken, alpha)
        most = marked_in(standing, look.drawn, look.broken + look.unknown, alpha).high if look.unknown else found.high
        now = (standing - most) / max(n, 1), (standing - found.low) / max(n, 1)
        low, high = max(low, now[0]), min(high, now[1])
        if low > high:  # an earlier look has missed, as alpha allows; this one has more data
            low, high = now
        yield low, high


class Estimate(NamedTuple):
    """Robust accuracy of all images, estimated if the last attack was run on a random part of them.

    It has the attributes of a :class:`advbench.analysis.statistics.Proportion`, so reports can treat both alike.

    Example:
        >>> looks = [Look(seen=100, drawn=60, broken=3, unknown=0), Look(seen=400, drawn=241, broken=14, unknown=0)]
        >>> print(Estimate.of(looks, standing=600, n=1000, attack="standard"))
        56.5 % (53.7 to 58.2, anytime-valid; 400 of 1,000 images under `standard`)
    """

    rate: float | None
    """Estimated share of robust images, 0 to 1, as if no unknown image were robust; None: nothing was drawn."""
    most: float | None
    """Estimated share of robust images as if every unknown image were robust."""
    low: float
    """Lower end of the interval, as if no unknown image were robust."""
    high: float
    """Upper end of the interval, as if every unknown image were robust."""
    n: int
    """Number of all images."""
    seen: int
    """Number of images that the last attack was run on."""
    attack: str
    """Registry name of the last attack."""
    alpha: float = SHOWN
    """Largest probability that any of the run's intervals ever misses its number."""
    unknown: int = 0
    """Number of images drawn with unknown outcome."""

    @classmethod
    def of(
        cls, looks: Iterable[Look], *, standing: int, n: int, attack: str, alpha: float = SHOWN, share: int = 1
    ) -> Self:
        """The estimate after some looks at a growing part of the images.

        The interval is the intersection of the bounds at all looks. The results of the quick attacks are known for
        every image, so only what the last attack adds has to be estimated, on the images that survive them.

        Args:
            looks: Counts at each look, in order.
            standing: Number of all images that survive the quick attacks.
            n: Number of all images.
            attack: Registry name of the last attack.
            alpha: Largest probability that any interval of the run ever misses its number.
            share: Number of intervals that share this alpha equally.
        """
        seen = list(looks)
        ends = list(narrowing(seen, standing=standing, n=n, alpha=alpha / share))
        low, high = ends[-1] if ends else (0.0, standing / max(n, 1))
        look = seen[-1] if seen else Look(0, 0, 0, 0)
        found: list[float | None] = [None, None]
        if look.drawn or not standing:
            lost = (look.broken + look.unknown, look.broken)
            shares = (standing * (1 - each / max(look.drawn, 1)) / max(n, 1) for each in lost)
            found = [min(max(each, low), high) for each in shares]
        return cls(found[0], found[1], low, high, n, look.seen, attack, alpha, look.unknown)

    def decides(self, least: float) -> bool:
        """Whether the interval lies entirely on one side of a required robust accuracy.

        Args:
            least: Required robust accuracy, 0 to 1.

        Example:
            >>> estimate = Estimate.of([], standing=600, n=1000, attack="standard")
            >>> estimate.decides(0.7), estimate.decides(0.5)
            (True, False)
        """
        return self.low >= least or self.high < least

    @property
    def k(self) -> None:
        """Always None: the number of robust images is not known."""
        return

    @property
    def percent(self) -> str:
        """The share in words: `54.4 %`, `54.4 to 55.0 %`, `at most 60.0 %` if nothing was drawn."""
        if self.rate is None or self.most is None:
            return f"at most {100 * self.high:.1f} %"
        least, most = f"{100 * self.rate:.1f}", f"{100 * self.most:.1f}"
        return f"{least} %" if least == most else f"{least} to {most} %"

    @property
    def counts(self) -> str:
        """Number of images that the last attack was run on, of all images: `1180 of 10000`."""
        return f"{self.seen} of {self.n}"

    @property
    def interval(self) -> str:
        """The interval in percent: `[53.1, 55.8]`."""
        return f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"

    def __str__(self) -> str:
        level = "" if abs(self.alpha - SHOWN) < 1e-9 else f" at {100 * (1 - self.alpha):g} %"
        ends = f"{100 * self.low:.1f} to {100 * self.high:.1f}, anytime-valid{level}"
        return f"{self.percent} ({ends}; {self.seen:,} of {self.n:,} images under `{self.attack}`)"

"""Wilson's interval of a share, for trust flags on a few images."""

from math import sqrt


def wilson(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Ends of the interval; 0 and 1 of no images.

    Args:
        successes: Number of successes.
        count: Number of trials.
        z: Quantile of the normal distribution; 1.96 for 95 %, 2.576 for 99 %.

    Example:
        >>> low, high = wilson(8, 16)
        >>> round(low, 2), round(high, 2)
        (0.28, 0.72)
    """
    if not count:
        return 0.0, 1.0
    share = successes / count
    half, middle = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)), share + z * z / (2 * count)
    return tuple((middle + sign * half) / (1 + z * z / count) for sign in (-1, 1))  # type: ignore[return-value]

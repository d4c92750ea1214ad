"""Choice of the batch size of a unit of work."""

from advbench.planning.cost.footprint import MEMORY, PASS_SECONDS, SPEED, Footprint
from advbench.planning.cost.passes import Passes

TARGET_SECONDS = 20
"""Expected time of a unit of work on one core of `SPEED`, which bounds the work lost when a run is killed."""
LONGER_SECONDS = 120
"""Longest expected time of a unit of work, if smaller batches would cost more per image."""
LARGEST_BATCH = 250
"""Largest number of images in one unit."""
CLEAN_BATCH = 500
"""Largest number of clean images that one unit predicts; it reads a few at a time."""


def batch_size(size: Footprint, passes: Passes, least: int = 1) -> int:
    """Number of images to attack together: a batch takes about `TARGET_SECONDS` and fits into `MEMORY`.

    Args:
        size: Cost of one image.
        passes: Passes that the attack needs for each image.
        least: Smallest batch that is efficient; used if it takes at most `LONGER_SECONDS`.

    Example:
        >>> size, passes = Footprint(flops=4e8, kept=50_000_000, weights=0), Passes(41, 40)
        >>> batch_size(size, passes), batch_size(size, passes, least=16)
        (8, 16)
    """
    seconds = passes.total * (size.flops / SPEED + PASS_SECONDS)
    wanted = max(int(TARGET_SECONDS / seconds), min(least, int(LONGER_SECONDS / seconds)))
    return max(1, min(LARGEST_BATCH, wanted, MEMORY // max(1, size.memory)))

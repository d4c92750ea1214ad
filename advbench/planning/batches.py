"""How many images are attacked together."""

from advbench.planning.footprint import MEMORY, PASS_SECONDS, SPEED, Footprint
from advbench.planning.passes import Passes

TARGET_SECONDS = 20
"""Expected time of a unit of work on one core of `SPEED`: so much is lost at most when a run is killed."""
LONGER_SECONDS = 120
"""Expected time of a unit of work at most, where fewer images together would cost more each."""
LARGEST_BATCH = 250
"""Images in one unit at most."""


def batch_size(size: Footprint, passes: Passes, least: int = 1) -> int:
    """How many images are attacked together: what takes about `TARGET_SECONDS` and fits into `MEMORY`.

    Args:
        size: What an image costs.
        passes: Of the attack.
        least: Fewer would cost more each; so many are together if that takes at most `LONGER_SECONDS`.

    Example:
        >>> size, passes = Footprint(flops=4e8, kept=50_000_000, weights=0), Passes(41, 40)
        >>> batch_size(size, passes), batch_size(size, passes, least=16)
        (8, 16)
    """
    seconds = passes.total * (size.flops / SPEED + PASS_SECONDS)
    wanted = max(int(TARGET_SECONDS / seconds), min(least, int(LONGER_SECONDS / seconds)))
    return max(1, min(LARGEST_BATCH, wanted, MEMORY // max(1, size.kept)))

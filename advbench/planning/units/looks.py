"""The order in which a suite's last attack processes the images, in a run that stops once it is decided."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from advbench.evaluation.recording import short_digest

STEP = 32
"""Smallest number of images that are added from one look to the next."""
GROWTH = 4
"""Fraction by which the images so far grow at each look, so a decision comes at most that much too late."""
UNITS, FEWEST = 4, 16
"""Largest number of units per look, which that many workers can share, and smallest number of images in each."""
QUARTER = 4
"""Smallest fraction of a full batch in a step or unit: on a small network a few images take as long as many."""


class Part(NamedTuple):
    """The images of one unit of the last attack."""

    look: int
    """Number of the look that needs them, from 1."""
    rows: tuple[int, ...]
    """Positions of the images among those that are used."""


def parts(ids: Sequence[str], seed: int, most: int) -> Iterator[Part]:
    """Divide all images, in random order, into units of growing size.

    Order and looks depend on the images, the seed and the batch size, never on the number of workers.

    Args:
        ids: Ids of the images.
        seed: Seed of the order.
        most: Largest number of images in one unit.

    Example:
        >>> cut = list(parts([f"{i}" for i in range(100)], seed=0, most=20))
        >>> [(part.look, len(part.rows)) for part in cut]
        [(1, 16), (1, 16), (2, 16), (2, 16), (3, 16), (3, 16), (4, 4)]
    """
    order = sorted(range(len(ids)), key=lambda row: short_digest("look", seed, ids[row]))
    step, fewest = max(STEP, most // QUARTER), max(FEWEST, most // QUARTER)
    start, look = 0, 0
    while start < len(order):
        stop, look = min(len(order), start + max(step, start // GROWTH)), look + 1
        units = max(-(-(stop - start) // most), min(UNITS, (stop - start) // fewest), 1)
        edges = [start + round(unit * (stop - start) / units) for unit in range(units + 1)]
        yield from (Part(look, tuple(order[first:last])) for first, last in pairwise(edges))
        start = stop

"""The order in which the last attack of a suite takes the images of a run that stops when it is decided."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from advbench.evaluation.recording import short_digest

STEP = 32
"""Fewest images by which a part grows from one look to the next."""
GROWTH = 4
"""A part grows by this fraction of itself, so that a decision comes at most that much late."""
UNITS, FEWEST = 4, 16
"""Largest number of units that share a look, for as many workers, and fewest images of such a unit."""
QUARTER = 4
"""Steps and units have this fraction of a full batch at least: on a small network a few images take as long as many."""


class Part(NamedTuple):
    """Images of one unit of the last attack."""

    look: int
    """Number of the look, from 1, after which they are needed."""
    rows: tuple[int, ...]
    """Places of the images among those that are used."""


def parts(ids: Sequence[str], seed: int, most: int) -> Iterator[Part]:
    """All images, in a random order, in units of growing size.

    Order and looks depend on the images, the seed and the size of a batch, never on the number of workers.

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

"""Images with several labels: one to four digits on a canvas, labelled with those of 0 to 7 that occur.

Some also contain an 8 or a 9, which is not a label, so that an image may have no labels.
"""

from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from advbench.catalog.cards import DatasetCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.datasets.embedded import read_embedded

LABELS = 8
"""Number of labels: the digits from 0 to 7."""
CANVAS = 48
"""Height and width of an image in pixels."""
COUNT = 1000
"""Number of images of the data set that the package contains."""
_CELL, _CUT, _SHIFT = 24, 2, 2
"""Side of a quarter of the canvas, rows cut off each side of a 28-pixel digit, and its maximum shift in pixels."""
_CELLS = ((0, 0), (0, _CELL), (_CELL, 0), (_CELL, _CELL))


class Composed(NamedTuple):
    """Images composed of digits, with their labels."""

    images: NDArray[np.uint8]
    """Shape (N, 48, 48), 8-bit grey, ink bright."""
    labels: NDArray[np.bool_]
    """Shape (N, 8): which of the digits 0 to 7 occur."""


def composed(digits: NDArray[np.uint8], classes: NDArray[np.integer], count: int, seed: int = 0) -> Composed:
    """Compose images from digits, always the same ones for the same digits and seed.

    Args:
        digits: Images to place, (n, 28, 28), 8-bit grey, ink bright.
        classes: Their classes (n,), 0 to 9; 8 and 9 are placed too, but are not labels.
        count: Number of images to make.
        seed: Seed of all draws.

    Example:
        >>> ones = composed(np.full((1, 28, 28), 255, np.uint8), np.array([1]), count=2)
        >>> ones.images.shape, ones.labels.sum(0).tolist()
        ((2, 48, 48), [0, 2, 0, 0, 0, 0, 0, 0])
    """
    source = Random(seed)  # noqa: S311 - reproducible in every version of Python, which numpy's draws are not

    def below(number: int) -> int:
        return int(source.random() * number)

    images, labels = np.zeros((count, CANVAS, CANVAS), np.uint8), np.zeros((count, LABELS), bool)
    for image, present in zip(images, labels, strict=True):
        free = list(_CELLS)
        for _ in range(1 + below(len(_CELLS))):
            top, left = (start + below(2 * _SHIFT + 1) - _SHIFT for start in free.pop(below(len(free))))
            which = below(len(digits))
            _place(image, digits[which][_CUT:-_CUT, _CUT:-_CUT], top, left)
            if classes[which] < LABELS:
                present[classes[which]] = True
    return Composed(images, labels)


def _place(image: NDArray[np.uint8], digit: NDArray[np.uint8], top: int, left: int) -> None:
    """Put a digit on an image, keeping the brighter ink; parts outside the image are cut off."""
    rows, columns = (slice(max(start, 0), min(start + _CELL, CANVAS)) for start in (top, left))
    own = digit[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    np.maximum(image[rows, columns], own, out=image[rows, columns])


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """The loader of the images composed from the package's test digits.

    Args:
        card: Card of the data set.
        source: Ignored; the digits are in the package.

    Raises:
        UserError: As for :func:`advbench.datasets.embedded.read_embedded`.
    """
    test = read_embedded("mnist")
    found = composed(test.images, test.labels, COUNT)
    return Dataset(
        name=card.name,
        images=tuple(f"{card.name}_{number:05}" for number in range(COUNT)),
        labels=None,
        label_sets=tuple(tuple(np.flatnonzero(row).tolist()) for row in found.labels),
        width=LABELS,
        read=lambda number: Image.fromarray(found.images[number]),
    )

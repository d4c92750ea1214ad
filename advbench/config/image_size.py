"""The size of an input in pixels. Does not import torch."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

Size = int | tuple[int, int]
"""Size in pixels: the side of a square, or height and width."""


def height_and_width(size: Size) -> tuple[int, int]:
    """Both sides of an input, in pixels.

    Example:
        >>> height_and_width(224), height_and_width((1024, 768))
        ((224, 224), (1024, 768))
    """
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def checked_size(name: str, size: Size | Sequence[int]) -> Size:
    """Shorten a size: a square becomes its side alone.

    Args:
        name: Name of the size in messages.
        size: Side of a square, or height and width, in pixels.

    Raises:
        ValueError: It is neither of these, or a side is less than 1.

    Example:
        >>> checked_size("size", (32, 32)), checked_size("size", [1024, 768])
        (32, (1024, 768))
    """
    sides: tuple[Any, ...] = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, Integral) and int(side) >= 1 for side in sides):
        raise ValueError(f"expected {name} >= 1, or (height, width), got {size}")
    height, width = map(int, sides)
    return height if height == width else (height, width)

"""Common parts of the figures: size, titles, colours, and mosaics."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from advbench.sanitize import display_name

DPI = 100
"""Pixels per inch of every figure."""
WIDTH = 10.0
"""Width of every figure, inches."""
HEAT = LinearSegmentedColormap.from_list("heat", ["black", "#8a0a0a", "#e52618", "#ff9a1f", "#ffee66"])
"""Colour map from black through red to yellow."""
DIFFERENCE = "RdBu_r"
"""Colour map with blue for less and red for more."""

_CELL = 48
"""Minimum side of a mosaic's cell, pixels, so that separators are thin."""

Array = NDArray[np.float32]


def new_figure(height: float, title: str) -> Figure:
    """Create an empty figure 1000 pixels wide.

    Args:
        height: Height in inches.
        title: Title of the figure, as plain text.
    """
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    figure.suptitle(plain(title, 110), fontsize=13, parse_math=False)
    return figure


def plain(text: str, limit: int = 34) -> str:
    """Make untrusted text safe for a figure."""
    return display_name(text, limit=limit)


def caption(axes: Axes, text: str, limit: int = 46) -> None:
    """Write a title above one picture of a figure."""
    axes.set_title(plain(text, limit), fontsize=10, parse_math=False)


def show(axes: Axes, picture: Array, **options: Any) -> Any:
    """Show a picture (C, H, W) or (H, W) without ticks; grey values from 0 to 1 unless options say otherwise."""
    values = np.moveaxis(picture, 0, -1) if picture.ndim == 3 else picture
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    axes.set_xticks([])
    axes.set_yticks([])
    usual: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    return axes.imshow(values, **(usual | options))


def grey(picture: Array) -> Array:
    """Convert a picture (C, H, W) to grey (H, W)."""
    return np.asarray(picture.mean(0), dtype=np.float32)


def mosaic(cells: Array, columns: int) -> Array:
    """Arrange pictures in rows, separated by thin gaps of NaN.

    Args:
        cells: Pictures (K, H, W) or (K, H, W, C).
        columns: Number of pictures in a row.

    Example:
        >>> mosaic(np.zeros((3, 48, 48)), columns=2).shape
        (98, 98)
    """
    factor = max(1, -(-_CELL // cells.shape[1]))
    cells = cells.repeat(factor, 1).repeat(factor, 2)
    gap = max(2, cells.shape[1] // 24)
    rows = -(-len(cells) // columns)
    height, width = cells.shape[1] + gap, cells.shape[2] + gap
    canvas = np.full((rows * height - gap, columns * width - gap, *cells.shape[3:]), np.nan, dtype=np.float32)
    for place, cell in enumerate(cells):
        top, left = place // columns * height, place % columns * width
        canvas[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return canvas


def number_rows(axes: Axes, numbers: Sequence[int], columns: int) -> None:
    """Write the number of each row's first picture next to the mosaic on the axes."""
    rows = -(-len(numbers) // columns)
    bottom, top = sorted(axes.get_ylim())
    centres = bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows
    axes.set_yticks(centres, [str(number) for number in numbers[::columns]], fontsize=8)
    axes.tick_params(length=0)


def bare(axes: Axes) -> None:
    """Remove the frame of the axes."""
    for spine in axes.spines.values():
        spine.set_visible(False)

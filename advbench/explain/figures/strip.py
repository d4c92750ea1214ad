"""Draw one image as a row: clean, change, adversarial, and maps."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from advbench.explain.figures.frame import HEAT, Array, caption, grey, new_figure, show
from advbench.pictures.panel import render


class Tile(NamedTuple):
    """One picture of the row."""

    heading: str
    """Heading above the picture."""
    picture: Array
    """Picture (C, H, W), in [0, 1]."""
    heat: Array | None = None
    """Map drawn over the picture (H, W), if there is one."""


def draw_strip(title: str, tiles: Sequence[Tile]) -> bytes:
    """Draw the row.

    Args:
        title: Title of the figure.
        tiles: Three to five pictures.

    Returns:
        A PNG file 1000 pixels wide; with five pictures it is 265 pixels high, with three 400.
    """
    figure = new_figure(0.65 + 10.0 / len(tiles), title)
    for axes, tile in zip(figure.subplots(1, len(tiles), squeeze=False)[0], tiles, strict=True):
        caption(axes, tile.heading, 26 if len(tiles) > 3 else 40)
        if tile.heat is None:
            show(axes, tile.picture)
            continue
        show(axes, grey(tile.picture))
        share = np.clip(tile.heat / (float(np.quantile(tile.heat, 0.995)) or 1.0), 0, 1)
        show(axes, share, cmap=HEAT, alpha=0.15 + 0.65 * share)
    return render(figure)

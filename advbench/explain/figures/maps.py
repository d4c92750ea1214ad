"""Draw the feature maps of a layer, and the pictures that excite its filters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from advbench.explain.figures.frame import (
    DIFFERENCE,
    HEAT,
    Array,
    bare,
    caption,
    mosaic,
    new_figure,
    number_rows,
    show,
)
from advbench.pictures.panel import render


def draw_maps(title: str, clean: Array, adversarial: Array | None, numbers: Sequence[int]) -> bytes:
    """Draw the feature maps of a layer; with an adversarial picture, those of both side by side, and the difference.

    Args:
        title: Title of the figure.
        clean: Maps (K, H, W) of the clean picture.
        adversarial: Maps of the adversarial picture, or None.
        numbers: Indices of the K filters.

    Returns:
        A PNG file 1000 pixels wide; with 32 maps it is 740 pixels high for a pair, 570 for one picture.
    """
    pair = adversarial is not None
    columns = min(len(numbers), (4 if len(numbers) <= 32 else 16) * (1 if pair else 2))
    rows, width = -(-len(numbers) // columns), 3.0 if pair else 9.2
    figure = new_figure(1.1 + rows * width / columns * clean.shape[1] / clean.shape[2] + 0.3 * pair, title)
    axes = figure.subplots(1, 3 if pair else 1, squeeze=False)[0]
    shown = {"clean": clean} if adversarial is None else {"clean": clean, "adversarial": adversarial}
    top = float(np.quantile(np.concatenate([each.ravel() for each in shown.values()]), 0.998)) or 1.0
    image: Any = None
    for place, (name, maps) in zip(axes, shown.items(), strict=False):
        image = show(place, mosaic(maps, columns), cmap=HEAT, vmin=0, vmax=top)
        caption(place, name if pair else "")
        number_rows(place, numbers, columns)
        bare(place)
    below: dict[str, Any] = {"location": "bottom", "shrink": 0.6, "aspect": 40, "pad": 0.02}
    figure.colorbar(image, ax=list(axes[: len(shown)]), label="activation (black: none)", **below)
    if adversarial is not None:
        change = adversarial - clean
        most = float(np.quantile(np.abs(change), 0.998)) or 1.0
        image = show(axes[2], mosaic(change, columns), cmap=DIFFERENCE, vmin=-most, vmax=most)
        caption(axes[2], "difference")
        number_rows(axes[2], numbers, columns)
        bare(axes[2])
        figure.colorbar(image, ax=axes[2], label="less   ·   more", **(below | {"shrink": 0.9, "aspect": 20}))
    return render(figure)


def draw_one_map(title: str, pictures: Sequence[Array], maps: Sequence[Array]) -> bytes:
    """Draw the feature map of one filter next to the picture and, for a pair, the difference.

    Args:
        title: Title of the figure.
        pictures: Clean and, if there is one, adversarial picture (C, H, W).
        maps: Map of each picture (H, W).

    Returns:
        A PNG file of 1000 x 620 pixels for a pair, 1000 x 500 for one picture.
    """
    pair = len(maps) > 1
    figure = new_figure(6.2 if pair else 5.0, title)
    axes = figure.subplots(len(pictures), 3 if pair else 2, squeeze=False)
    top = max(float(each.max()) for each in maps) or 1.0
    image: Any = None
    for row, picture, each, name in zip(axes, pictures, maps, ("clean", "adversarial"), strict=False):
        show(row[0], picture)
        caption(row[0], name)
        image = show(row[1], each, cmap=HEAT, vmin=0, vmax=top)
        caption(row[1], "map")
    figure.colorbar(image, ax=list(axes[:, 1]), label="activation")
    if pair:
        change = maps[1] - maps[0]
        most = float(np.abs(change).max()) or 1.0
        axes[1, 2].set_axis_off()
        image = show(axes[0, 2], change, cmap=DIFFERENCE, vmin=-most, vmax=most)
        caption(axes[0, 2], "difference")
        figure.colorbar(image, ax=axes[0, 2])
    return render(figure)


def draw_filters(title: str, panels: Mapping[str, Array], numbers: Sequence[Sequence[int]]) -> bytes:
    """Draw mosaics of the pictures that excite filters most.

    Args:
        title: Title of the figure.
        panels: Heading -> pictures (K, C, H, W) of one layer; one panel, or three side by side.
        numbers: Indices of the filters of each panel.

    Returns:
        A PNG file 1000 pixels wide; with 64 pictures of one layer, 8 in a row, it is 1020 pixels high.
    """
    columns = [min(len(each), 8 if len(panels) == 1 else 4) for each in numbers]
    rows = max(-(-len(each) // wide) for each, wide in zip(numbers, columns, strict=True))
    figure = new_figure(0.8 + rows * 9.4 / (len(panels) * max(columns)), title)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, (heading, pictures), each, wide in zip(axes, panels.items(), numbers, columns, strict=True):
        cells = np.nan_to_num(mosaic(np.moveaxis(pictures, 1, -1), wide), nan=1.0)
        show(place, np.moveaxis(cells, -1, 0), interpolation="antialiased")
        caption(place, heading)
        number_rows(place, each, wide)
        bare(place)
    return render(figure)


def draw_pictures(title: str, pictures: Mapping[str, Array]) -> bytes:
    """Draw up to four pictures in a row, each under its name.

    Args:
        title: Title of the figure.
        pictures: Name -> picture (C, H, W).

    Returns:
        A PNG file 1000 pixels wide and 400 pixels high, or 560 for fewer than three pictures.
    """
    figure = new_figure(4.0 if len(pictures) > 2 else 5.6, title)
    axes = figure.subplots(1, len(pictures), squeeze=False)[0]
    for place, (name, picture) in zip(axes, pictures.items(), strict=True):
        show(place, picture, interpolation="antialiased")
        caption(place, name, 34)
    return render(figure)

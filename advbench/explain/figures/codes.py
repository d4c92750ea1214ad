"""Draw the last hidden layer: bar codes of images, class by class, and a map of them."""

import warnings
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from advbench.explain.figures.frame import HEAT, Array, caption, new_figure, plain
from advbench.pictures.panel import NEW, OLD, render


class Coded(NamedTuple):
    """Images and their activations, grouped by class."""

    units: Array
    """Activations (N, units)."""
    names: tuple[str, ...]
    """Class of each image, in the same order."""
    places: Array
    """Positions on the map (N, 2)."""
    moves: tuple[tuple[int, int], ...] = ()
    """Pairs of rows: a clean image, and its adversarial version."""


def draw_codes(title: str, coded: Coded, note: str) -> bytes:
    """Draw bar codes and the map.

    Args:
        title: Title of the figure.
        coded: Images and their activations.
        note: Explanation of the columns of the bar codes.

    Returns:
        A PNG file 1000 pixels wide; with 22 images it is 1084 pixels high.
    """
    figure = new_figure(1.0 + 0.22 * len(coded.names) + 5.0, title)
    upper, lower = figure.subplots(2, 1, height_ratios=(0.22 * len(coded.names), 5.0))
    _draw_bars(upper, coded, note)
    _draw_map(lower, coded)
    return render(figure)


def _draw_bars(axes: Axes, coded: Coded, note: str) -> None:
    top = float(np.quantile(coded.units, 0.99)) or 1.0
    axes.imshow(coded.units, aspect="auto", cmap=HEAT, vmin=0, vmax=top, interpolation="nearest")
    starts = [i for i, name in enumerate(coded.names) if i == 0 or name != coded.names[i - 1]]
    ends = [*starts[1:], len(coded.names)]
    centres = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    axes.set_yticks(centres, [plain(coded.names[start], 30) for start in starts], fontsize=8, parse_math=False)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for start in starts[1:]:
        axes.axhline(start - 0.5, color="white", linewidth=1.5)
    colours = {row: colour for move in coded.moves for row, colour in zip(move, (OLD, NEW), strict=True)}
    for label, start in zip(axes.get_yticklabels(), starts, strict=True):
        label.set_color(colours.get(start, "#333333"))
    caption(axes, note, 110)


def _draw_map(axes: Axes, coded: Coded) -> None:
    colours = {row: colour for move in coded.moves for row, colour in zip(move, (OLD, NEW), strict=True)}
    for row, (x, y) in enumerate(coded.places):
        size, order = (9, 3) if row in colours else (6, 2)
        axes.plot(x, y, "o", color=colours.get(row, "#999999"), markersize=size, zorder=order)
    for start, end in coded.moves:
        axes.annotate(
            "", coded.places[end], coded.places[start],
            arrowprops={"arrowstyle": "->", "color": "#333333", "shrinkA": 6, "shrinkB": 6, "linewidth": 1.5},
        )  # fmt: skip
    axes.margins(0.12)
    axes.set_xlabel("first principal axis")
    axes.set_ylabel("second")
    axes.grid(alpha=0.25)
    caption(axes, "the same images on the two axes along which the clean ones differ most", 110)
    rows = sorted(range(len(coded.names)), key=lambda row: row not in colours)
    _label(axes, [(row, colours.get(row, "#555555")) for row in rows], coded)


def _label(axes: Axes, rows: list[tuple[int, str]], coded: Coded) -> None:
    """Label the points in order; a label that would overlap something or leave the frame is left out."""
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    with warnings.catch_warnings():
        # As in rendering: a character that the font lacks becomes a box.
        warnings.simplefilter("ignore", UserWarning)
        figure.draw_without_rendering()  # the layout determines where texts are
        _place(axes, rows, coded)


def _place(axes: Axes, rows: list[tuple[int, str]], coded: Coded) -> None:
    frame, points = axes.get_window_extent(), axes.transData.transform(coded.places)
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in points]
    taken += [Bbox([points[start], points[end]]) for start, end in coded.moves]
    for row, colour in rows:
        for shift, side in (((9, 0), "left"), ((-9, 0), "right"), ((0, 11), "center"), ((0, -11), "center")):
            text = axes.annotate(
                plain(coded.names[row], 26), coded.places[row], shift, textcoords="offset points", ha=side,
                va="center", fontsize=8, color=colour, parse_math=False, zorder=4,
            )  # fmt: skip
            box = text.get_window_extent().padded(1)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()

"""The way from the clean picture to the adversarial one, and the decisions around both."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from scipy.ndimage import zoom

from advbench.explain.figures.frame import Array, caption, new_figure, plain
from advbench.pictures.panel import NEW, OLD, render

_OTHERS = ("#6aa35c", "#8d6cab", "#b8963e", "#c06c84", "#5a9aa8", "#8c6d5a")
_LABEL = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
"""Frame of words that lie on curves or colours."""
_SMOOTH = 8
"""Cells drawn for each point of the grid along a side."""


def draw_path(
    title: str, places: Array, confidences: Array, names: Sequence[str], surface: "tuple[Array, Array, Array]"
) -> bytes:
    """Confidences along the straight line, and the classes in the plane around it.

    Args:
        title: Title of the figure.
        places: Places on the line (T,): 0 the clean picture, 1 the adversarial one.
        confidences: Confidences of the classes (T, K); the first is the clean picture's, the second the
            adversarial one's.
        names: Names of the K classes; where the surface has others, they follow.
        surface: Places along (W,) and aside (H,), and log-probabilities (H, W, K) of those classes.

    Returns:
        A PNG file of 1000 x 520 pixels.
    """
    figure = new_figure(5.2, title)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    colours = [OLD, NEW, *_OTHERS][: len(names)]
    for curve, colour in zip(confidences.T, colours, strict=False):
        left.plot(places, curve, color=colour, linewidth=2)
    left.set_xlim(float(places[0]), float(places[-1]))
    left.set_ylim(0, 1.02)
    left.set_ylabel("confidence")
    left.set_xlabel("place on the line")
    left.grid(alpha=0.25)
    for at, name in ((0, "clean"), (1, "adversarial")):
        left.axvline(at, color="#555555", linewidth=1, linestyle=(0, (4, 3)))
        left.text(at + 0.03, 1.005, name, fontsize=9, va="top", color="#333333", bbox=_LABEL)
    caption(left, "confidence from the clean picture to the adversarial one and beyond", 80)
    _draw_surface(right, surface, colours)
    figure.legend(
        handles=[Patch(color=colour) for colour in colours],
        labels=[plain(name, 26).replace("$", r"\$") for name in names],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    return render(figure)


def _draw_surface(axes: Axes, surface: "tuple[Array, Array, Array]", colours: Sequence[str]) -> None:
    """The class that is first everywhere in the plane; the paler, the less confident."""
    towards, aside, logs = surface
    fine = zoom(logs, (_SMOOTH, _SMOOTH, 1), order=1, grid_mode=True, mode="nearest")
    first = fine.argmax(-1)
    sure = np.exp(fine.max(-1))[..., None]
    colour = np.array([to_rgb(each) for each in colours])[first]
    step_x, step_y = (float(each[1] - each[0]) / 2 for each in (towards, aside))
    extent = (towards[0] - step_x, towards[-1] + step_x, aside[0] - step_y, aside[-1] + step_y)
    strength = 0.25 + 0.75 * np.clip(sure, 0, 1)
    axes.imshow(1 + strength * (colour - 1), origin="lower", extent=extent, interpolation="nearest", aspect="equal")
    axes.contour(first, levels=np.arange(len(colours)) + 0.5, extent=extent, colors="white", linewidths=0.8)
    for at, name in ((0, "clean"), (1, "adversarial")):
        axes.plot(at, 0, "o", markersize=7, markerfacecolor="white", markeredgecolor="black")
        axes.annotate(name, (at, 0), (0, 9), textcoords="offset points", ha="center", fontsize=9, bbox=_LABEL)
    axes.set_xlabel("adversarial direction")
    axes.set_ylabel("random direction, as long")
    caption(axes, "first class in the plane around both; paler: less confident", 70)

"""Draw the pixels that support a class over the picture."""

from typing import Any, NamedTuple

import numpy as np

from advbench.explain.figures.frame import DIFFERENCE, HEAT, Array, caption, grey, new_figure, show
from advbench.pictures.panel import render


class Row(NamedTuple):
    """One picture and its maps."""

    heading: str
    """Heading of the picture, with its predicted class."""
    picture: Array
    """Picture (C, H, W)."""
    maps: tuple[Array, ...]
    """Map for each explained class (H, W)."""


def draw_attribution(title: str, classes: tuple[str, ...], rows: tuple[Row, ...], *, style: str) -> bytes:
    """Draw pictures and, for each class, the pixels that support it.

    Args:
        title: Title of the figure.
        classes: Headings of the maps.
        rows: Pictures with their maps.
        style: "strength" draws maps alone, from zero to large; "overlay" draws them over the picture; "signed" does so
            with evidence against the class in blue. All maps of a figure share one scale, except with "strength" and
            "overlay", where each has its own.

    Returns:
        A PNG file; 1000 x 671 pixels for two pictures and two classes, 1000 x 483 for one of each.
    """
    wide, tall = 1 + len(classes), len(rows)
    figure = new_figure(0.7 + tall * (9.4 / wide) * (0.96 if wide > 2 else 0.88), title)
    axes = figure.subplots(tall, wide, squeeze=False)
    image: Any = None
    largest = max(float(np.quantile(np.abs(each), 0.995)) for row in rows for each in row.maps) or 1.0
    for line, row in zip(axes, rows, strict=True):
        show(line[0], row.picture)
        caption(line[0], row.heading)
        for place, each, name in zip(line[1:], row.maps, classes, strict=True):
            caption(place, f"for {name}")
            if style != "strength":
                show(place, grey(row.picture))
            if style == "signed":
                share = np.clip(np.abs(each) / largest, 0, 1)
                image = show(place, each, cmap=DIFFERENCE, vmin=-largest, vmax=largest, alpha=0.15 + 0.75 * share)
            else:
                share = np.clip(each / (float(np.quantile(each, 0.995)) or 1.0), 0, 1)
                alpha = 1.0 if style == "strength" else 0.15 + 0.65 * share
                image = show(place, np.asarray(share, dtype=np.float32), cmap=HEAT, alpha=alpha)
    label = "fall of the log-probability" if style == "signed" else "share of the map's largest values"
    bar = figure.colorbar(image, ax=list(axes[:, 1:].ravel()), shrink=0.8, aspect=30, label=label)
    if bar.solids is not None:
        bar.solids.set(alpha=1)
    return render(figure)

"""Draw the top classes of a picture and of its adversarial version."""

import numpy as np

from advbench.explain.figures.frame import Array, caption, new_figure, show
from advbench.pictures.outcome import Guess
from advbench.pictures.panel import draw_bars, render


def draw_predictions(title: str, rows: "tuple[tuple[str, Array, tuple[Guess, ...]], ...]") -> bytes:
    """Draw each picture with bars for its top five classes; those in the clean picture's top five are blue.

    Args:
        title: Title of the figure.
        rows: Heading, picture (C, H, W) and top classes, the clean picture first.

    Returns:
        A PNG file of 1000 x 380 pixels for one picture, 1000 x 720 for a pair.
    """
    figure = new_figure(0.4 + 3.4 * len(rows), title)
    axes = figure.subplots(len(rows), 2, width_ratios=(1, 1.5), squeeze=False)
    old = {guess.class_index for guess in rows[0][2][:5]}
    for (left, right), (heading, picture, guesses) in zip(axes, rows, strict=True):
        show(left, np.asarray(picture))
        caption(left, heading)
        draw_bars(right, guesses, old)
    return render(figure)

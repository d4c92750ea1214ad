"""The panel: a figure that shows the effect of an attack on a picture at a glance."""

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from advbench.config.budgets import describe_norm
from advbench.pictures.wording import describe_result
from advbench.sanitize import display_name

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from advbench.pictures.outcome import Guess, PictureResult

_BARS = 5
OLD, NEW, _GREY = "#4878a8", "#d9622b", "#777777"


def draw_panel(
    clean: Image.Image,
    perturbation: Image.Image,
    adversarial: Image.Image,
    outcome: "PictureResult",
    mask: Image.Image | None = None,
) -> bytes:
    """Draw the panel of one picture.

    Three rows of pictures of the same size: the original with its top five classes, the perturbation with its size and
    cost, the adversarial picture with its top five classes. Classes that were among the original's top ones are blue
    in both, all others orange. With a mask, a line in all three surrounds the pixels that were allowed to change; if
    these are scattered, the rest of the original is faded instead.

    Args:
        clean: The original, at the model's resolution or its own.
        perturbation: The scaled perturbation; grey means no change.
        adversarial: The adversarial picture.
        outcome: Classes, sizes and cost.
        mask: White where the picture was allowed to change, black elsewhere; None: it was allowed everywhere.

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 10.2), dpi=100, layout="constrained")
    rows = figure.subplots(3, 2, width_ratios=(1, 1.25))
    old = set(outcome.record.clean_labels or outcome.record.clean_topk or ())
    for (left, _), picture, name in zip(
        rows, (clean, perturbation, adversarial), ("original", "perturbation", "adversarial"), strict=True
    ):
        left.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        if mask is not None:
            _show_mask(left, mask, first=name == "original")
        left.set_ylabel(name, fontsize=14)
        left.set_xticks([])
        left.set_yticks([])
    draw_bars(rows[0][1], outcome.before, old)
    _write_facts(rows[1][1], outcome)
    draw_bars(rows[2][1], outcome.after, old)
    _write_title(figure, outcome)
    return render(figure)


def _show_mask(axes: "Axes", mask: Image.Image, *, first: bool) -> None:
    """Draw a line around the allowed pixels; if they are scattered, fade the rest of the first picture instead."""
    allowed = np.asarray(mask) > 0
    edges = _edges(allowed)
    if len(edges) > 4 * sum(allowed.shape):  # far more edges than around a frame: lines would hide the picture
        if first:
            grey = np.full((*allowed.shape, 4), 0.5)
            grey[..., 3] = np.where(allowed, 0.0, 0.8)
            axes.imshow(grey, interpolation="nearest")
        return
    from matplotlib.collections import LineCollection

    # In two colours, to be visible on any picture.
    for colour, width in (("black", 2.5), ("white", 1.2)):
        axes.add_collection(LineCollection(edges, colors=colour, linewidths=width, capstyle="round"), autolim=False)


def _edges(allowed: "npt.NDArray[np.bool_]") -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Both ends (x, y) of each pixel side between pixels that may change and pixels that may not."""
    allowed = np.pad(allowed, 1)
    lines: list[tuple[tuple[float, float], tuple[float, float]]] = []
    # A pixel at (row, column) extends half a pixel to each side of its centre; the padding starts at -1.
    for row, column in np.argwhere(allowed[1:] != allowed[:-1]).tolist():
        lines.append(((column - 1.5, row - 0.5), (column - 0.5, row - 0.5)))
    for row, column in np.argwhere(allowed[:, 1:] != allowed[:, :-1]).tolist():
        lines.append(((column - 0.5, row - 1.5), (column - 0.5, row - 0.5)))
    return lines


def render(figure: "Figure") -> bytes:
    """Render a figure as a PNG file; the same figure always gives the same bytes."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The font lacks some characters that names may contain; boxes are drawn instead.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def draw_bars(axes: "Axes", guesses: "tuple[Guess, ...]", old: set[int]) -> None:
    """Draw the confidences of the top classes, with the first at the top.

    Args:
        axes: Axes to draw on.
        guesses: Classes with their confidences; five are shown.
        old: Indices of the classes to draw in blue; the others are orange.
    """
    shown = guesses[:_BARS]
    colours = [OLD if guess.class_index in old else NEW for guess in shown]
    axes.barh(range(len(shown)), [guess.confidence for guess in shown], color=colours, height=0.62)
    for place, guess in enumerate(shown):
        label = f"{display_name(guess.name, limit=34)}  {guess.confidence:.1%}"
        axes.text(0.01, place - 0.48, label, fontsize=12, va="center", parse_math=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(_BARS - 0.4, -0.8)
    axes.set_axis_off()


def _write_facts(axes: "Axes", outcome: "PictureResult") -> None:
    """Write size and cost, and the legend of the bars' colours."""
    several = outcome.record.clean_labels is not None
    known = "on the original" if several else f"among the original's first {len(outcome.record.clean_topk or ())}"
    axes.text(0.01, 0.95, "\n".join(describe_result(outcome)), fontsize=12, va="top", linespacing=1.6, parse_math=False)
    axes.text(0.01, 0.10, "■", color=OLD, fontsize=13)
    axes.text(0.06, 0.10, known, color=_GREY, fontsize=11)
    axes.text(0.01, 0.0, "■", color=NEW, fontsize=13)
    axes.text(0.06, 0.0, "off on the original" if several else "not among them", color=_GREY, fontsize=11)
    axes.set_axis_off()


def _write_title(figure: "Figure", outcome: "PictureResult") -> None:
    record = outcome.record
    name = display_name(outcome.path.name, limit=40)
    title = f"{name} · {record.model} · {record.attack} · {describe_norm(record.norm, record.eps)}"
    title += " · original size" if outcome.read_back else ""
    figure.suptitle(title, fontsize=14, parse_math=False)

"""Contact sheet of a data set: its pictures in a grid, each with its true class and a model's prediction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advbench.pictures.panel import NEW, OLD, render
from advbench.sanitize import display_name

if TYPE_CHECKING:
    from advbench.pictures.look import Seen

COLUMNS = 8
"""Number of pictures per row."""
MOST = 64
"""Largest number of pictures."""
_LETTERS = 17


def draw_sheet(title: str, seen: "Sequence[Seen]") -> bytes:
    """Draw a contact sheet.

    Classes are blue; if the model gets a picture wrong, its prediction is shown below in orange.

    Args:
        title: Title of the sheet.
        seen: At least one picture, of which the first `MOST` are shown.

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure

    shown = seen[:MOST]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(max(1.5 * columns, 6), 1.85 * rows + 0.5), dpi=100, layout="constrained")
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, each in zip(grid.flat, shown, strict=False):
        axes.imshow(each.picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        wrong = each.right is False
        first = each.label or each.answer or each.name
        below = each.answer if wrong else ""
        axes.text(0.5, -0.03, display_name(first, limit=_LETTERS), color=OLD, **_caption(axes))
        axes.text(0.5, -0.17, display_name(below, limit=_LETTERS) if below else " ", color=NEW, **_caption(axes))
    figure.suptitle(title, fontsize=12, parse_math=False)
    return render(figure)


def _caption(axes: Any) -> dict[str, Any]:
    return {"transform": axes.transAxes, "ha": "center", "va": "top", "fontsize": 8, "parse_math": False}

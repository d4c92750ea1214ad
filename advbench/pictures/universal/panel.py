"""Figure of a universal perturbation or patch: its appearance, and its effect on pictures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from advbench.models.classifier import Classifier
from advbench.pictures.files import as_picture
from advbench.pictures.panel import NEW, OLD, render
from advbench.sanitize import count_of, display_name

_DOMINANT = 8


class Example(NamedTuple):
    """A picture before and after."""

    clean: Image.Image
    """Picture without any change."""
    perturbed: Image.Image
    """Picture with the perturbation or patch."""
    before: str
    """Predicted class of the clean picture."""
    after: str
    """Predicted class of the perturbed picture."""


def examples_of(model: Classifier, x: Tensor, x_adv: Tensor) -> list[Example]:
    """Images (n, C, H, W) before and after, with the classes that a model predicts."""
    with torch.no_grad():
        before, after = (model(images).argmax(1).tolist() for images in (x, x_adv))
    return [
        Example(as_picture(old), as_picture(new), model.classes[i], model.classes[j])
        for old, new, i, j in zip(x, x_adv, before, after, strict=True)
    ]


def draw_universal(
    title: str,
    perturbation: Image.Image,
    examples: Sequence[Example],
    dominant: Sequence[tuple[str, int]],
    images: int,
    caption: str = "the perturbation, scaled",
) -> bytes:
    """Draw the perturbation, the predicted classes, and some pictures before and after.

    Args:
        title: Title above the figure.
        perturbation: Scaled perturbation; grey means no change.
        examples: At least one picture; one column is drawn for each.
        dominant: Predicted classes with their number of perturbed pictures, most frequent first.
        images: Total number of pictures.
        caption: Caption below the perturbation.

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 10.2), dpi=100, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    top, bottom = parts
    left, right = top.subplots(1, 2, width_ratios=(1, 1.1))
    left.imshow(perturbation, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    left.set_xlabel(caption, fontsize=12)
    left.set_xticks([])
    left.set_yticks([])
    shown = list(dominant[:_DOMINANT])
    right.barh(range(len(shown)), [count / images for _, count in shown], color=NEW, height=0.5)
    for place, (name, count) in enumerate(shown):
        label = f"{display_name(name, limit=30)}  {count / images:.1%}"
        right.text(0.0, place - 0.43, label, fontsize=11, va="center", parse_math=False)
    right.set_title(f"classes of {count_of(images, 'perturbed picture')}", fontsize=12, loc="left")
    right.set_ylim(_DOMINANT - 0.4, -0.9)
    right.set_axis_off()
    grid = bottom.subplots(2, len(examples), squeeze=False)
    for column, example in enumerate(examples):
        changed = example.before != example.after
        for axes, picture, name, colour in (
            (grid[0][column], example.clean, example.before, OLD),
            (grid[1][column], example.perturbed, example.after, NEW if changed else OLD),
        ):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_xlabel(display_name(name, limit=22), fontsize=11, color=colour, parse_math=False)
            axes.set_xticks([])
            axes.set_yticks([])
    grid[0][0].set_ylabel("clean", fontsize=12)
    grid[1][0].set_ylabel("perturbed", fontsize=12)
    figure.suptitle(title, fontsize=13, parse_math=False)
    return render(figure)

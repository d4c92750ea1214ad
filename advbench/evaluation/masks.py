"""Attack masks: from the specification that a user wrote to the pixels that may change."""

import math

import numpy as np
import torch
from torch import Tensor

from advbench.config.masks import MaskSpec
from advbench.datasets.images.files import read_picture
from advbench.errors import UserError
from attacks import Goal, Model
from attacks.losses import margin
from attacks.queries.gradients import slope

_WHITE = 128
"""Lowest grey level at which a pixel of a mask picture may change."""


def check_mask(spec: MaskSpec, x: Tensor) -> None:
    """Check that a mask fits images (C, H, W), before anything is attacked.

    Raises:
        UserError: It has another size, extends beyond the image, allows nothing to change, or is not a picture.
    """
    if spec.per_image:
        _sides(spec, x)
    else:
        shared_mask(spec, x)


def mask_for(spec: MaskSpec, model: Model, x: Tensor, goal: Goal) -> Tensor:
    """The pixels that may change: in all images, or in a single image with an individual mask.

    Args:
        spec: The mask as it was specified.
        model: The model under attack.
        x: Images (N, C, H, W).
        goal: Goal of the images, whose margin a saliency mask follows.

    Raises:
        UserError: As :func:`check_mask`.
        NoGradientError: It is a saliency mask and the model has no gradient.

    Returns:
        Bool (H, W).
    """
    if not spec.per_image:
        return shared_mask(spec, x[0])
    if len(x) > 1:
        raise ValueError(f"expected one image at a time for an individual mask, got {len(x)}")
    return saliency_mask(model, x, goal, spec.numbers[0])[0]


def shared_mask(spec: MaskSpec, x: Tensor) -> Tensor:
    """The pixels that may change in all images like ``x`` (C, H, W), bool (H, W); not for saliency masks.

    Example:
        >>> from advbench.config.masks import parse_mask
        >>> shared_mask(parse_mask("border:1"), torch.zeros(1, 3, 4)).int()
        tensor([[1, 1, 1, 1],
                [1, 0, 0, 1],
                [1, 1, 1, 1]], dtype=torch.int32)
    """
    height, width = _sides(spec, x)
    if spec.kind == "picture":
        return _from_picture(spec, height, width).to(x.device)
    allowed = torch.zeros(height, width, dtype=torch.bool, device=x.device)
    if spec.kind == "border":
        wide = int(spec.numbers[0])
        if 2 * wide >= min(height, width):
            raise UserError(f"mask {spec.text} covers the whole of an image of {width} x {height} pixels")
        allowed[:] = True
        allowed[wide : height - wide, wide : width - wide] = False
        return allowed
    left, top, wide, high = map(int, spec.numbers)
    if left + wide > width or top + high > height:
        raise UserError(
            f"mask {spec.text} reaches beyond the model's input of {width} x {height} pixels",
            hint=f"a box is left,top,width,height; the whole input is box:0,0,{width},{height}",
        )
    allowed[top : top + high, left : left + wide] = True
    return allowed


def saliency_mask(model: Model, x: Tensor, goal: Goal, percent: float) -> Tensor:
    """The pixels that affect the margin most: those with the largest absolute gradient, summed over channels.

    Args:
        model: The model whose gradient is used.
        x: Images (N, C, H, W).
        goal: Goal whose margin counts.
        percent: Share of the pixels to keep, percent; at least one is kept.

    Returns:
        Bool (N, H, W).

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.rand(1, 1, 2, 2), Untargeted(torch.tensor([0]))
        >>> saliency_mask(lambda x: x.flatten(1) * torch.tensor([9.0, 1, 2, 3]), x, goal, 25.0)[0, 0, 0]
        tensor(True)
    """
    weight = slope(model, x, goal, margin).gradient.abs().sum(1).flatten(1)
    count = max(1, math.ceil(weight.shape[1] * percent / 100))
    best = weight.argsort(dim=1, descending=True, stable=True)[:, :count]
    allowed = torch.zeros_like(weight, dtype=torch.bool).scatter(1, best, torch.ones_like(best, dtype=torch.bool))
    return allowed.view(len(x), *x.shape[2:])


def _sides(spec: MaskSpec, x: Tensor) -> tuple[int, int]:
    if x.ndim != 3:
        raise UserError(f"mask {spec.text} needs images of rows and columns, got shape {tuple(x.shape)}")
    return x.shape[1], x.shape[2]


def _from_picture(spec: MaskSpec, height: int, width: int) -> Tensor:
    picture = read_picture(spec.path, "L")
    if picture.size != (width, height):
        got = f"{picture.size[0]} x {picture.size[1]}"
        raise UserError(
            f"mask {spec.text} is {got} pixels, and the model's input {width} x {height}",
            hint="draw it at the size of the input, that of `adversarial.png` from an attack without a mask",
        )
    allowed = torch.from_numpy(np.array(picture)) >= _WHITE
    if not bool(allowed.any()):
        raise UserError(f"mask {spec.text} allows nothing to change: no pixel of it is white")
    return allowed

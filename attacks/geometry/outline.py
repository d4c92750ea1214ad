"""Outlines of patches: squares and circles of whole pixels, and their placement in images."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Shape = Literal["square", "circle"]
"""Shape of a patch."""
SHAPES: tuple[str, ...] = get_args(Shape)
"""Names of the shapes."""


def check_shape(shape: object) -> None:
    """Check the name of a shape.

    Raises:
        ValueError: If it is not one of :data:`SHAPES`.

    Example:
        >>> check_shape("star")
        Traceback (most recent call last):
        ValueError: expected shape of a patch to be one of square, circle, got 'star'
    """
    if shape not in SHAPES:
        raise ValueError(f"expected shape of a patch to be one of {', '.join(SHAPES)}, got {shape!r}")


def check_share(share: float) -> None:
    """Check the share of an image that a patch may cover.

    Raises:
        ValueError: If it is not above 0, or is above 1.

    Example:
        >>> check_share(1.5)
        Traceback (most recent call last):
        ValueError: expected share of a patch above 0 and at most 1, got 1.5
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected share of a patch above 0 and at most 1, got {share:g}")


def side_of(shape: str, share: float, height: int, width: int) -> int:
    """Side of a square, or diameter of a circle, that covers a share of an image, in whole pixels, at least one.

    Args:
        shape: One of :data:`SHAPES`.
        share: Largest share of the image to cover, above 0, at most 1.
        height: Height of the image, pixels.
        width: Width of the image, pixels.

    Raises:
        ValueError: If it does not fit into the image.

    Example:
        >>> side_of("square", 0.05, 224, 224), side_of("circle", 0.05, 224, 224)
        (50, 56)
        >>> side_of("square", 0.5, 32, 128)
        Traceback (most recent call last):
        ValueError: expected a patch that fits into images of 32 x 128, got one of 45 x 45 (share 0.5)
    """
    area = share * height * width
    side = max(1, math.floor(math.sqrt(area if shape == "square" else 4 * area / math.pi) + 1e-9))
    while shape == "circle" and side > 1 and int(outline(shape, side).sum()) > area:
        side -= 1
    if side > min(height, width):
        raise ValueError(
            f"expected a patch that fits into images of {height} x {width}, got one of {side} x {side} "
            f"(share {share:g})"
        )
    return side


def outline(shape: str, side: int) -> Tensor:
    """The pixels of a patch, bool (side, side).

    Example:
        >>> outline("circle", 4).int()
        tensor([[0, 1, 1, 0],
                [1, 1, 1, 1],
                [1, 1, 1, 1],
                [0, 1, 1, 0]], dtype=torch.int32)
    """
    if shape == "square":
        return torch.ones(side, side, dtype=torch.bool)
    away = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2).square()
    return away + away.unsqueeze(1) <= (side / 2) ** 2


def placed(pixels: Tensor, corners: Tensor, height: int, width: int) -> Tensor:
    """Place an outline in images.

    Args:
        pixels: The outline, bool (side, side).
        corners: Row and column of its upper left corner in each image, integers (n, 2).
        height: Height of the images, pixels.
        width: Width of the images, pixels.

    Returns:
        The pixels it covers, bool (n, height, width).

    Example:
        >>> placed(outline("square", 1), torch.tensor([[1, 0]]), 2, 2).int()
        tensor([[[0, 0],
                 [1, 0]]], dtype=torch.int32)
    """
    side, (down, right) = len(pixels), (corners[:, i].view(-1, 1, 1) for i in (0, 1))
    rows = torch.arange(height, device=corners.device).view(1, -1, 1) - down
    columns = torch.arange(width, device=corners.device).view(1, 1, -1) - right
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    last = side - 1
    return inside & pixels.to(corners.device)[rows.clamp(0, last), columns.clamp(0, last)]


def best_corners(changed: Tensor, pixels: Tensor) -> Tensor:
    """The position where an outline covers the most changed pixels: the first one, row by row.

    Args:
        changed: Pixels that were changed, bool (n, H, W).
        pixels: The outline, bool (side, side), no larger than the images.

    Returns:
        Rows and columns of its upper left corner (n, 2).

    Example:
        >>> changed = torch.zeros(1, 4, 4, dtype=torch.bool)
        >>> changed[0, 2, 1:3] = True
        >>> best_corners(changed, outline("square", 2))
        tensor([[1, 1]])
    """
    height, width = changed.shape[1:]
    side = len(pixels)
    # Sums of products over all positions at once; these are counts, so rounding makes them exact.
    shape = (height, width)
    spectrum = torch.fft.rfft2(changed.double()) * torch.fft.rfft2(pixels.to(changed.device).double(), s=shape).conj()
    covered = torch.fft.irfft2(spectrum, s=shape).round()[:, : height - side + 1, : width - side + 1]
    place = covered.flatten(1).argmax(1)
    across = covered.shape[2]
    return torch.stack([place // across, place % across], 1)

"""Blurs and resizing as linear maps, on images (H, W, C) of float64."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Border = Literal["nearest", "symmetric", "mirror"]
"""Values beyond the border: the border's own; the image reflected, with the border repeated; or not repeated."""


def gaussian_blur(
    x: Tensor, sigma: float | tuple[float, float], *, truncate: float = 4.0, border: Border = "nearest"
) -> Tensor:
    """Convolve with a Gaussian.

    Args:
        x: Image (H, W) or (H, W, C).
        sigma: Standard deviation in pixels, or one each for height and width; 0 changes nothing.
        truncate: Number of standard deviations after which the kernel ends.
        border: Values beyond the border.

    Example:
        >>> float(gaussian_blur(torch.eye(9, dtype=torch.float64), 1.0).sum().round())
        9.0
    """
    both = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    down, across = (
        _convolution(size, _bell(int(truncate * each + 0.5), each), border)
        for size, each in zip(x.shape[:2], both, strict=True)
    )
    return _both_ways(x, down, across)


def box_blur(x: Tensor) -> Tensor:
    """Mean over 3 x 3 pixels of an image (H, W), mirrored at the border."""
    return separable(x, x.new_full((3,), 1 / 3), "mirror")


def separable(x: Tensor, kernel: Tensor, border: Border) -> Tensor:
    """Convolve with the same symmetric kernel along both sides.

    Args:
        x: Image (H, W) or (H, W, C).
        kernel: Weights (2 r + 1,).
        border: Values beyond the border.
    """
    down, across = (_convolution(size, kernel, border) for size in x.shape[:2])
    return _both_ways(x, down, across)


def disk_blur(x: Tensor, radius: float, softness: float) -> Tensor:
    """Convolve an image (H, W, C) with a disk, like a lens out of focus.

    Args:
        x: Image, at least 11 pixels high and wide.
        radius: Radius of the disk in pixels.
        softness: Standard deviation of the Gaussian that softens its rim.
    """
    reach = 8 if radius <= 8 else int(radius)
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).double()
    disk = separable(disk / disk.sum(), _bell(1 if radius <= 8 else 2, softness), "mirror")
    planes = functional.pad(x.permute(2, 0, 1).unsqueeze(1), (reach,) * 4, mode="reflect")
    return functional.conv2d(planes, disk[None, None]).squeeze(1).permute(1, 2, 0)


def motion_blur(x: Tensor, radius: int, sigma: float, angle: float) -> Tensor:
    """Blur along a direction, with weights that fall off behind each pixel.

    Args:
        x: Image (H, W) or (H, W, C).
        radius: Half the length of the trail in pixels.
        sigma: Standard deviation of the weights in pixels.
        angle: Direction in degrees.
    """
    length = 2 * radius + 1
    weights = (-(torch.arange(length, dtype=torch.float64) ** 2) / (2 * sigma**2)).exp()
    weights = weights / weights.sum()
    rows, columns = (torch.arange(size) for size in x.shape[:2])
    blurred = torch.zeros_like(x)
    for step, weight in enumerate(weights):
        down = -math.ceil(step * math.sin(math.radians(angle)) - 0.5)
        right = -math.ceil(step * math.cos(math.radians(angle)) - 0.5)
        if abs(down) >= len(rows) or abs(right) >= len(columns):
            break
        from_rows, from_columns = ((i - by).clamp(0, len(i) - 1) for i, by in ((rows, down), (columns, right)))
        blurred += weight * x[from_rows][:, from_columns]
    return blurred


def zoomed(x: Tensor, factor: float) -> Tensor:
    """The centre of an image (H, W) or (H, W, C), enlarged to at least its size by linear interpolation."""
    sizes = [math.ceil(size / factor) for size in x.shape[:2]]
    top, left = ((size - kept) // 2 for size, kept in zip(x.shape[:2], sizes, strict=True))
    middle = x[top : top + sizes[0], left : left + sizes[1]]
    down, across = (_enlargement(kept, round(kept * factor)) for kept in sizes)
    return _both_ways(middle, down, across)


def sampled(x: Tensor, rows: Tensor, columns: Tensor, border: Border) -> Tensor:
    """Values of an image (H, W, C) between its pixels, by linear interpolation.

    Args:
        x: Image (H, W, C).
        rows: Distance of each position from the first row in pixels (H', W').
        columns: Distance of each position from the first column in pixels (H', W').
        border: Values beyond the border.
    """
    found = torch.zeros((*rows.shape, x.shape[2]), dtype=x.dtype)
    top, left = rows.floor(), columns.floor()
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - (rows - top - down).abs()) * (1 - (columns - left - right).abs())
            row = inside((top + down).long(), x.shape[0], border)
            column = inside((left + right).long(), x.shape[1], border)
            found += weight.unsqueeze(2) * x[row, column]
    return found


def inside(index: Tensor, size: int, border: Border) -> Tensor:
    """The pixel that supplies the value at a position that may lie beyond the border.

    Example:
        >>> [inside(torch.tensor([-2, -1, 3, 4]), 3, border).tolist() for border in ("nearest", "symmetric", "mirror")]
        [[0, 0, 2, 2], [1, 0, 2, 1], [2, 1, 1, 0]]
    """
    if border == "nearest":
        return index.clamp(0, size - 1)
    twice = border == "symmetric"
    period = 2 * size if twice else max(1, 2 * size - 2)
    index = index.remainder(period)
    return torch.where(index < size, index, period - twice - index)


def _bell(reach: int, sigma: float) -> Tensor:
    """Weights (2 reach + 1,) of a Gaussian."""
    if reach == 0:
        return torch.ones(1, dtype=torch.float64)
    weights = (-(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2 * sigma**2)).exp()
    return weights / weights.sum()


def _convolution(size: int, kernel: Tensor, border: Border) -> Tensor:
    """The matrix (size, size) that convolves a row of pixels with a kernel."""
    reach = len(kernel) // 2
    place = torch.arange(size)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for offset, weight in zip(range(-reach, reach + 1), kernel, strict=True):
        matrix.index_put_((place, inside(place + offset, size, border)), weight, accumulate=True)
    return matrix


def _enlargement(old: int, new: int) -> Tensor:
    """The matrix (new, old) that interpolates a row of pixels, with its two ends fixed."""
    place = torch.arange(new, dtype=torch.float64) * ((old - 1) / max(1, new - 1))
    return (1 - (place.unsqueeze(1) - torch.arange(old)).abs()).clamp_(min=0)


def _both_ways(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Apply a matrix along the height and another along the width."""
    return torch.einsum("jw,iw...->ij...", across, torch.einsum("ih,hw...->iw...", down, x))

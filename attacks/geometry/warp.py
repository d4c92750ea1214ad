"""Differentiable rotation, resizing and shifting, with separate parameters for each image."""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional


def warp(x: Tensor, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Rotate images about their centre, resize them, then shift them; bilinear, black beyond the edges.

    Args:
        x: Images (n, C, H, W).
        angle: Rotation angle in degrees, counter-clockwise (n,).
        scale: New size as a fraction of the old (n,), positive.
        shift: Shift downwards and to the right, as a fraction of height and width (n, 2).

    Returns:
        Images shaped like ``x``.

    Example:
        >>> x = torch.tensor([[0.0, 0.5], [0.0, 1.0]]).view(1, 1, 2, 2)
        >>> warp(x, torch.zeros(1), torch.ones(1), torch.tensor([[0.0, -0.5]]))
        tensor([[[[0.5000, 0.0000],
                  [1.0000, 0.0000]]]])
    """
    height, width = x.shape[2:]
    down, right = (_middles(size, x) for size in (height, width))
    # Source position of each value, in pixels from the centre.
    down = down.view(1, -1, 1) - (shift[:, 0] * height).view(-1, 1, 1)
    right = right.view(1, 1, -1) - (shift[:, 1] * width).view(-1, 1, 1)
    sine, cosine = (f(torch.deg2rad(angle)).div(scale).view(-1, 1, 1) for f in (torch.sin, torch.cos))
    source = torch.stack([(cosine * right - sine * down) * 2 / width, (sine * right + cosine * down) * 2 / height], 3)
    return functional.grid_sample(x, source, padding_mode="zeros", align_corners=False)


class Resizing(NamedTuple):
    """:func:`warp` without rotation, as matrices, so that its gradient needs no graph.

    Example:
        >>> x = torch.tensor([[0.0, 0.5], [0.0, 1.0]]).view(1, 1, 2, 2)
        >>> moved = Resizing.of(x, torch.ones(1), torch.tensor([[0.0, -0.5]]))
        >>> moved.apply(x)
        tensor([[[[0.5000, 0.0000],
                  [1.0000, 0.0000]]]])
        >>> moved.adjoint(torch.ones(1, 1, 2, 2))
        tensor([[[[0., 1.],
                  [0., 1.]]]])
    """

    rows: Tensor
    """Weights of the source rows for each row of an image (n, H, H)."""
    columns: Tensor
    """Weights of the source columns for each column of an image (n, W, W)."""

    @classmethod
    def of(cls, x: Tensor, scale: Tensor, shift: Tensor) -> Self:
        """The resizing of images (n, C, H, W) by the ``scale`` (n,) and the ``shift`` (n, 2) of :func:`warp`."""
        return cls(*(_fetched(size, scale, shift[:, i], x) for i, size in enumerate(x.shape[2:])))

    def apply(self, x: Tensor) -> Tensor:
        """Resize images (n, C, H, W)."""
        across = x.flatten(1, 2) @ self.columns.mT
        return self.rows.unsqueeze(1) @ across.view_as(x)

    def adjoint(self, gradient: Tensor) -> Tensor:
        """Map the gradient (n, C, H, W) with respect to the resized images to that with respect to the images."""
        across = gradient.flatten(1, 2) @ self.columns
        return self.rows.mT.unsqueeze(1) @ across.view_as(gradient)


def _fetched(size: int, scale: Tensor, shift: Tensor, like: Tensor) -> Tensor:
    """Interpolation weights of each position along a side (n, size, size)."""
    middles = _middles(size, like)
    source = (middles - (shift * size).unsqueeze(1)) / scale.unsqueeze(1)
    return (1 - (source.unsqueeze(2) - middles).abs()).clamp_min_(0)


def _middles(count: int, like: Tensor) -> Tensor:
    """Distance of each pixel of a side from the centre of the side, pixels."""
    return torch.arange(count, device=like.device).to(like) - (count - 1) / 2

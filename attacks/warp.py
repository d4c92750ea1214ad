"""Images turned, resized and shifted, each in its own way, differentiably."""

import torch
from torch import Tensor
from torch.nn import functional


def warp(x: Tensor, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Turn images about their middle, resize them, then shift them; bilinear, black beyond the edges.

    Args:
        x: Images (n, C, H, W).
        angle: Degrees, counter-clockwise (n,).
        scale: New size as a fraction of the old (n,), positive.
        shift: Downwards and to the right, as a fraction of height and width (n, 2).

    Returns:
        Shaped like ``x``.

    Example:
        >>> x = torch.tensor([[0.0, 0.5], [0.0, 1.0]]).view(1, 1, 2, 2)
        >>> warp(x, torch.zeros(1), torch.ones(1), torch.tensor([[0.0, -0.5]]))
        tensor([[[[0.5000, 0.0000],
                  [1.0000, 0.0000]]]])
    """
    height, width = x.shape[2:]
    down, right = (_middles(size, x) for size in (height, width))
    # Each value is fetched from where the warp took it, in pixels from the middle.
    down = down.view(1, -1, 1) - (shift[:, 0] * height).view(-1, 1, 1)
    right = right.view(1, 1, -1) - (shift[:, 1] * width).view(-1, 1, 1)
    sine, cosine = (f(torch.deg2rad(angle)).div(scale).view(-1, 1, 1) for f in (torch.sin, torch.cos))
    source = torch.stack([(cosine * right - sine * down) * 2 / width, (sine * right + cosine * down) * 2 / height], 3)
    return functional.grid_sample(x, source, padding_mode="zeros", align_corners=False)


def _middles(count: int, like: Tensor) -> Tensor:
    """Distance of each pixel of a side from the middle of the side, pixels."""
    return torch.arange(count, device=like.device).to(like) - (count - 1) / 2

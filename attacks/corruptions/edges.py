"""Edges of a grey image, distances to them, and histogram equalisation, for the rims of water drops."""

import math
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from attacks.corruptions.filters import Border, inside

WEAK, STRONG = 50, 150
"""Slope thresholds: from the lower one a pixel continues an edge, from the upper one it starts one."""
_STEEP = math.tan(math.radians(22.5))
_CHAMFER = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}
"""Step along both axes -> its approximate length in chamfer distance."""


def edges(grey: Tensor) -> Tensor:
    """Edges according to Canny, A computational approach to edge detection, 1986.

    Args:
        grey: Brightness of each pixel (H, W), integers from 0 to 255.

    Returns:
        bool (H, W).
    """
    right, down = _slopes(grey)
    size = right.abs() + down.abs()
    crest = _crest(size, right, down) & (size > WEAK)
    found, grown = crest & (size > STRONG), torch.zeros_like(crest)
    while not torch.equal(found, grown):
        grown = found
        found = crest & (functional.max_pool2d(grown[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0)
    return found


def distances(edge: Tensor, most: int) -> Tensor:
    """Distance of each pixel to the nearest edge, in pixels, at most ``most``.

    Args:
        edge: Edges, bool (H, W).
        most: Largest distance, in whole pixels.
    """
    height, width = edge.shape
    far = torch.where(edge, 0.0, math.inf).double()
    for _ in range(most):
        padded = functional.pad(far, (2, 2, 2, 2), value=math.inf)
        steps = [
            padded[2 + down : 2 + down + height, 2 + right : 2 + right + width] + length
            for down, right in product(range(-2, 3), repeat=2)
            if (length := _CHAMFER.get((min(abs(down), abs(right)), max(abs(down), abs(right)))))
        ]
        nearer = torch.stack([far, *steps]).amin(0)
        if torch.equal(nearer, far):
            break
        far = nearer
    return far.clamp(max=most)


def equalised(grey: Tensor) -> Tensor:
    """Equalise the histogram of a grey image.

    Args:
        grey: Brightness of each pixel (H, W), integers from 0 to 255.
    """
    levels = grey.long()
    counts = torch.bincount(levels.flatten(), minlength=256)
    first = int(counts.nonzero()[0])
    rest = levels.numel() - int(counts[first])
    if rest == 0:
        return grey
    above = counts.cumsum(0) - counts[: first + 1].sum()
    return (above.clamp(min=0) * (255 / rest)).round()[levels].to(grey)


def relief(grey: Tensor) -> Tensor:
    """Emboss a grey image, as if lit from the lower right, with integer levels from 0 to 255, (H, W)."""
    kernel = grey.new_tensor([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    return functional.conv2d(_padded(grey, "mirror")[None, None], kernel[None, None])[0, 0].clamp(0, 255)


def _slopes(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel gradients to the right and down (H, W)."""
    across = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    both = torch.stack([across, across.T]).unsqueeze(1)
    right, down = functional.conv2d(_padded(grey, "nearest")[None, None], both)[0]
    return right, down


def _padded(grey: Tensor, border: Border) -> Tensor:
    rows, columns = (inside(torch.arange(-1, size + 1), size, border) for size in grey.shape)
    return grey[rows][:, columns]


def _crest(size: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Pixels where the slope is larger than at both neighbours along its direction, bool (H, W)."""
    height, width = size.shape
    padded = functional.pad(size, (1, 1, 1, 1))

    def beside(rows: int, columns: int) -> Tensor:
        return padded[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    flat, steep = down.abs() < _STEEP * right.abs(), right.abs() < _STEEP * down.abs()
    falling = (right < 0) != (down < 0)
    return torch.where(
        flat,
        (size > beside(0, -1)) & (size >= beside(0, 1)),
        torch.where(
            steep,
            (size > beside(-1, 0)) & (size >= beside(1, 0)),
            torch.where(
                falling,
                (size > beside(-1, 1)) & (size > beside(1, -1)),
                (size > beside(-1, -1)) & (size > beside(1, 1)),
            ),
        ),
    )

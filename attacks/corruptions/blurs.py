"""Lens and motion blurs. Images are (H, W, 3), float64 in [0, 1], with 256 levels."""

import math

import torch
from torch import Tensor

from attacks.corruptions import filters
from attacks.corruptions.constants import Constants
from attacks.corruptions.draws import Draws


def gaussian_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Gaussian blur; the constant is its standard deviation."""
    del draws
    return filters.gaussian_blur(x, constants[0])


def defocus_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """A lens out of focus; constants are the radius of its disk and the softness of its rim."""
    del draws
    return filters.disk_blur(x, constants[0], constants[1])


def motion_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """A moving camera; constants are the radius and standard deviation of the trail."""
    angle = float(draws.between(-45, 45))
    return filters.motion_blur(x, int(constants[0]), constants[1], angle)


def zoom_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """A camera moving towards the scene; constants are the end of the zoom factors and their spacing."""
    del draws
    end, step = constants
    # as many as in the benchmark, where rounding decides whether the end is included
    factors = [1 + i * step for i in range(math.ceil((end - 1) / step))]
    layers = [filters.zoomed(x, factor)[: x.shape[0], : x.shape[1]] for factor in factors]
    return (x + torch.stack(layers).sum(0)) / (len(factors) + 1)


def glass_blur(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Frosted glass; constants are the deviation of two blurs, and how far and how often pixels move in between."""
    sigma, reach, times = constants[0], int(constants[1]), int(constants[2])
    blurred = (filters.gaussian_blur(x, sigma) * 255 + 1e-6).floor() / 255
    height, width = x.shape[:2]
    sources = _moved(height, width, reach, draws.uniform(times, height - 2 * reach, width - 2 * reach, 2))
    return filters.gaussian_blur(blurred.flatten(0, 1)[sources].view_as(x), sigma)


def _moved(height: int, width: int, reach: int, shares: Tensor) -> Tensor:
    """The source of each pixel, as indices into the flattened image.

    From the last pixel to the first, each takes the current value of a nearby one; as in the benchmark's program, which
    was meant to exchange the two.
    """
    move = (shares * 2 * reach).floor().long() - reach
    offsets = (move[..., 1] * width + move[..., 0]).tolist()
    sources = list(range(height * width))
    for rounds in offsets:
        for row, of_row in zip(range(height - reach, reach, -1), rounds, strict=True):
            first = row * width
            for place, offset in zip(range(first + width - reach, first + reach, -1), of_row, strict=True):
                sources[place] = sources[place + offset]
    return torch.tensor(sources)

"""Sensor and transmission noise. Images are (H, W, 3), float64 in [0, 1], with 256 levels."""

import torch
from torch import Tensor

from attacks.corruptions.constants import Constants
from attacks.corruptions.draws import Draws

LEVELS = 256
"""Number of levels of a channel."""


def gaussian_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Gaussian noise with constant standard deviation: too little light."""
    return x + constants[0] * draws.normal(*x.shape)


def shot_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Poisson noise: light arrives in whole photons; the constant is the number in a white pixel."""
    return poisson((x * 255).round().long(), constants[0], draws.uniform(*x.shape)) / constants[0]


def impulse_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Salt-and-pepper noise: some values become black or white, as by bit errors."""
    struck, salt = draws.uniform(*x.shape) <= constants[0], draws.uniform(*x.shape) <= 0.5
    return torch.where(struck, salt.double(), x)


def speckle_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Gaussian noise with a standard deviation proportional to the value."""
    return x * (1 + constants[0] * draws.normal(*x.shape))


def poisson(levels: Tensor, photons: float, share: Tensor) -> Tensor:
    """Numbers of photons: the quantiles of Poisson distributions.

    Args:
        levels: Integers from 0 to 255, of any shape.
        photons: Mean number for the level 255.
        share: Cumulative probability of each number, in [0, 1), with the same shape.

    Returns:
        Integers as float64, with the same shape.

    Example:
        >>> poisson(torch.tensor([0, 255]), 100.0, torch.tensor([0.5, 0.5]))
        tensor([  0., 100.], dtype=torch.float64)
    """
    means = torch.arange(LEVELS, dtype=torch.float64) * (photons / (LEVELS - 1))
    found = torch.zeros(levels.shape, dtype=torch.float64)
    density = (-means).exp()
    below = density.clone()
    # no 24-bit draw lies beyond ten standard deviations
    for count in range(1, int(photons + 10 * photons**0.5 + 10)):
        more = share >= below[levels]
        if not bool(more.any()):
            break
        found += more
        density = density * means / count
        below = below + density
    return found

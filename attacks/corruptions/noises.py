"""Noise of sensors and transmission. Images are (H, W, 3), float64 in [0, 1], of 256 levels."""

import torch
from torch import Tensor

from attacks.corruptions.constants import Constants
from attacks.corruptions.draws import Draws

LEVELS = 256
"""Number of values that a channel can have."""


def gaussian_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Normal noise of one deviation everywhere: too little light."""
    return x + constants[0] * draws.normal(*x.shape)


def shot_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Poisson noise: light arrives in whole photons, of which a white pixel has this many."""
    return poisson((x * 255).round().long(), constants[0], draws.uniform(*x.shape)) / constants[0]


def impulse_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Salt and pepper: some values become black or white, as by errors of bits."""
    struck, salt = draws.uniform(*x.shape) <= constants[0], draws.uniform(*x.shape) <= 0.5
    return torch.where(struck, salt.double(), x)


def speckle_noise(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Normal noise whose deviation grows with the value."""
    return x * (1 + constants[0] * draws.normal(*x.shape))


def poisson(levels: Tensor, photons: float, share: Tensor) -> Tensor:
    """Numbers of photons: the quantiles of Poisson distributions.

    Args:
        levels: Whole numbers from 0 to 255, of any shape.
        photons: Mean number for the level 255.
        share: Share of the distribution below each number, in [0, 1), of the same shape.

    Returns:
        Whole numbers as float64, of the same shape.

    Example:
        >>> poisson(torch.tensor([0, 255]), 100.0, torch.tensor([0.5, 0.5]))
        tensor([  0., 100.], dtype=torch.float64)
    """
    means = torch.arange(LEVELS, dtype=torch.float64) * (photons / (LEVELS - 1))
    found = torch.zeros(levels.shape, dtype=torch.float64)
    density = (-means).exp()
    below = density.clone()
    # beyond ten deviations no draw of 24 bits lies
    for count in range(1, int(photons + 10 * photons**0.5 + 10)):
        more = share >= below[levels]
        if not bool(more.any()):
            break
        found += more
        density = density * means / count
        below = below + density
    return found

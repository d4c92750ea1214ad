"""Pictures parametrised for gradient ascent, by frequencies and decorrelated colours.

Gradient ascent on pixels produces noise, because it can change every frequency and every channel separately. With a
spectrum in which shorter waves have less weight, and in the colours that vary independently in photographs, the same
ascent produces shapes.

References: Olah, Mordvintsev, Schubert, Feature visualization, https://distill.pub/2017/feature-visualization, 2017.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from advbench.config.image_size import Size, height_and_width
from attacks.searches import draws

_START = 0.01
"""Standard deviation of the initial spectrum of an ascent."""
_DECAY = 1.3
"""A wave of n periods has weight n ** -_DECAY; 1, as in the paper, leaves more of the grid caused by strides."""
_CONTRAST = 4.0
# Square root of the colour covariance of ImageNet's photographs, scaled so that its longest column has length 1.
_COLOURS = ((0.5628, 0.1948, 0.0433), (0.5845, 0.0000, -0.1082), (0.5845, -0.1948, 0.0649))


def start(ids: Tensor, channels: int, size: Size, seed: int) -> Tensor:
    """Create a spectrum of faint noise for each picture.

    Args:
        ids: Ids of the pictures (N,), int64; all draws for a picture depend on its id.
        channels: 3, or 1 for grey.
        size: Size in pixels: the side of a square, or (height, width).
        seed: Seed of the noise.

    Returns:
        Real and imaginary parts (N, channels, height, width // 2 + 1, 2).
    """
    height, width = height_and_width(size)
    return _START * draws.normal(seed, ids, 0, (channels, height, width // 2 + 1, 2))


def paint(spectrum: Tensor, size: Size) -> Tensor:
    """Convert spectra to pictures.

    Args:
        spectrum: Spectrum from :func:`start`, for the same size.
        size: Size in pixels: the side of a square, or (height, width).

    Returns:
        (N, channels, height, width), in [0, 1].

    Example:
        >>> paint(torch.zeros(1, 3, 8, 5, 2), 8).unique()
        tensor([0.5000])
        >>> paint(torch.zeros(1, 3, 8, 6, 2), (8, 10)).shape
        torch.Size([1, 3, 8, 10])
    """
    height, width = height_and_width(size)
    longest = max(height, width)
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    scale = height * (longest * torch.hypot(down, across).clamp(min=1 / longest)) ** -_DECAY * width
    waves = torch.view_as_complex(spectrum.contiguous()) * scale.to(spectrum)
    values = torch.fft.irfft2(waves, s=(height, width)) / _CONTRAST
    if values.shape[1] == 3:
        colours = torch.tensor(_COLOURS).to(values)
        values = torch.einsum("ij,njhw->nihw", colours, values)
    return torch.sigmoid(values)


def jiggle(images: Tensor, ids: Tensor, draw: int, seed: int, *, shift: float, turn: float, zoom: float) -> Tensor:
    """Shift, rotate and zoom each picture at random: a pattern that excites a filter at only one place is not a shape.

    Args:
        images: Images (N, C, H, W), padded by reflection.
        ids: Ids of the pictures (N,).
        draw: Number of the step of the ascent.
        seed: Seed of the draws.
        shift: Maximum shift, as a fraction of the side.
        turn: Maximum rotation, degrees.
        zoom: Maximum change of size, as a fraction.
    """
    u = 2 * draws.uniform(seed, ids, draw, (4,)) - 1
    angle, size = math.radians(turn) * u[:, 2], 1 + zoom * u[:, 3]
    cos, sin = angle.cos() * size, angle.sin() * size
    rows = torch.stack([cos, -sin, 2 * shift * u[:, 0], sin, cos, 2 * shift * u[:, 1]], dim=1)
    grid = affine_grid(rows.view(-1, 2, 3).to(images), list(images.shape), align_corners=False)
    moved: Tensor = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)  # makes convolutions on a CPU faster


def brighten(images: Tensor, saturation: float = 1.3) -> Tensor:
    """Enhance pictures for viewing: stretch each from black to white, and move its colours away from grey.

    Args:
        images: Images (N, C, H, W).
        saturation: Factor of the distance from grey; 1 keeps the colours.
    """
    flat = images.flatten(1)
    low, high = (flat.quantile(share, dim=1).view(-1, 1, 1, 1) for share in (0.005, 0.995))
    stretched = (images - low) / (high - low).clamp(min=1e-6)
    grey = stretched.mean(1, keepdim=True)
    return (grey + saturation * (stretched - grey)).clamp(0, 1)

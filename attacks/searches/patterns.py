"""Random images: noise, colours, stripes, rings, clouds, and blends of them with the image itself.

A network's predictions on these are far more varied than on noise alone. The arithmetic gives the same result on every
device and at every batch size: waves are triangular, and functions whose rounding could differ are avoided.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.searches.draws import uniform


def pattern(seed: int, ids: Tensor, draw: int, x: Tensor) -> Tensor:
    """A random image for each image, of a kind determined by the number of the draw.

    The kinds take turns: noise, noise of 2, 4 or 8 grains along each side, one colour, stripes, a checkerboard, a ring,
    clouds, and images derived from the clean one: its negative, mirror images, and later mixtures with one of the other
    kinds. In every other round the colours are black and white.

    Args:
        seed: The seed of the run.
        ids: Ids of the images (n,).
        draw: The number of the draw, from 0.
        x: Clean images (n, ...) in [0, 1].

    Returns:
        Images shaped like ``x``, in [0, 1].

    Example:
        >>> x = torch.full((1, 1, 1, 4), 0.25)
        >>> pattern(0, torch.tensor([5]), draw=7, x=x)  # the negative
        tensor([[[[0.7500, 0.7500, 0.7500, 0.7500]]]])
        >>> len(pattern(0, torch.tensor([5]), draw=2, x=x).unique())  # one colour
        1
    """
    turn, kind = divmod(draw, len(_PLANES) + 3)
    shape, drawn = tuple(x.shape[1:]), _Draw(seed, ids, draw)
    if kind < len(_PLANES) + 2:
        return _drawn(drawn, shape, kind, turn).to(x)
    if turn < len(_OWN):
        return _OWN[turn](x)
    share, other = _SHARES[turn % len(_SHARES)], _drawn(drawn, shape, turn % (len(_PLANES) + 2), turn).to(x)
    return (x + share * (other - x)).clamp(0, 1)


class _Draw(NamedTuple):
    """Identifies the random numbers to use."""

    seed: int
    ids: Tensor
    draw: int

    def numbers(self, count: int) -> list[Tensor]:
        """``count`` uniform numbers for each image, as that many tensors (n,)."""
        return list(uniform(self.seed, self.ids, self.draw, (count,)).unbind(1))


def _drawn(draw: _Draw, shape: tuple[int, ...], kind: int, turn: int) -> Tensor:
    """Images (n, *shape) of one of the kinds that do not depend on the clean image."""
    match kind:
        case 0:
            return uniform(*draw, shape)
        case 1:
            return _grains(draw, shape, 2 ** (1 + turn % 3))
    return _coloured(draw, shape, kind - 2, stark=turn % 2 == 1)


def _grains(draw: _Draw, shape: tuple[int, ...], most: int) -> Tensor:
    """Noise (n, *shape) of at most ``most`` grains along each side."""
    lead, sides = _split(shape)
    grains = [min(side, most) for side in sides]
    x = uniform(*draw, (*lead, *grains))
    for axis, (side, count) in enumerate(zip(sides, grains, strict=True), start=1 + len(lead)):
        x = x.index_select(axis, torch.arange(side, device=x.device) * count // side)
    return x


def _coloured(draw: _Draw, shape: tuple[int, ...], kind: int, *, stark: bool) -> Tensor:
    """A plane (n, *sides) painted in two colours: (n, *shape)."""
    lead, sides = _split(shape)
    numbers = draw.numbers(_NUMBERS + 2 * math.prod(lead))
    plane = _PLANES[kind](numbers[:_NUMBERS], _grid(sides, draw.ids.device))
    first, second = torch.stack(numbers[_NUMBERS:], 1).view(-1, 2, *lead, *[1] * len(sides)).unbind(1)
    if stark:
        first = first[:, :1].round() if lead else first.round()
        second = 1 - first
        plane = plane.round()
    plane = plane.view(len(plane), *[1] * len(lead), *sides)
    return (first + plane * (second - first)).clamp(0, 1).expand(len(plane), *shape)


def _split(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of channels, and the one or two that are rows and columns."""
    return (shape[:-2], shape[-2:]) if len(shape) > 1 else ((), shape)


def _grid(sides: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Two coordinates from -1 to 1 of every position, (1, *sides) each; the same one twice for a vector."""
    axes = [(2 * torch.arange(side, device=device) + 1) / side - 1 for side in sides]
    if len(axes) == 1:
        return axes[0].unsqueeze(0), axes[0].unsqueeze(0)
    return axes[0].view(1, -1, 1).expand(1, *sides), axes[1].view(1, 1, -1).expand(1, *sides)


def _wave(phase: Tensor) -> Tensor:
    """A triangle of period 1, from 0 to 1."""
    return (2 * (phase - phase.floor()) - 1).abs()


def _column(number: Tensor, grid: tuple[Tensor, Tensor]) -> Tensor:
    return number.view(-1, *[1] * (grid[0].ndim - 1))


def _slanted(numbers: list[Tensor], grid: tuple[Tensor, Tensor], most: float) -> Tensor:
    """A wave in a random direction, with at most ``most`` periods along a side."""
    a, b, shift = (_column(number, grid) for number in numbers)
    return _wave(most * ((a - 0.5) * grid[0] + (b - 0.5) * grid[1]) + shift)


def _plain(numbers: list[Tensor], grid: tuple[Tensor, Tensor]) -> Tensor:
    return torch.zeros_like(_column(numbers[0], grid) * grid[0])


def _stripes(numbers: list[Tensor], grid: tuple[Tensor, Tensor]) -> Tensor:
    return (_slanted(numbers[:3], grid, 6.0) > _column(numbers[3], grid)).float()


def _checkerboard(numbers: list[Tensor], grid: tuple[Tensor, Tensor]) -> Tensor:
    periods, first, second = (_column(number, grid) for number in numbers[:3])
    rows, columns = (
        _wave((0.5 + 4 * periods) * axis + shift) > 0.5 for axis, shift in zip(grid, (first, second), strict=True)
    )
    return (rows != columns).float()


def _ring(numbers: list[Tensor], grid: tuple[Tensor, Tensor]) -> Tensor:
    """A ring around a point near the middle; thick ones are discs."""
    top, left, radius, width = (_column(number, grid) for number in numbers[:4])
    rows, columns = grid[0] - (top - 0.5) / 2, grid[1] - (left - 0.5) / 2
    distance = (rows * rows + columns * columns).sqrt()
    return ((distance - 0.2 - 0.7 * radius).abs() < 0.05 + 0.3 * width).float()


def _clouds(numbers: list[Tensor], grid: tuple[Tensor, Tensor]) -> Tensor:
    """Long waves, superimposed."""
    waves = [_slanted(numbers[first : first + 3], grid, 2.5) for first in range(0, _NUMBERS, 3)]
    return sum(waves[1:], waves[0]) / len(waves)


_OWN: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: 1 - x,
    lambda x: x.flip(-1),
    lambda x: x.flip(-2 if x.ndim > 2 else -1).roll(x.shape[-1] // 2, -1),
    lambda x: 1 - x.flip(-1),
)
"""Images derived from the clean image alone: its negative, and mirror images."""
_SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)
"""Weights of the other image in a mixture."""
_NUMBERS = 12
"""Number of random numbers used for a plane."""
_PLANES = (_plain, _stripes, _checkerboard, _ring, _clouds)
"""Functions that make planes (n, *sides) with values in [0, 1] from random numbers and pixel coordinates."""

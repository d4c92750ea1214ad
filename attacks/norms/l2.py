"""L2: the Euclidean length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.ball import added
from attacks.geometry.plane import all_at_once
from attacks.geometry.rows import column, flat
from attacks.norms.protocol import Norm
from attacks.searches.draws import normal as gaussian

_TINY = 1e-30
_MANY = 1000
_AT_ONCE = 2048
"""Largest number of squares that are added up one by one."""


@dataclass(frozen=True)
class L2(Norm):
    """The Euclidean length, in image units.

    Example:
        >>> L2().project(torch.tensor([[3.0, 4.0], [0.1, 0.1]]), 1.0)
        tensor([[0.6000, 0.8000],
                [0.1000, 0.1000]])
    """

    name: ClassVar[str] = "l2"

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,)."""
        rows, parts = flat(delta), delta[0:1].numel() // _AT_ONCE
        if parts > 1:  # torch adds squares one by one: for a photograph of equal values the last digits would be lost
            whole = rows[:, : parts * _AT_ONCE].view(len(rows), parts, _AT_ONCE)
            rest = rows[:, parts * _AT_ONCE :]
            rows = torch.cat(
                [torch.linalg.vector_norm(whole, dim=2), torch.linalg.vector_norm(rest, dim=1, keepdim=True)], 1
            )
        length: Tensor = torch.linalg.vector_norm(rows, dim=1)
        return length

    def dual(self, gradient: Tensor) -> Tensor:
        """The L2 norm of each row."""
        _, length, factor = self._fair(gradient)
        return length * factor

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """Shorten perturbations that are longer than ``eps``."""
        length = column(self.measure(delta), delta)
        bound = column(eps, delta)
        return delta * torch.where(length > bound, bound / length, 1.0)

    def within(self, x: Tensor, x_adv: Tensor, eps: float | Tensor) -> Tensor:
        """Bring candidates back into the ball of radius ``eps`` around ``x`` and into [0, 1]."""
        if x[0:1].numel() <= _MANY:  # rounding errors stay below the tolerance of projections
            return super().within(x, x_adv, eps)
        return added(x, self.project(x_adv - x, eps), eps, self.measure)

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """The gradient scaled to length ``eps``; zero where the gradient is zero."""
        gradient, length, _ = self._fair(gradient)
        return gradient * column(eps / length.clamp_min(_TINY), gradient)

    def _fair(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """Gradients (N, ...) whose squares neither underflow nor overflow, their lengths (N,), and their factors."""
        length = self.measure(gradient)
        if torch.equal(length, fair := length.clamp(1e-12, 1e12)):
            return gradient, length, 1.0
        largest = torch.where(length == fair, 1, flat(gradient).abs().amax(1).clamp_min(_TINY))
        gradient = gradient / column(largest, gradient)
        return gradient, torch.where(length == fair, length, self.measure(gradient)), largest

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """Uniform in the ball."""
        count = math.prod(shape)
        point = gaussian(seed, ids, draw, (count + 1,))
        # The last number of the block becomes the radius. Not by a power, which torch rounds differently by position in
        # the batch.
        radius = (torch.special.ndtr(point[:, -1]).log() / count).exp()
        return self.steepest(point[:, :-1], radius * column(eps, point)[:, 0]).view(len(ids), *shape)

    def to_plane(self, x: Tensor, normal: Tensor, rise: Tensor) -> Tensor:
        """Every value moves in proportion to its gradient, until it reaches 0 or 1."""
        return all_at_once(x, normal, rise, lambda steepness: steepness)

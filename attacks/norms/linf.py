"""Linf: the largest change of any value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.ball import Ball, Interval
from attacks.geometry.plane import all_at_once
from attacks.geometry.rows import column, flat
from attacks.norms.protocol import Norm
from attacks.searches.draws import uniform


@dataclass(frozen=True)
class Linf(Norm):
    """The largest change of any value, in image units.

    Example:
        >>> Linf().project(torch.tensor([[0.5, -0.1]]), 0.2)
        tensor([[ 0.2000, -0.1000]])
        >>> Linf().within(torch.tensor([[0.05, 0.5]]), torch.tensor([[-0.3, 0.9]]), 0.1)
        tensor([[0.0000, 0.6000]])
    """

    name: ClassVar[str] = "linf"
    per_value: ClassVar[bool] = True

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,)."""
        return flat(delta).abs().amax(1)

    def dual(self, gradient: Tensor) -> Tensor:
        """The L1 norm of each row."""
        return flat(gradient).abs().sum(1)

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """Clamp every value to [-eps, eps]."""
        bound = column(eps, delta)
        return torch.maximum(delta, -bound).minimum(bound)  # three times as fast as clamp with tensors

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """``eps`` times the sign of the gradient."""
        return gradient.sign().mul_(column(eps, gradient))

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """Uniform in the cube."""
        point = uniform(seed, ids, draw, shape).mul_(2).sub_(1)
        return point.mul_(column(eps, point))

    def to_plane(self, x: Tensor, normal: Tensor, rise: Tensor) -> Tensor:
        """All values with a gradient move by the same amount, until each reaches 0 or 1."""
        return all_at_once(x, normal, rise, lambda steepness: (steepness > 0).to(steepness))

    def step(self, x: Tensor, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """Every value moves against the sign of its gradient: as each has its own budget, none of it can be wasted."""
        return self.steepest(gradient, eps).neg_()

    def ball(self, x: Tensor, eps: Tensor) -> Ball:
        """The ball as an interval for each value."""
        return Interval(x, eps)

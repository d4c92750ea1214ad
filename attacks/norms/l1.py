"""L1: the sum of all changes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.ball import added
from attacks.geometry.box import free, room
from attacks.geometry.largest import largest
from attacks.geometry.plane import one_after_another
from attacks.geometry.rows import column, flat
from attacks.geometry.simplex import shrink
from attacks.norms.protocol import Norm
from attacks.searches.draws import uniform


@dataclass(frozen=True)
class L1(Norm):
    """The sum of all changes, in image units; the ball is restricted to the box |delta| <= 1 that images impose.

    Example:
        >>> L1().project(torch.tensor([[3.0, -1.0, 0.5]]), 3.0)
        tensor([[ 2.5000, -0.5000,  0.0000]])
        >>> L1().step(torch.tensor([[0.0, 0.5]]), torch.tensor([[9.0, 1.0]]), 0.25)
        tensor([[ 0.0000, -0.2500]])
        >>> L1().within(torch.tensor([[0.75, 0.5]]), torch.tensor([[1.5, 0.75]]), 0.5)
        tensor([[1.0000, 0.7500]])
    """

    name: ClassVar[str] = "l1"
    sparse: ClassVar[bool] = True

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,)."""
        return flat(delta).abs().sum(1)

    def dual(self, gradient: Tensor) -> Tensor:
        """The largest absolute value of each row."""
        return flat(gradient).abs().amax(1)

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """Shrink all values by the same amount (Duchi et al., 2008); rows inside stay unchanged."""
        size = flat(delta).abs()
        return shrink(size, column(eps, size)).view_as(delta).mul_(delta.sign())

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """1 at the ``eps`` largest values of the gradient, and the remainder of ``eps`` at the next one."""
        place = _rank(flat(gradient).abs()).to(gradient.dtype)
        amount = (column(eps, place) - place).clamp(0, 1)
        return amount.view_as(gradient) * gradient.sign()

    def spread(self, gradient: Tensor, eps: float | Tensor, share: float | Tensor) -> Tensor:
        """``eps`` spread equally over a share (n,) of the values, those with the largest gradients.

        More values are used if needed to keep each at 1 or less, unless fewer have a gradient.
        """
        size = flat(gradient).abs()
        total = column(eps, size)
        count = torch.maximum(column(share, size) * size.shape[1], total.ceil()).long().clamp(1, size.shape[1])
        chosen = largest(size, count) & (size > 0)
        part = total / chosen.sum(1, keepdim=True).clamp_min(1)
        return torch.where(chosen, part, 0).view_as(gradient) * gradient.sign()

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """Uniform in the ball: exponential spacings with random signs."""
        # Uses the middle of each step of the generator: the logarithm is infinite at the end.
        point = 2 * uniform(seed, ids, draw, (math.prod(shape) + 1,)) - (1 - 2.0**-24)
        spacing = -torch.log1p(-point.abs())
        point = spacing / spacing.sum(1, keepdim=True) * point.sign()
        return (point[:, :-1] * column(eps, point)).view(len(ids), *shape)

    def to_plane(self, x: Tensor, normal: Tensor, rise: Tensor) -> Tensor:
        """The values with the largest effect per unit move to 0 or 1, one after another."""
        return one_after_another(x, normal, rise, lambda steepness, span: steepness)

    def step(self, x: Tensor, gradient: Tensor, eps: float | Tensor, share: float | Tensor = 0.01) -> Tensor:
        """The step of size ``eps``, over a share (a number or (n,)) of the values: those with the largest gradients.

        The steepest step would move a single value, which soon saturates. Values at the end of their range are skipped.
        """
        return self.spread(-gradient * free(x, gradient), eps, share)

    def within(self, x: Tensor, x_adv: Tensor, eps: float | Tensor) -> Tensor:
        """The nearest point in both ball and box: budget that a value at 0 or 1 cannot use is left to the others."""
        delta = flat(x_adv - x)
        delta = shrink(delta.abs(), column(eps, delta), room(x, delta)).mul_(delta.sign()).view_as(x)
        return added(x, delta, eps, self.measure)


def _rank(size: Tensor) -> Tensor:
    """Rank of each value when its row is sorted in descending order: (N, D) -> int64 (N, D)."""
    order = size.argsort(dim=1, descending=True, stable=True)
    place = torch.arange(size.shape[1], device=size.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place)

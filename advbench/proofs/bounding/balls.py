"""The set that a proof is about, and the minimum of a linear function on it, in each norm.

The ball is slightly larger than eps, because the judge allows a tolerance and measures in float32. An image must never
be both proved and fooled.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from advbench.records.record import largest_size
from attacks.norms import Norm

_MEASURING = 1e-6
"""Relative error of a size measured in float32, and absolute error of a difference of two values in [0, 1]."""
_ROUNDS = 3


@dataclass(frozen=True)
class BallInBox:
    """Images within eps of one image, and within [0, 1].

    Attributes:
        x: The image (1, *shape).
        norm: Name of the norm.
        radius: Maximum size of a perturbation, image units.
        lower: Smallest value of each pixel in the ball (1, *shape).
        upper: Largest value of each pixel in the ball (1, *shape).

    Example:
        >>> from attacks import Linf
        >>> ball = BallInBox.around(torch.tensor([[0.0, 0.5]], dtype=torch.float64), Linf(), 0.1)
        >>> ball.minimum(torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64))
        tensor([ 0.4000, -0.7000], dtype=torch.float64)
    """

    x: Tensor
    norm: str
    radius: float
    lower: Tensor
    upper: Tensor

    @classmethod
    def around(cls, x: Tensor, norm: Norm, eps: float) -> "BallInBox":
        """The ball around an image (1, ...), enlarged by the judge's tolerance."""
        if norm.name not in MINIMA:
            raise ValueError(f"expected a norm of {', '.join(MINIMA)}, got {norm.name}")
        radius = largest_size(eps) * (1 + _MEASURING) + _MEASURING / 10
        reach = 1.0 if norm.name == "l0" else radius
        return cls(x, norm.name, radius, (x - reach).clamp(0, 1), (x + reach).clamp(0, 1))

    @property
    def is_box(self) -> bool:
        """Whether the bounds of each pixel describe the ball exactly."""
        return self.norm == "linf"

    def to(self, dtype: torch.dtype) -> "BallInBox":
        """The same ball in another dtype."""
        return BallInBox(self.x.to(dtype), self.norm, self.radius, self.lower.to(dtype), self.upper.to(dtype))

    def minimum(self, coefficients: Tensor) -> Tensor:
        """Lower bound of linear functions on the ball: coefficients (K, *shape) -> (K,). Exact except in L2."""
        rows, x = coefficients.flatten(1), self.x.flatten(1)
        at_x = rows @ x.squeeze(0)
        low, high = self.lower.flatten(1) - x, self.upper.flatten(1) - x
        return at_x + MINIMA[self.norm](rows, low, high, self.radius)

    def minimiser(self, coefficients: Tensor) -> Tensor:
        """Approximate minimisers of linear functions on the box around the ball: (K, *shape) -> images (K, *shape)."""
        return torch.where(coefficients > 0, self.lower, self.upper)


def _in_box(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The least that each value can contribute, all moving freely (K, n)."""
    return torch.minimum(rows * low, rows * high)


def linf(rows: Tensor, low: Tensor, high: Tensor, radius: float) -> Tensor:
    """Move every value to its own end.

    Example:
        >>> linf(torch.tensor([[1.0, -2.0]]), torch.tensor([[-0.1, -0.1]]), torch.tensor([[0.1, 0.1]]), 0.1)
        tensor([-0.3000])
    """
    return rows @ ((low + high) / 2).squeeze(0) - rows.abs() @ ((high - low) / 2).squeeze(0)


def l2(rows: Tensor, low: Tensor, high: Tensor, radius: float) -> Tensor:
    """Ball and box together, by a Lagrange multiplier for the ball: each value of it gives a bound, the best is kept.

    Example:
        >>> l2(torch.tensor([[3.0, -4.0]]), torch.tensor([[-1.0, -1.0]]), torch.tensor([[1.0, 1.0]]), 0.1)
        tensor([-0.5000])
    """
    best = torch.maximum(-radius * rows.norm(dim=1), linf(rows, low, high, radius))
    if radius <= 0:
        return best
    with torch.no_grad():
        multiplier = rows.norm(dim=1, keepdim=True) / radius + torch.finfo(rows.dtype).tiny
        for _ in range(_ROUNDS):
            size = torch.maximum(torch.minimum(-rows / multiplier, high), low).norm(dim=1, keepdim=True)
            multiplier = (multiplier * size / radius).clamp_min(torch.finfo(rows.dtype).tiny * 1e8)
    delta = torch.maximum(torch.minimum(-rows / multiplier, high), low)
    dual = (rows * delta + multiplier / 2 * delta.square()).sum(1) - multiplier.squeeze(1) / 2 * radius**2
    return torch.maximum(best, dual)


def l1(rows: Tensor, low: Tensor, high: Tensor, radius: float) -> Tensor:
    """Move the steepest values to their ends, one after another, until the budget is spent.

    Example:
        >>> l1(torch.tensor([[3.0, -4.0]]), torch.tensor([[-1.0, -1.0]]), torch.tensor([[1.0, 0.2]]), 0.5)
        tensor([-1.7000])
    """
    room = torch.where(rows > 0, -low, high).expand_as(rows)
    steepness, order = rows.abs().sort(dim=1, descending=True)
    room = room.gather(1, order).clamp(max=radius)
    before = room.cumsum(1) - room
    used = torch.minimum(room, (radius - before).clamp_min(0))
    return -(steepness * used).sum(1)


def l0(rows: Tensor, low: Tensor, high: Tensor, radius: float) -> Tensor:
    """Move the values that contribute most to their ends, as many as the budget allows.

    Example:
        >>> l0(torch.tensor([[3.0, -4.0]]), torch.tensor([[-1.0, -1.0]]), torch.tensor([[1.0, 0.2]]), 1.0)
        tensor([-3.])
    """
    return _in_box(rows, low, high).topk(min(int(radius), rows.shape[1]), dim=1, largest=False).values.sum(1)


MINIMA: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {"linf": linf, "l2": l2, "l1": l1, "l0": l0}
"""Name of a norm -> minimum of linear functions (K, n) of a perturbation between ``low`` and ``high`` (1, n)."""

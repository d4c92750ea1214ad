"""Linear relaxations: for inputs in [l, u], an activation lies above one line and below another.

For piecewise linear activations, the lines are those of CROWN (Zhang, Weng, Chen, Hsieh and Daniel, 2018): the upper
line joins the ends, the lower one goes through the kink, with a slope chosen by alpha-CROWN (Xu et al., 2021). Sigmoid
and tanh lie between chord and tangent where they are convex or concave on all of [l, u], else between two parallel
lines through the ends, whose slope is the smaller of the slopes there (Singh et al., 2018).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

_THIN = 1e-9
"""Width below which an interval's own slope is not computed."""


class Lines(NamedTuple):
    """Two lines for each value, of the same shape: slope * x + offset below and above the activation.

    Attributes:
        lower_slope: Slope of the line below.
        lower_offset: Value of the line below at zero.
        upper_slope: Slope of the line above.
        upper_offset: Value of the line above at zero.
    """

    lower_slope: Tensor
    lower_offset: Tensor
    upper_slope: Tensor
    upper_offset: Tensor

    def to(self, dtype: torch.dtype) -> "Lines":
        """The same lines in another dtype."""
        return Lines(*(each.to(dtype) for each in self))


@dataclass(frozen=True)
class Activation:
    """An elementwise, non-decreasing function.

    Attributes:
        name: Name of the function, a key of :data:`RELAXATIONS`.
        leak: Slope below zero, from 0 to 1, for the piecewise linear ones.

    Example:
        >>> Activation("relu").apply(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
        >>> Activation("relu").lines(torch.tensor([-1.0]), torch.tensor([3.0])).upper_offset
        tensor([0.7500])
    """

    name: str
    leak: float = 0.0

    @property
    def bends_at_zero(self) -> bool:
        """Whether the function is linear on both sides of zero, so that it can be split there."""
        return self.name == "relu"

    def apply(self, *inputs: Tensor) -> Tensor:
        """The function's values."""
        return _FUNCTIONS[self.name](inputs[0], self.leak)

    def lines(self, lower: Tensor, upper: Tensor) -> Lines:
        """Lines that are valid for inputs between ``lower`` and ``upper``."""
        return RELAXATIONS[self.name](lower, upper, self.leak)

    def to(self, where: torch.dtype | torch.device) -> "Activation":
        """The function itself, since it has no values of a dtype."""
        return self


def relu_lines(lower: Tensor, upper: Tensor, leak: float) -> Lines:
    """Lines of a ReLU, leaky if ``leak`` is above 0; the lower slope is that of the larger side.

    Example:
        >>> [each.item() for each in relu_lines(torch.tensor([-1.0]), torch.tensor([1.0]), 0.0)]
        [0.0, 0.0, 0.5, 0.5]
    """
    negative, positive = lower.clamp(max=0), upper.clamp(min=0)
    bent = (lower < 0) & (upper > 0)
    chord = (positive - leak * negative) / torch.where(bent, positive - negative, 1.0)
    straight = torch.where(lower >= 0, 1.0, leak).to(lower.dtype)  # exact where zero is not inside
    slope = torch.where(bent, chord, straight)
    offset = torch.where(bent, (leak - slope) * negative, 0.0)
    below = torch.where(bent, torch.where(upper > -lower, 1.0, leak).to(lower.dtype), straight)
    return Lines(below, torch.zeros_like(lower), slope, offset)


def sigmoid_lines(lower: Tensor, upper: Tensor, leak: float) -> Lines:
    """Lines of a sigmoid; ``leak`` is ignored.

    Example:
        >>> lines = sigmoid_lines(torch.tensor([-2.0]), torch.tensor([2.0]), 0.0)
        >>> bool(lines.lower_slope * 1 + lines.lower_offset <= torch.tensor(1.0).sigmoid())
        True
    """
    return _s_shaped(lower, upper, torch.sigmoid, lambda x: x.sigmoid() * (1 - x.sigmoid()))


def tanh_lines(lower: Tensor, upper: Tensor, leak: float) -> Lines:
    """Lines of a hyperbolic tangent; ``leak`` is ignored.

    Example:
        >>> lines = tanh_lines(torch.tensor([-2.0]), torch.tensor([2.0]), 0.0)
        >>> bool(lines.upper_slope * 1 + lines.upper_offset >= torch.tensor(1.0).tanh())
        True
    """
    return _s_shaped(lower, upper, torch.tanh, lambda x: 1 - x.tanh() ** 2)


def _s_shaped(
    lower: Tensor, upper: Tensor, value: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]
) -> Lines:
    """Lines of a function that is convex below zero and concave above it."""
    at_lower, at_upper, middle = value(lower), value(upper), (lower + upper) / 2
    least = torch.minimum(slope(lower), slope(upper))
    width = upper - lower
    chord = torch.where(width > _THIN, (at_upper - at_lower) / width.clamp_min(_THIN), least)
    chord = torch.where(width > _THIN, chord, least)
    thin = width <= _THIN
    convex, concave = (upper <= 0) & ~thin, (lower >= 0) & ~thin
    lower_slope = torch.where(convex, slope(middle), torch.where(concave, chord, least))
    upper_slope = torch.where(concave, slope(middle), torch.where(convex, chord, least))
    at_middle = value(middle) - slope(middle) * middle
    lower_offset = torch.where(convex, at_middle, at_lower - lower_slope * lower)
    upper_offset = torch.where(concave, at_middle, at_upper - upper_slope * upper)
    return Lines(lower_slope, lower_offset, upper_slope, upper_offset)


RELAXATIONS: dict[str, Callable[[Tensor, Tensor, float], Lines]] = {
    "relu": relu_lines,
    "sigmoid": sigmoid_lines,
    "tanh": tanh_lines,
}
"""Name of an activation -> its lines for inputs between two bounds."""

_FUNCTIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "relu": lambda x, leak: x.clamp(min=0) + leak * x.clamp(max=0) if leak else x.relu(),
    "sigmoid": lambda x, leak: x.sigmoid(),
    "tanh": lambda x, leak: x.tanh(),
}

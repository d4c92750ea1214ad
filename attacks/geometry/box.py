"""The box [0, 1] of images, and the room it leaves for each value."""

import torch
from torch import Tensor

from attacks.geometry.rows import flat


def free(x: Tensor, gradient: Tensor) -> Tensor:
    """1 where a value of an image (N, ...) can move against the gradient, 0 where it is already at that end of [0, 1].

    Example:
        >>> free(torch.tensor([[0.0, 0.5]]), torch.tensor([[9.0, 1.0]]))
        tensor([[0., 1.]])
    """
    # Comparing both ends and both signs one by one would take four times as long.
    return (x - gradient.sign()).clamp_(0, 1).ne_(x)


def room(x: Tensor, direction: Tensor) -> Tensor:
    """How far each value of images (N, ...) can move in a direction (N, D) before it leaves [0, 1]: (N, D).

    Example:
        >>> room(torch.tensor([[0.25, 0.25]]), torch.tensor([[1.0, -1.0]]))
        tensor([[0.7500, 0.2500]])
    """
    return torch.where(direction > 0, 1 - flat(x), flat(x))

"""Balls around images, onto which descents project after every step."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from attacks.geometry.rows import column


def radii(eps: float | Tensor | None, x: Tensor) -> Tensor:
    """Convert ``eps`` to one radius per image, with the images' dtype and on their device.

    Args:
        eps: A number of any type, or (N,); None: no bound.
        x: Images (N, ...).

    Returns:
        The radii (N,); infinite where there is no bound.

    Example:
        >>> radii(0.25, torch.zeros(2, 3)), radii(None, torch.zeros(1, 3))
        (tensor([0.2500, 0.2500]), tensor([inf]))
    """
    return torch.as_tensor(torch.inf if eps is None else eps, dtype=x.dtype, device=x.device).detach().expand(len(x))


class Ball(Protocol):
    """The images within ``eps`` of given ones and in [0, 1], as returned by a norm's ``ball``.

    Example:
        >>> from attacks import Linf
        >>> ball: Ball = Linf().ball(torch.tensor([[0.05, 0.5]]), torch.tensor([0.25]))
        >>> ball.nearest(torch.tensor([[-0.3, 0.9]]))
        tensor([[0.0000, 0.7500]])
    """

    def nearest(self, x_adv: Tensor) -> Tensor:
        """Project candidates (n, ...) onto the ball."""
        ...


class Interval:
    """The ball of a norm in which every value has its own interval, whose ends are computed once.

    Args:
        x: Centres (n, ...), in [0, 1].
        eps: Half the length of each image's intervals (n,).

    Example:
        >>> Interval(torch.tensor([[0.05, 0.5]]), torch.tensor([0.25])).nearest(torch.tensor([[-0.3, 0.9]]))
        tensor([[0.0000, 0.7500]])
    """

    def __init__(self, x: Tensor, eps: Tensor) -> None:
        bound = column(eps, x)
        self._low, self._high = (x - bound).clamp_min_(0), (x + bound).clamp_max_(1)

    def nearest(self, x_adv: Tensor) -> Tensor:
        """Clamp every value of candidates (n, ...) to its interval."""
        inside = torch.maximum(x_adv, self._low)  # three times as fast as clamp with tensors
        return torch.minimum(inside, self._high, out=inside)


class Around:
    """The ball of any other norm.

    Args:
        within: Projection: centres (n, ...), candidates (n, ...) and radii (n,) -> candidates (n, ...).
        x: Centres (n, ...), in [0, 1].
        eps: The radii (n,).

    Example:
        >>> from attacks import L1
        >>> Around(L1().within, torch.tensor([[0.75, 0.5]]), torch.tensor([0.5])).nearest(torch.tensor([[1.5, 0.75]]))
        tensor([[1.0000, 0.7500]])
    """

    def __init__(self, within: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, eps: Tensor) -> None:
        self._within, self._x, self._eps = within, x, eps

    def nearest(self, x_adv: Tensor) -> Tensor:
        """Project candidates (n, ...) onto the ball."""
        return self._within(self._x, x_adv, self._eps)


def at_most(eps: Tensor) -> Tensor:
    """The measured size (n,) up to which perturbations count as within ``eps`` (n,), as projections are rounded.

    Example:
        >>> bool(0.1 < at_most(torch.tensor(0.1)) < 0.10001)
        True
    """
    return eps * (1 + 1e-5) + 1e-6


def keeps_to(size: Tensor, eps: Tensor) -> Tensor:
    """Whether perturbations of a measured size (n,) are within ``eps`` (n,), up to the rounding of projections.

    Example:
        >>> keeps_to(torch.tensor([0.1 + 5e-7, 0.11]), torch.tensor([0.1, 0.1]))
        tensor([ True, False])
    """
    return size <= at_most(eps)


def added(x: Tensor, delta: Tensor, eps: float | Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
    """``x + delta`` in [0, 1], within ``eps`` even after rounding.

    Equal changes of many values are rounded in the same direction, and half a float each adds up, on a photograph to
    more than :func:`at_most` tolerates. In that case, each value rounded outwards is moved one float inwards.

    Args:
        x: Images (n, ...) in [0, 1].
        delta: Changes (n, ...) within ``eps``.
        eps: A number, or one per image (n,).
        measure: Function that gives the size (n,) of changes.

    Example:
        >>> added(torch.tensor([[0.5, 0.75]]), torch.tensor([[0.25, 0.5]]), 0.75, lambda delta: delta.abs().sum(1))
        tensor([[0.7500, 1.0000]])
    """
    x_adv = (x + delta).clamp_(0, 1)
    moved = x_adv - x
    over = ~keeps_to(measure(moved), radii(eps, x))
    if bool(over.any()):
        outwards = (moved.abs() > delta.abs()) & column(over, x)
        x_adv = torch.where(outwards, torch.nextafter(x_adv, x), x_adv)
    return x_adv

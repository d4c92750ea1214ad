"""The four norms and their geometry: the only place that measures, projects or picks a step direction.

A perturbation ``delta`` is a tensor (N, ...), one row for each image; an ``eps`` is a number or a tensor (N,).
L0 counts changed values (a pixel with three channels has three). The L1 and L0 balls are meant within the box
|delta| <= 1 that images in [0, 1] impose.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from attacks.geometry.largest import largest
from attacks.geometry.simplex import shrink
from attacks.searches.draws import normal, uniform


@runtime_checkable
class Norm(Protocol):
    """What an attack may ask of a norm.

    Example:
        >>> isinstance(Linf(), Norm)
        True
    """

    name: ClassVar[str]
    """Lower-case name, as on the command line."""

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,)."""
        ...

    def dual(self, gradient: Tensor) -> Tensor:
        """Largest inner product of each row with a perturbation of size 1: (N, ...) -> (N,)."""
        ...

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """The nearest perturbation (in L2) of size at most ``eps``, shaped like ``delta``."""
        ...

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """The perturbation of size ``eps`` with the largest inner product with ``gradient``."""
        ...

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """A random perturbation of size at most ``eps`` for each image: (N, *shape)."""
        ...


def flat(delta: Tensor) -> Tensor:
    """Each image as one row: (N, ...) -> (N, D).

    Example:
        >>> flat(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 48])
    """
    return delta.flatten(1)


def column(value: float | Tensor, like: Tensor) -> Tensor:
    """A number (or a truth value) for each image, (N,), shaped to broadcast against images ``like`` (N, ...).

    Example:
        >>> column(torch.ones(2), torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 1, 1, 1])
    """
    dtype = torch.bool if getattr(value, "dtype", None) is torch.bool else like.dtype
    value = torch.as_tensor(value, dtype=dtype, device=like.device)
    return (value if value.ndim else value.expand(len(like))).view(-1, *[1] * (like.ndim - 1))


def descent(
    norm: Norm, x: Tensor, gradient: Tensor, eps: float | Tensor, share: float | Tensor | None = None
) -> Tensor:
    """The step of size ``eps`` from ``x`` that lowers a linear loss most.

    Values that would leave [0, 1] at once are passed over, so that nothing of the step is wasted on them. (For Linf,
    where each value has a budget of its own, there is nothing to waste.) In L1 the best step would move a single value,
    and soon to its end; it is spread over the ``share`` of the values (a number or (n,), default 1 %) that count most.

    Example:
        >>> descent(L1(), torch.tensor([[0.0, 0.5]]), torch.tensor([[9.0, 1.0]]), 0.25)
        tensor([[ 0.0000, -0.2500]])
    """
    if isinstance(norm, Linf):
        return norm.steepest(gradient, eps).neg_()
    # Comparing both ends and both signs one by one would take four times as long.
    free = (x - gradient.sign()).clamp_(0, 1).ne_(x)
    if isinstance(norm, L1):
        return norm.spread(-gradient * free, eps, 0.01 if share is None else share)
    return norm.steepest(-gradient * free, eps)


def within(norm: Norm, x: Tensor, x_adv: Tensor, eps: float | Tensor) -> Tensor:
    """Bring candidates back into the ball of radius ``eps`` around ``x`` and into [0, 1].

    Clamping to [0, 1] brings every value nearer to ``x``, so it never leaves the ball again. In L1 the nearest point of
    both at once is taken: what a value cannot use beyond its end is left to the others.

    Example:
        >>> within(Linf(), torch.tensor([[0.05, 0.5]]), torch.tensor([[-0.3, 0.9]]), 0.1)
        tensor([[0.0000, 0.6000]])
        >>> within(L1(), torch.tensor([[0.75, 0.5]]), torch.tensor([[1.5, 0.75]]), 0.5)
        tensor([[1.0000, 0.7500]])
    """
    if isinstance(norm, L1):
        delta = flat(x_adv - x)
        room = torch.where(delta > 0, 1 - flat(x), flat(x))
        delta = shrink(delta.abs(), column(eps, delta), room).mul_(delta.sign())
        return (x + delta.view_as(x)).clamp_(0, 1)
    return norm.project(x_adv - x, eps).add_(x).clamp_(0, 1)


@dataclass(frozen=True)
class Linf:
    """The largest change of a value, in image units.

    Example:
        >>> Linf().project(torch.tensor([[0.5, -0.1]]), 0.2)
        tensor([[ 0.2000, -0.1000]])
    """

    name: ClassVar[str] = "linf"

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


@dataclass(frozen=True)
class L2:
    """The Euclidean length, in image units.

    Example:
        >>> L2().project(torch.tensor([[3.0, 4.0], [0.1, 0.1]]), 1.0)
        tensor([[0.6000, 0.8000],
                [0.1000, 0.1000]])
    """

    name: ClassVar[str] = "l2"

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,)."""
        length: Tensor = torch.linalg.vector_norm(flat(delta), dim=1)
        return length

    def dual(self, gradient: Tensor) -> Tensor:
        """The L2 norm of each row."""
        return self.measure(gradient)

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """Shorten what is longer than ``eps``."""
        length = column(self.measure(delta), delta)
        bound = column(eps, delta)
        return delta * torch.where(length > bound, bound / length, 1.0)

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """The gradient, of length ``eps``; zero where the gradient is zero."""
        length = self.measure(gradient)
        if not torch.equal(length, fair := length.clamp(1e-12, 1e12)):  # squares underflow, overflow; or no direction
            largest = flat(gradient).abs().amax(1).clamp_min(_TINY)
            gradient = gradient / column(torch.where(length == fair, 1, largest), gradient)
            length = torch.where(length == fair, length, self.measure(gradient)).clamp_min(_TINY)
        return gradient * column(eps / length, gradient)

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """Uniform in the ball."""
        count = math.prod(shape)
        point = normal(seed, ids, draw, (count + 1,))
        # The last number of the block becomes the radius.
        radius = torch.special.ndtr(point[:, -1]) ** (1 / count)
        return self.steepest(point[:, :-1], radius * column(eps, point)[:, 0]).view(len(ids), *shape)


@dataclass(frozen=True)
class L1:
    """The sum of all changes, in image units.

    Example:
        >>> L1().project(torch.tensor([[3.0, -1.0, 0.5]]), 3.0)
        tensor([[ 2.5000, -0.5000,  0.0000]])
    """

    name: ClassVar[str] = "l1"

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,)."""
        return flat(delta).abs().sum(1)

    def dual(self, gradient: Tensor) -> Tensor:
        """The largest absolute value of each row."""
        return flat(gradient).abs().amax(1)

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """Shrink all values by the same amount (Duchi et al., 2008); rows inside stay as they are."""
        size = flat(delta).abs()
        return shrink(size, column(eps, size)).view_as(delta).mul_(delta.sign())

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """1 at the ``eps`` largest values of the gradient, and the rest of ``eps`` at the next one."""
        place = _rank(flat(gradient).abs()).to(gradient.dtype)
        amount = (column(eps, place) - place).clamp(0, 1)
        return amount.view_as(gradient) * gradient.sign()

    def spread(self, gradient: Tensor, eps: float | Tensor, share: float | Tensor) -> Tensor:
        """``eps`` in equal parts on a share (n,) of the values, those of the largest gradient; 1 a value at most."""
        size = flat(gradient).abs()
        total = column(eps, size)
        count = torch.maximum(column(share, size) * size.shape[1], total.ceil()).long().clamp(1, size.shape[1])
        chosen = largest(size, count).view_as(gradient) * gradient.sign()
        return chosen * column(eps, gradient) / column(L0().measure(chosen), gradient).clamp_min(1)

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """Uniform in the ball: exponential spacings with random signs."""
        # The middle of each step of the generator: the logarithm is infinite at the end.
        point = 2 * uniform(seed, ids, draw, (math.prod(shape) + 1,)) - (1 - 2.0**-24)
        spacing = -torch.log1p(-point.abs())
        point = spacing / spacing.sum(1, keepdim=True) * point.sign()
        return (point[:, :-1] * column(eps, point)).view(len(ids), *shape)


@dataclass(frozen=True)
class L0:
    """How many values are changed.

    Example:
        >>> L0().project(torch.tensor([[0.5, -0.7, 0.1]]), 2)
        tensor([[ 0.5000, -0.7000,  0.0000]])
    """

    name: ClassVar[str] = "l0"

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,), as a float."""
        return (flat(delta) != 0).sum(1).to(delta.dtype)

    def dual(self, gradient: Tensor) -> Tensor:
        """The largest absolute value of each row: what one changed value can do."""
        return flat(gradient).abs().amax(1)

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """Keep the ``eps`` largest values."""
        return delta * largest(flat(delta).abs(), column(eps, flat(delta))).view_as(delta)

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """1 at the ``eps`` largest values of the gradient, with their signs."""
        return self.project(gradient, eps).sign()

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """``eps`` random values, each uniform in [-1, 1]."""
        noise = uniform(seed, ids, draw, (2, *shape))
        # The first half of the block picks the places, the second the values.
        kept = self.project(noise[:, 0] + 1, eps) > 0
        return (2 * noise[:, 1] - 1) * kept


NORMS: dict[str, type[Norm]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
"""Name -> class."""

_TINY = 1e-30


def _rank(size: Tensor) -> Tensor:
    """Place of each value when its row is sorted from the largest down: (N, D) -> int64 (N, D)."""
    order = size.argsort(dim=1, descending=True, stable=True)
    place = torch.arange(size.shape[1], device=size.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place)

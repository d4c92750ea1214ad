"""Affine operations without weights: sums, concatenations, poolings, and rearrangements."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advbench.proofs.network.operations import Typed


@dataclass(frozen=True)
class Sum(Typed):
    """Inputs of the same shape, each added or subtracted.

    Attributes:
        signs: 1 or -1 for each input.
    """

    signs: tuple[int, ...]

    @property
    def offset(self) -> None:
        """No offset is added."""
        return

    def apply(self, *inputs: Tensor) -> Tensor:
        """The signed sum."""
        return torch.stack([sign * each for sign, each in zip(self.signs, inputs, strict=True)]).sum(0)

    def transpose(self, coefficients: Tensor) -> list[Tensor]:
        """The coefficients with each sign."""
        return [coefficients if sign > 0 else -coefficients for sign in self.signs]

    def spread(self, *radii: Tensor) -> Tensor:
        """The radii's sum."""
        return torch.stack(radii).sum(0)


@dataclass(frozen=True)
class Cat(Typed):
    """Concatenated inputs.

    Attributes:
        dim: Dimension along which they are joined, at least 1.
        sizes: Size of each input along it.
    """

    dim: int
    sizes: tuple[int, ...]

    @property
    def offset(self) -> None:
        """No offset is added."""
        return

    def apply(self, *inputs: Tensor) -> Tensor:
        """The joined inputs."""
        return torch.cat(inputs, self.dim)

    def transpose(self, coefficients: Tensor) -> list[Tensor]:
        """Each input's share of the coefficients."""
        starts = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        return [coefficients.narrow(self.dim, at, size) for at, size in zip(starts, self.sizes, strict=True)]

    def spread(self, *radii: Tensor) -> Tensor:
        """The joined radii."""
        return torch.cat(radii, self.dim)


@dataclass(frozen=True)
class Constant(Typed):
    """A value that does not depend on the image.

    Attributes:
        value: The value (1, *shape).
    """

    value: Tensor

    @property
    def offset(self) -> Tensor:
        """The value."""
        return self.value

    def apply(self, *inputs: Tensor) -> Tensor:
        """The value; there are no inputs."""
        return self.value

    def transpose(self, coefficients: Tensor) -> list[Tensor]:
        """No input has coefficients."""
        return []

    def spread(self, *radii: Tensor) -> Tensor:
        """Zero: a constant does not change."""
        return torch.zeros_like(self.value)


@dataclass(frozen=True)
class Mixing(Typed):
    """A linear function without negative weights: average pooling, padding, slicing, reordering.

    Attributes:
        function: Rows (K, *shape) -> (K, ...), each row separately.
        shape: Shape of a row of the input.
    """

    function: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]

    @property
    def offset(self) -> None:
        """No offset is added."""
        return

    def apply(self, *inputs: Tensor) -> Tensor:
        """The function's value."""
        return self.function(inputs[0])

    def transpose(self, coefficients: Tensor) -> list[Tensor]:
        """The transpose of a linear function is its gradient."""
        with torch.enable_grad():
            at = coefficients.new_zeros(len(coefficients), *self.shape, requires_grad=True)
            value = self.function(at)
        keep = torch.is_grad_enabled() and coefficients.requires_grad
        return list(torch.autograd.grad(value, at, coefficients, create_graph=keep))

    def spread(self, *radii: Tensor) -> Tensor:
        """The function applied to the radii, since no weight is negative."""
        return self.function(radii[0])


@dataclass(frozen=True)
class Reshape(Typed):
    """The same values in another shape.

    Attributes:
        before: Shape of a row of the input.
        after: Shape of a row of the output.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def offset(self) -> None:
        """No offset is added."""
        return

    def apply(self, *inputs: Tensor) -> Tensor:
        """The values in the new shape."""
        return inputs[0].reshape(len(inputs[0]), *self.after)

    def transpose(self, coefficients: Tensor) -> list[Tensor]:
        """The coefficients in the old shape."""
        return [coefficients.reshape(len(coefficients), *self.before)]

    def spread(self, *radii: Tensor) -> Tensor:
        """The radii in the new shape."""
        return self.apply(*radii)


def is_mixing(function: Callable[[Tensor], Any], shape: Sequence[int], like: Tensor) -> bool:
    """Whether a function treats rows separately, is linear, and has no negative weight, tested on random rows.

    Args:
        function: Rows (K, *shape) -> (K, ...).
        shape: Shape of a row.
        like: A tensor with the dtype and device to test on.

    Example:
        >>> is_mixing(lambda x: x.flip(1), (4,), torch.zeros(1)), is_mixing(lambda x: x.flip(0), (4,), torch.zeros(1))
        (True, False)
    """
    rows = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(like.device)
    value = function(rows)
    if not isinstance(value, Tensor) or not value.ndim or len(value) != 3:
        return False
    alone = torch.cat([function(row[None]) for row in rows])
    weighted = function(2 * rows[:1] - 3 * rows[1:2])
    expected = 2 * value[:1] - 3 * value[1:2]
    zero = function(torch.zeros_like(rows))
    return bool(
        torch.allclose(value, alone)
        and torch.allclose(weighted, expected)
        and bool((zero == 0).all())
        and bool((value >= 0).all())
    )

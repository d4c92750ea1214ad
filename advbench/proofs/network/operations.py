"""The affine operations of a network: each can be applied, transposed, and bounded over a box.

Tensors are rows: (K, *shape), without a batch of images, since one image is proved at a time. :meth:`Affine.transpose`
turns coefficients of K linear functions of an operation's output into those of its inputs; the contribution of its
constant part is the inner product with :attr:`Affine.offset`.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional

MOST_ENTRIES = 2**25
"""Maximum number of entries of the matrix that a convolution is converted to: 256 MiB."""
FEW_CHANNELS = 4
"""Maximum number of input channels for which torch's plain transposed convolution is up to three times as fast."""


class Affine(Protocol):
    """An affine function of one or more inputs.

    Example:
        >>> double = Scale(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
        >>> double.apply(torch.tensor([[3.0]])), double.transpose(torch.tensor([[5.0]])), double.offset
        (tensor([[7.]]), [tensor([[10.]])], tensor([[1.]]))
    """

    @property
    def offset(self) -> Tensor | None:
        """The output for inputs of zero, (1, *shape) or broadcastable to it; None if it is zero."""
        ...

    def apply(self, *inputs: Tensor) -> Tensor:
        """The output (K, *shape) for inputs (K, ...)."""
        ...

    def transpose(self, coefficients: Tensor) -> list[Tensor]:
        """Turn coefficients of the outputs (K, *shape) into those of each input (K, ...)."""
        ...

    def spread(self, *radii: Tensor) -> Tensor:
        """Maximum change of each output when each input value changes by at most its radius."""
        ...

    def to(self, where: torch.dtype | torch.device) -> Self:
        """The same operation in another dtype, or on another device."""
        ...


@dataclass(frozen=True)
class Typed:
    """Values that can be converted to another floating dtype."""

    def to(self, where: torch.dtype | torch.device) -> Self:
        """The same operation in another dtype, or on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: t.to(where) for name, t in tensors.items() if isinstance(t, Tensor)})


@dataclass(frozen=True)
class Weighted(Typed):
    """A layer with weights and a bias.

    Attributes:
        weight: Weights of the layer.
        bias: Added to the outputs (out,).
    """

    weight: Tensor
    bias: Tensor

    def squared(self) -> Self:
        """The same layer with squared weights."""
        return replace(self, weight=self.weight.square())


@dataclass(frozen=True)
class Dense(Weighted):
    """A linear layer.

    Attributes:
        weight: Weights (out, in).
        bias: Added to the outputs (out,).
    """

    weight: Tensor
    bias: Tensor

    @property
    def offset(self) -> Tensor:
        """The bias as a row."""
        return self.bias[None]

    def apply(self, *inputs: Tensor) -> Tensor:
        """The layer's output."""
        return functional.linear(inputs[0], self.weight, self.bias)

    def transpose(self, coefficients: Tensor) -> list[Tensor]:
        """Coefficients of the layer's input."""
        return [coefficients @ self.weight]

    def spread(self, *radii: Tensor) -> Tensor:
        """Radii through the absolute weights."""
        return functional.linear(radii[0], self.weight.abs())


@dataclass(frozen=True)
class Conv(Weighted):
    """A 2D convolution with zero padding.

    Attributes:
        weight: Weights (out, in / groups, height, width).
        bias: Added to the outputs (out,).
        size: Height and width of the input.
        stride: Stride of the windows, rows and columns.
        padding: Number of zeros added at each side, rows and columns.
        dilation: Distance between the values of a window.
        groups: Number of groups of channels.
    """

    weight: Tensor
    bias: Tensor
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def offset(self) -> Tensor:
        """The bias as one pixel, for broadcasting."""
        return self.bias.view(1, -1, 1, 1)

    def apply(self, *inputs: Tensor) -> Tensor:
        """The convolution's output."""
        return self._convolve(inputs[0], self.weight, self.bias)

    def transpose(self, coefficients: Tensor) -> list[Tensor]:
        """Coefficients of the input, by the transposed convolution that returns exactly its size."""
        if coefficients.dtype == torch.float64 and not (torch.is_grad_enabled() and coefficients.requires_grad):
            return [self._transposed_in_float64(coefficients)]
        missing = [
            self.size[d]
            - (
                (coefficients.shape[2 + d] - 1) * self.stride[d]
                - 2 * self.padding[d]
                + self.dilation[d] * (self.weight.shape[2 + d] - 1)
                + 1
            )
            for d in (0, 1)
        ]
        if len(coefficients) and self.groups == 1 and self.weight.shape[1] <= FEW_CHANNELS:
            plain = self.weight.shape[2:], None, self.stride, self.padding, missing, self.dilation
            found: Tensor = torch.ops.aten.slow_conv_transpose2d(coefficients, self.weight, *plain)
            return [found]
        sizes = self.stride, self.padding, missing, self.groups, self.dilation
        return [functional.conv_transpose2d(coefficients, self.weight, None, *sizes)]

    def _transposed_in_float64(self, coefficients: Tensor) -> Tensor:
        """The gradient of the convolution, which torch computes twice as fast as a transposed convolution."""
        inputs = coefficients.new_zeros(1).expand(len(coefficients), self.weight.shape[1] * self.groups, *self.size)
        found: Tensor = torch.ops.aten.convolution_backward(
            coefficients,
            inputs,
            self.weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0, 0),
            self.groups,
            (True, False, False),
        )[0]
        return found

    @cached_property
    def matrix(self) -> Tensor | None:
        """The convolution as a matrix of coefficients (outputs, *input's shape); None if it would be too large."""
        out = [
            (self.size[d] + 2 * self.padding[d] - self.dilation[d] * (self.weight.shape[2 + d] - 1) - 1)
            // self.stride[d]
            + 1
            for d in (0, 1)
        ]
        outputs = len(self.weight) * out[0] * out[1]
        inputs = self.weight.shape[1] * self.groups * self.size[0] * self.size[1]
        if outputs * inputs > MOST_ENTRIES:
            return None
        eye = torch.eye(outputs, dtype=self.weight.dtype, device=self.weight.device)
        rows = eye.view(outputs, len(self.weight), *out)
        return torch.cat([self.transpose(rows[at : at + 256])[0] for at in range(0, outputs, 256)])

    def spread(self, *radii: Tensor) -> Tensor:
        """Radii through the absolute weights."""
        return self._convolve(radii[0], self.weight.abs(), None)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


@dataclass(frozen=True)
class Scale(Typed):
    """Each value times a factor, plus a shift: normalisation, batch norm in eval mode, constants.

    Attributes:
        factor: Factor of each value, broadcasts to (1, *shape).
        shift: Added to each value after that.
    """

    factor: Tensor
    shift: Tensor

    @property
    def offset(self) -> Tensor:
        """The shift."""
        return self.shift

    def apply(self, *inputs: Tensor) -> Tensor:
        """Scaled and shifted values."""
        return inputs[0] * self.factor + self.shift

    def transpose(self, coefficients: Tensor) -> list[Tensor]:
        """Scaled coefficients."""
        return [coefficients * self.factor]

    def spread(self, *radii: Tensor) -> Tensor:
        """Radii times the absolute factors."""
        return radii[0] * self.factor.abs()

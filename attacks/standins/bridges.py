"""Gradients for steps that have none: a value stays unchanged, with the gradient of a similar one."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

ALIKE = 0.3
"""Smallest fraction of a value's variance that the image must explain for the value to count as an image."""


class Front(NamedTuple):
    """A linear model of a defence's preprocessing, for its gradient: another size, and a mixture of the channels.

    Example:
        >>> x = torch.rand(1, 1, 2, 2, requires_grad=True)
        >>> front = Front(torch.tensor([[2.0]]))
        >>> front(torch.zeros(1, 1, 2, 2), x)[0, 0]
        tensor([[0., 0.],
                [0., 0.]], grad_fn=<SelectBackward0>)
    """

    mixture: Tensor
    """Weight of each channel of the image in each channel of the value (C', C)."""
    explained: float = 1.0
    """Fraction of the value's variance that the mixture explains, at most 1."""

    @property
    def is_good(self) -> bool:
        """Whether the value is still an image."""
        return self.explained >= ALIKE

    def __call__(self, value: Tensor, x: Tensor) -> Tensor:
        """The value (N, C', ...), exactly, with a gradient with respect to images ``x`` (N, C, ...)."""
        mixed = torch.einsum("oc,ncp->nop", self.mixture.to(x), _resized(x, value).flatten(2)).reshape(value.shape)
        return value.detach() + (mixed - mixed.detach()).to(value.dtype)


def fit_front(value: Tensor, x: Tensor) -> Front | None:
    """Fit the front that explains a value by the images it was made from; None if their shapes are incompatible.

    Args:
        value: Input of the first layer (N, C', ...), or (N, values) for flat images.
        x: The images (N, C, ...).

    Example:
        >>> x = torch.rand(4, 3, 8, 8)
        >>> front = fit_front((x.flip(1) - 0.5) / 0.25, x)
        >>> front.mixture.round().abs().tolist()
        [[0.0, 0.0, 4.0], [0.0, 4.0, 0.0], [4.0, 0.0, 0.0]]
        >>> round(front.explained, 3)
        1.0
    """
    if len(value) != len(x) or not value.is_floating_point() or not _fits(value, x):
        return None
    known, wanted = _resized(x.detach(), value).flatten(2), value.detach().reshape(len(x), -1, _points(value, x))
    inputs, outputs = (each.transpose(0, 1).flatten(1).T.double().cpu() for each in (known, wanted))
    mean = inputs.mean(0), outputs.mean(0)
    inputs, outputs = inputs - mean[0], outputs - mean[1]
    # A small ridge: the channels of grey images are identical, and then share the slope.
    gram = inputs.T @ inputs
    ridge = torch.eye(len(gram), dtype=gram.dtype) * (1e-6 * gram.diagonal().mean() + 1e-12)
    mixture = torch.linalg.solve(gram + ridge, inputs.T @ outputs)
    left = (outputs - inputs @ mixture).square().sum()
    explained = 1 - float(left / outputs.square().sum().clamp_min(1e-12))
    return Front(mixture.T.to(x), explained)


def _fits(value: Tensor, x: Tensor) -> bool:
    if value.ndim == x.ndim:
        return value.ndim in (2, 4) and (value.ndim == 4 or value.shape == x.shape)
    return value.ndim == 2 and value[0].numel() == x[0].numel()


def _points(value: Tensor, x: Tensor) -> int:
    """Number of positions in each channel."""
    return math.prod(value.shape[2:]) if value.ndim > 2 else math.prod(x.shape[2:])


def _resized(x: Tensor, value: Tensor) -> Tensor:
    """Images (N, C, ...) resized to the size of a value."""
    if value.ndim < 4 or value.shape[2:] == x.shape[2:]:
        return x if x.ndim > 2 else x.unsqueeze(2)
    return functional.interpolate(x, size=value.shape[2:], mode="bilinear", antialias=True)


def through(value: Tensor, source: Tensor) -> Tensor:
    """The value, exactly, with the gradient of the source, which has the same shape.

    Example:
        >>> x = torch.tensor([0.4], requires_grad=True)
        >>> through(x.round(), x).sum().backward()
        >>> x.grad
        tensor([1.])
    """
    lent: Tensor = _Lent.apply(source, value)
    return lent


def stepped(value: Tensor, distance: Tensor) -> Tensor:
    """The value of a step function from 0 to 1, exactly, with the gradient of a ramp around it.

    The ramp is as wide as the mean of the distances, so that about half of the positions have a gradient.

    Args:
        value: Values 0 or 1, or False or True.
        distance: Distance of each position beyond the step, with the same shape.

    Example:
        >>> x = torch.tensor([-1.0, 0.5, 3.0], requires_grad=True)
        >>> stepped(x > 0, x).sum().backward()
        >>> x.grad
        tensor([0.2222, 0.4444, 0.0000])
    """
    step: Tensor = _Ramp.apply(distance, value)
    return step


class _Lent(torch.autograd.Function):
    """The second argument, with the gradient of the first."""

    @staticmethod
    def forward(ctx: FunctionCtx, source: Tensor, value: Tensor) -> Tensor:
        return value.detach().to(source).clone()

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> tuple[Any, None]:
        return gradients[0], None


class _Ramp(torch.autograd.Function):
    """The second argument, with the gradient of a ramp of the first."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, value: Tensor) -> Tensor:
        width = distance.abs().mean().clamp_min(1e-12)
        ctx.save_for_backward((1 - distance.abs() / width).clamp_min(0) / width)
        return value.detach().to(distance).clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None


OWN = (_Lent, _Ramp)
"""Functions with a custom backward pass in this library."""

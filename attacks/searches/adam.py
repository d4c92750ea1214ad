"""Adam, for attacks that descend a sum of a loss and a penalty."""

import math

import torch
from torch import Tensor

from attacks.geometry.rows import column, flat, power_of_two

_BETA1, _BETA2 = 0.9, 0.999
"""Weight of the past in the means of the gradients and of their squares, those of the paper."""


class Adam:
    """Turns gradients into steps of about unit length per value, by running means of gradients and their squares.

    Nothing is shared between images. The steps do not depend on the unit of the gradients: those of an image whose
    squares would exceed the range of the dtype, as with logits around 1e30, are divided by a power of two.

    References:
        Kingma and Ba, Adam: a method for stochastic optimization <https://arxiv.org/abs/1412.6980>, 2015.

    Args:
        like: Images (n, ...) that give shape and dtype.

    Example:
        >>> adam = Adam(torch.zeros(1, 2))
        >>> adam.step(torch.tensor([[4.0, -0.5]]))
        tensor([[ 1., -1.]])
    """

    scale: Tensor
    """Divisor of the mean gradient in the last step, shaped like the images."""

    def __init__(self, like: Tensor) -> None:
        self._mean, self._square = like.new_zeros(like.shape), like.new_zeros(like.shape)
        self._unit = like.new_ones(len(like), *[1] * (like.ndim - 1))
        self._steps = 0

    def step(self, gradient: Tensor) -> Tensor:
        """The step to subtract, shaped like ``gradient`` (n, ...)."""
        self._steps += 1
        gradient = self._in_units(gradient)
        self._mean.lerp_(gradient, 1 - _BETA1)
        self._square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        scale = (self._square / (1 - _BETA2**self._steps)).sqrt_().add_(1e-8)
        self.scale = scale * self._unit
        return self._mean / scale / (1 - _BETA1**self._steps)

    def select(self, index: Tensor) -> None:
        """Continue with some of the images only: a mask or positions."""
        self._mean, self._square, self._unit = self._mean[index], self._square[index], self._unit[index]

    def _in_units(self, gradient: Tensor) -> Tensor:
        """The gradient divided by the image's unit, which is raised first if the squares need it."""
        largest = column(flat(gradient).abs().amax(1), gradient)
        large = largest > math.sqrt(torch.finfo(gradient.dtype).max) / 2
        unit = torch.where(large, power_of_two(largest), 1).maximum(self._unit)
        finer = self._unit / unit
        self._mean, self._square, self._unit = self._mean * finer, self._square * finer.square(), unit
        return gradient / unit

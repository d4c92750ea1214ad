"""Adam, for attacks that descend a sum of a loss and a penalty."""

from torch import Tensor


class Adam:
    """Turns gradients into steps of about unit length per value, by running means of gradients and their squares.

    Nothing is shared between images.

    References:
        Kingma and Ba, Adam: a method for stochastic optimization <https://arxiv.org/abs/1412.6980>, 2015.

    Args:
        like: Images (n, ...) that give shape and dtype.
        beta1: Weight of the past in the mean of the gradients.
        beta2: Weight of the past in the mean of their squares.

    Example:
        >>> import torch
        >>> adam = Adam(torch.zeros(1, 2))
        >>> adam.step(torch.tensor([[4.0, -0.5]]))
        tensor([[ 1., -1.]])
    """

    scale: Tensor
    """Divisor of the mean gradient in the last step, shaped like the images."""

    def __init__(self, like: Tensor, beta1: float = 0.9, beta2: float = 0.999) -> None:
        self._mean, self._square = like.new_zeros(like.shape), like.new_zeros(like.shape)
        self._beta1, self._beta2, self._steps = beta1, beta2, 0

    def step(self, gradient: Tensor) -> Tensor:
        """The step to subtract, shaped like ``gradient`` (n, ...)."""
        self._steps += 1
        self._mean.lerp_(gradient, 1 - self._beta1)
        self._square.mul_(self._beta2).addcmul_(gradient, gradient, value=1 - self._beta2)
        self.scale = (self._square / (1 - self._beta2**self._steps)).sqrt_().add_(1e-8)
        return self._mean / self.scale / (1 - self._beta1**self._steps)

    def select(self, index: Tensor) -> None:
        """Continue with some of the images only: a mask or positions."""
        self._mean, self._square = self._mean[index], self._square[index]

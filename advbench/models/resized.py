"""Run a model on images of any size through a differentiable resize."""

from torch import Tensor
from torch.nn import functional

from attacks import Model
from attacks.queries.in_front import InFront


def resized(model: Model, size: tuple[int, int]) -> Model:
    """The model on images of any size, which are resized to its own: bilinear, antialiased.

    Args:
        model: Images (N, C, H, W) in [0, 1] -> logits, with or without a fast form.
        size: Height and width of its input.

    Example:
        >>> import torch
        >>> resized(lambda x: x.flatten(1), (2, 2))(torch.full((1, 1, 8, 8), 0.5))
        tensor([[0.5000, 0.5000, 0.5000, 0.5000]])
    """
    return _Resized(model, size)


class _Resized(InFront):
    """The model of :func:`resized`."""

    def __init__(self, model: Model, size: tuple[int, int]) -> None:
        super().__init__(model)
        self._size = size

    def _ask(self, model: Model, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != self._size:
            x = functional.interpolate(x, self._size, mode="bilinear", antialias=True).clamp(0, 1)
        return model(x)

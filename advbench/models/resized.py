"""A model that is asked about images of another size than its own, differentiably."""

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional

from attacks import Model
from attacks.queries.gradients import exact_form, quick_form


def resized(model: Model, size: tuple[int, int]) -> Model:
    """The model as it answers for images of any size, which are resized to its own: bilinear, antialiased.

    Args:
        model: Images (N, C, H, W) in [0, 1] -> logits, with faster forms beside it or without.
        size: Height and width of its input.

    Example:
        >>> import torch
        >>> resized(lambda x: x.flatten(1), (2, 2))(torch.full((1, 1, 8, 8), 0.5))
        tensor([[0.5000, 0.5000, 0.5000, 0.5000]])
    """
    return _Resized(model, size)


class _Resized:
    """The model of :func:`resized`."""

    def __init__(self, model: Model, size: tuple[int, int]) -> None:
        self._model, self._size = model, size

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits (N, C) of images (N, C, H, W)."""
        return self._answer(self._model, x)

    @property
    def wrapped(self) -> Model:
        """The model itself."""
        return self._model

    @property
    def quick_form(self) -> Model | None:
        """The model's faster form, if it has one."""
        return self._of(quick_form(self._model))

    @property
    def exact_form(self) -> Model | None:
        """The model's form in float32, if it has one."""
        return self._of(exact_form(self._model))

    def _of(self, form: Model | None) -> Callable[[Tensor], Tensor] | None:
        return None if form is None else partial(self._answer, form)

    def _answer(self, model: Model, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != self._size:
            x = functional.interpolate(x, self._size, mode="bilinear", antialias=True).clamp(0, 1)
        return model(x)

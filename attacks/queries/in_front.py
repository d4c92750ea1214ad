"""Wrappers around models, which pass on their faster forms."""

from functools import partial

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.queries.gradients import exact_form, quick_form


class InFront:
    """A wrapper around a model that queries each of its forms in the same way.

    Args:
        model: The model to wrap.

    Example:
        >>> import torch
        >>> class Dimmed(InFront):
        ...     def _ask(self, model, x):
        ...         return model(x / 2)
        >>> dimmed = Dimmed(lambda x: x)
        >>> dimmed(torch.ones(1, 2)), dimmed.quick_form
        (tensor([[0.5000, 0.5000]]), None)
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, x: Tensor, /) -> Tensor:
        """The outputs (N, C) for images (N, ...)."""
        return self._ask(self._model, x)

    @property
    def wrapped(self) -> Model:
        """The wrapped model."""
        return self._model

    @property
    def quick_form(self) -> Model | None:
        """The model's faster form, if it has one, queried in the same way."""
        return self._of(quick_form(self._model))

    @property
    def exact_form(self) -> Model | None:
        """The model's float32 form, if it has one, queried in the same way."""
        return self._of(exact_form(self._model))

    def _of(self, form: Model | None) -> Model | None:
        return None if form is None else partial(self._ask, form)

    def _ask(self, model: Model, x: Tensor) -> Tensor:
        """Query the model, or one of its forms."""
        raise NotImplementedError(f"expected {type(self).__name__} to say how it asks a model, got nothing")


def unwatched(x: Tensor) -> Tensor:
    """The values of a tensor without its gradient, out of sight of who watches a pass for gradients that get lost.

    What stands in front of a model and looks at its answers loses none; :func:`attacks.inside` would take it for a
    step that does.

    Args:
        x: Tensor of any shape.

    Example:
        >>> from attacks import inside
        >>> net, seen = torch.nn.Linear(3, 2).eval(), []
        >>> def noted(x):
        ...     logits = net(x)
        ...     seen.append(unwatched(logits))
        ...     return logits
        >>> print(inside(noted, torch.rand(4, 3)).describe())
        nothing hides the gradient: the model is used as it is
    """
    with torch._C.DisableTorchFunction():
        return x.detach()

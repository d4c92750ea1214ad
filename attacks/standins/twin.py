"""Substitute gradients from a similar model, for models without a gradient or with a wrong one."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.modes import check_callable


def with_gradients_of(model: Model, twin: Model) -> Model:
    """Give a model the gradients of another one, such as a quantised network those of its float twin.

    Every output is the model's own, so that only images that fool it count as fooled. The loss is computed from its own
    logits too; only the path from the images to the logits is differentiated through the twin. If no gradient is
    wanted, the twin is not queried. The model's own gradients are not used even if it has some: a skip connection
    around a quantised layer gives a gradient in the wrong direction without a warning.

    Args:
        model: Images in [0, 1] -> logits, differentiable or not.
        twin: A differentiable model of the same task and the same classes.

    Raises:
        ValueError: If one of the two cannot be called; when called, if they give logits of different shapes.

    Example:
        >>> from attacks import PGD, Untargeted
        >>> rounded = lambda x: (10 * x.detach()).round() / 10
        >>> x, goal = torch.tensor([[0.6, 0.4]]), Untargeted(torch.tensor([0]))
        >>> x_adv = PGD()(with_gradients_of(rounded, lambda x: x), x, goal, eps=0.2)
        >>> bool(goal.margin(rounded(x_adv)) < 0)
        True
    """
    for each in (model, twin):
        check_callable(each)

    def answer(x: Tensor, /) -> Tensor:
        return lend(lambda: ask(model, x), lambda: ask(twin, x), x)

    # Both of these let checks see the networks inside the model.
    vars(answer)["twin"] = twin
    return update_wrapper(answer, model, assigned=(), updated=())


def lend(own: Callable[[], Tensor], twin: Callable[[], Tensor], x: Tensor) -> Tensor:
    """The logits of a model for images ``x``, with the gradient of a twin if a gradient is wanted.

    Args:
        own: Function that queries the model: logits (N, C).
        twin: Function that queries its twin: logits (N, C).
        x: The images (N, ...) for both.

    Raises:
        ValueError: If the two give logits of different shapes.

    Example:
        >>> x = torch.tensor([[0.26, 0.74]], requires_grad=True)
        >>> lend(lambda: (10 * x).round() / 10, lambda: 2 * x, x)
        tensor([[0.3000, 0.7000]], grad_fn=<_LentBackward>)
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        return own()
    with torch.no_grad():
        logits = own()
    differentiable = twin()
    if differentiable.shape != logits.shape:
        raise ValueError(f"expected a twin with logits {tuple(logits.shape)}, got {tuple(differentiable.shape)}")
    lent: Tensor = _Lent.apply(differentiable, logits)
    return lent


class _Lent(torch.autograd.Function):
    """The second argument, with the gradient of the first."""

    @staticmethod
    def forward(ctx: FunctionCtx, differentiable: Tensor, logits: Tensor) -> Tensor:
        return logits.to(differentiable).clone()

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> tuple[Any, None]:
        return gradients[0], None

"""The one door through which attacks ask a model: forward passes, and gradients with respect to the images."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.losses import Loss
from attacks.protocols import Model

_asked: ContextVar[Tensor | None] = ContextVar("asked", default=None)


class Slope(NamedTuple):
    """What one forward and backward pass tells of a batch, all without graph."""

    logits: Tensor
    """(N, C)."""
    loss: Tensor
    """(N,)."""
    gradient: Tensor
    """Of each image's loss with respect to that image, shaped like the batch."""


def forward(model: Model, x: Tensor, goal: Goal) -> Tensor:
    """Logits (N, C) of images ``x``, whose rows are those of ``goal``; no graph is kept.

    Example:
        >>> from attacks import Untargeted
        >>> forward(lambda x: x.flatten(1), torch.eye(2).view(2, 2, 1, 1), Untargeted(torch.tensor([0, 0])))
        tensor([[1., 0.],
                [0., 1.]])
    """
    with torch.no_grad(), booked_on(goal.ids):
        return model(x)


def slope(model: Model, x: Tensor, goal: Goal, loss: Loss) -> Slope:
    """Loss of each image and its gradient, in one forward and one backward pass.

    Gradients of the model's parameters are neither computed nor touched.

    Raises:
        ValueError: If the model's output does not depend on the images differentiably.

    Example:
        >>> from attacks import Untargeted, losses
        >>> at = slope(lambda x: x, torch.tensor([[3.0, 1.0]]), Untargeted(torch.tensor([0])), losses.margin)
        >>> at.loss, at.gradient
        (tensor([2.]), tensor([[ 1., -1.]]))
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad(), booked_on(goal.ids):
        logits = model(x)
        value = loss(logits, goal)
    if not value.requires_grad:
        raise ValueError(
            "expected a model that is differentiable with respect to its images, got an output without a gradient: "
            "use an attack that needs none, such as Noise"
        )
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return Slope(logits.detach(), value.detach(), gradient)


@contextmanager
def booked_on(ids: Tensor) -> Iterator[None]:
    """Within it, a model can tell by :func:`asked_ids` which images the rows of its batch belong to."""
    token = _asked.set(ids)
    try:
        yield
    finally:
        _asked.reset(token)


def asked_ids() -> Tensor | None:
    """Ids (N,) of the images that the model is being asked about, or None outside of an attack."""
    return _asked.get()

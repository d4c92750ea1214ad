"""The single entry point for attacks to query a model: forward passes, and gradients with respect to the images."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.losses import Loss, margin
from attacks.objectives.ranking import fooling, scale
from attacks.protocols import Model, Precision
from attacks.queries.answers import ask
from attacks.queries.derivatives import Measure, differentiate

DOUBT = 2**-7
"""Largest error of a margin from a faster form of a model, as a fraction of the largest logit: if an image is nearer to
the boundary than that, the model itself is queried."""

_first_look: ContextVar[bool] = ContextVar("first_look", default=False)
_asked: ContextVar[tuple[Tensor | None, int, Measure | None]] = ContextVar("asked", default=(None, 1, None))


class Slope(NamedTuple):
    """Results of one forward and backward pass over a batch; nothing in it keeps a graph."""

    logits: Tensor
    """The images' logits (N, C)."""
    loss: Tensor
    """The images' losses (N,)."""
    gradient: Tensor
    """The gradient of each image's loss with respect to that image, shaped like the batch."""
    fooled: Tensor
    """Which images meet the goal, bool (N,), according to :func:`attacks.goals.met`."""

    def select(self, index: Tensor) -> "Slope":
        """The slope of some of the images only: a mask or positions."""
        return Slope(*(part[index] for part in self))


def forward(model: Model, x: Tensor, goal: Goal) -> Tensor:
    """Logits (N, C) of images ``x``, whose rows are those of ``goal``; no graph is kept.

    Example:
        >>> from attacks import Untargeted
        >>> forward(lambda x: x.flatten(1), torch.eye(2).view(2, 2, 1, 1), Untargeted(torch.tensor([0, 0])))
        tensor([[1., 0.],
                [0., 1.]])
    """
    with torch.no_grad(), booked_on(goal.ids):
        return ask(model, x)


def slope(
    model: Model,
    x: Tensor,
    goal: Goal,
    loss: Loss,
    *,
    aim: Goal | None = None,
    precision: Precision = "exact",
) -> Slope:
    """Loss of each image and its gradient, in one forward and one backward pass.

    Gradients of the model's parameters are neither computed nor touched.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        goal: Success criterion for these images.
        loss: Logits (N, C), aim -> (N,).
        aim: The aim of the loss; None: the goal itself.
        precision: Which of the model's forms to use, if it has faster ones (see :func:`attacks.standins.fast.fast`).
            With "bfloat16" the logits of images that meet the goal, or nearly do, are still the model's own; results
            found with "float32" must be confirmed by the model, see :meth:`attacks.searches.track.Survivors.finish`.

    Raises:
        NoGradientError: If the model's output does not depend on the images differentiably.

    Example:
        >>> from attacks import Untargeted, losses
        >>> at = slope(lambda x: x, torch.tensor([[3.0, 1.0]]), Untargeted(torch.tensor([0])), losses.margin)
        >>> at.loss, at.gradient
        (tensor([2.]), tensor([[ 1., -1.]]))
    """
    form = form_for(model, precision)
    rough = form is not model and precision == "bfloat16"
    logits, value, (gradient,) = _differentiate(form, x, aim or goal, loss)
    if rough:
        logits = _confirmed(model, x, goal, logits)
    known = not rough and aim in (None, goal) and loss is margin
    return Slope(logits, value, gradient, fooling(value if known else goal.margin(logits), logits))


def slopes(model: Model, x: Tensor, goal: Goal, losses: Loss, count: int) -> Slope:
    """Several losses of each image and the gradient of each: one forward pass, and a backward pass for each loss.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        goal: The goal for these images.
        losses: Logits (N, C), goal -> (N, K).
        count: K, passed in advance, so that limits on passes know how many follow.

    Returns:
        As :func:`slope`, with losses (N, K) and gradients (N, K, ...).

    Example:
        >>> from attacks import Untargeted
        >>> both = lambda logits, goal: logits
        >>> at = slopes(lambda x: 2 * x, torch.tensor([[3.0, 1.0]]), Untargeted(torch.tensor([0])), both, count=2)
        >>> at.loss, at.gradient
        (tensor([[6., 2.]]), tensor([[[2., 0.],
                 [0., 2.]]]))
    """
    logits, values, gradients = _differentiate(model, x, goal, losses, count)
    return Slope(logits, values, torch.stack(gradients, 1), met(goal, logits))


def quick_form(model: Model) -> Model | None:
    """The faster form of a model, if it has one; wrappers should pass it on.

    Example:
        >>> print(quick_form(lambda x: x))
        None
    """
    form: Model | None = getattr(model, "quick_form", None)
    return form


def exact_form(model: Model) -> Model | None:
    """The float32 form of a model, if it has one; wrappers may pass it on.

    Example:
        >>> print(exact_form(lambda x: x))
        None
    """
    form: Model | None = getattr(model, "exact_form", None)
    return form


def form_for(model: Model, precision: Precision) -> Model:
    """The fastest form of a model that gives gradients of a precision; the model itself if it has none.

    Example:
        >>> model = lambda x: 2 * x
        >>> form_for(model, "bfloat16") is model
        True
    """
    match precision:
        case "bfloat16":
            return quick_form(model) or model
        case "float32":
            return exact_form(model) or model
        case "exact":
            return model


def precise(model: Model) -> Model:
    """The model without its faster forms, for images where the last bit matters.

    Example:
        >>> precise(lambda x: 2 * x)(torch.tensor([1.0]))
        tensor([2.])
    """
    return partial(model)  # a partial has none of the model's attributes


def _confirmed(model: Model, x: Tensor, goal: Goal, logits: Tensor) -> Tensor:
    """Logits (N, C) of a faster form, replaced by the model's own for images that meet the goal or nearly do."""
    near = goal.margin(logits) < DOUBT * scale(logits)
    rows = near.nonzero().squeeze(1)
    return logits.index_copy(0, rows, forward(model, x.detach()[rows], goal.select(rows))) if len(rows) else logits


def _differentiate(
    model: Model, x: Tensor, goal: Goal, loss: Loss, count: int = 1
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Logits, losses (N,) or (N, K), and the gradient of each column."""
    # Tensors made in inference mode cannot be part of a graph; copies made outside of it can.
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(False):
            return _differentiate(model, x, goal, loss, count)

    def measure(logits: Tensor) -> Tensor:
        return loss(logits, goal)

    with torch.enable_grad(), booked_on(goal.ids, count, measure):
        x = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
        if any(isinstance(part, Tensor) and part.is_inference() for part in getattr(goal, "__dict__", {}).values()):
            goal = goal.select(torch.arange(len(x), device=x.device))
        logits, value, gradients = differentiate(model, x, measure)
    return logits, value, [_finite(gradient) for gradient in gradients]


def _finite(gradient: Tensor) -> Tensor:
    """Replace non-finite gradients (a square root at 0) by zero, as they give no direction."""
    # Checking takes a fifth of the time that replacing does.
    if math.isfinite(gradient.sum()):
        return gradient
    return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


class booked_on(AbstractContextManager[None]):  # noqa: N801 - a context, which reads like a function
    """A context in which a model can find out which images its rows belong to, and which gradients will follow.

    A class, as a generator would take several times as long in every pass.

    Args:
        ids: Ids of the images (N,); see :func:`asked_ids`.
        backwards: Backward passes that follow a forward pass with a graph; see :func:`asked_backwards`.
        measure: Function to be differentiated; see :func:`asked_measure`.
    """

    __slots__ = ("_asks", "_token")

    def __init__(self, ids: Tensor, backwards: int = 1, measure: Measure | None = None) -> None:
        self._asks = ids, backwards, measure

    def __enter__(self) -> None:
        self._token: Token[tuple[Tensor | None, int, Measure | None]] = _asked.set(self._asks)

    def __exit__(self, *_: object) -> None:
        _asked.reset(self._token)


def asked_ids() -> Tensor | None:
    """Ids (N,) of the images in the current query, or None outside of an attack."""
    return _asked.get()[0]


def asked_backwards() -> int:
    """Number of backward passes that will follow the current forward pass, if it has a graph."""
    return _asked.get()[1]


def asked_measure() -> Measure | None:
    """The function of the requested logits that an attack will differentiate; None if unknown.

    Example:
        >>> with booked_on(torch.tensor([0]), measure=lambda logits: logits[:, 0]):
        ...     asked_measure()(torch.tensor([[3.0, 1.0]]))
        tensor([3.])
    """
    return _asked.get()[2]


@contextmanager
def first_look() -> Iterator[None]:
    """A context in which a model can tell that a query is for an attack's clean images; see :func:`is_first_look`."""
    token = _first_look.set(True)
    try:
        yield
    finally:
        _first_look.reset(token)


def is_first_look() -> bool:
    """Whether the current query is about the clean images with which an attack begins.

    Example:
        >>> with first_look():
        ...     is_first_look()
        True
    """
    return _first_look.get()

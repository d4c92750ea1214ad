"""Gradients of a model's outputs, and models without gradients."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.queries.answers import ask, read_logits

Measure = Callable[[Tensor], Tensor]
"""Logits (N, C) -> numbers (N,) or (N, K)."""
_GRADIENTS = re.compile(
    "requires?[ _](a )?grad|graph leaves|inference tensor|derivative|differentia|autograd|gradient comput|backward",
    re.IGNORECASE,
)
"""Torch's messages when it cannot differentiate, or cannot pass on a tensor to be differentiated."""


class NoGradientError(ValueError):
    """A gradient was requested of a model that has none, such as a random forest or a black box."""

    def __init__(self, got: str = "an output without a gradient") -> None:
        super().__init__(
            f"expected a model that is differentiable with respect to its images, got {got}: "
            "use an attack that needs none, such as Square"
        )


def ask_with_graph(model: Model, x: Tensor) -> Tensor:
    """Like :func:`ask`, for logits to be differentiated.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...) that require a gradient, in a context where gradients are enabled.

    Raises:
        NoGradientError: If the logits have no graph, or the model fails only because ``x`` requires a gradient, as one
            that calls ``x.numpy()`` does. All other errors of the model are passed on.
        ValueError: As :func:`attacks.queries.answers.read_logits` does.

    Example:
        >>> x = torch.tensor([[0.25, 0.75]], requires_grad=True)
        >>> ask_with_graph(lambda x: 2 * x, x).requires_grad
        True
    """
    try:
        logits = ask(model, x)
    except Exception as error:
        if not _about_gradients(error):
            raise
        # When warnings are errors, torch's compiler fails on a copy, as on any tensor computed from another.
        found = _attempt(lambda: read_logits(model(x), len(x)).to(x))
        if found is None and _answers_without(model, x):
            raise NoGradientError(_first_line(error)) from error
        if found is None:
            raise
        logits = found
    if not logits.requires_grad:
        raise NoGradientError
    return logits


def has_gradient(model: Model, x: Tensor) -> bool:
    """Whether a model's logits of images ``x`` (N, ...) can be differentiated, at the cost of a forward pass or two.

    Raises:
        ValueError: As :func:`attacks.queries.answers.read_logits` does.

    Example:
        >>> x = torch.tensor([[0.25, 0.75]])
        >>> has_gradient(lambda x: 2 * x, x), has_gradient(lambda x: torch.from_numpy(x.numpy()), x)
        (True, False)
    """
    try:
        with torch.enable_grad():
            ask_with_graph(model, x.detach().clone().requires_grad_())
    except NoGradientError:
        return False
    return True


def differentiate(model: Model, x: Tensor, measure: Measure) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Numbers computed from a model's logits, and their gradients with respect to the images: one pass each way.

    A model that overwrites values its own gradient needs (``x *= x``) is queried again in a way that keeps a copy.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...) that require a gradient, in a context where gradients are enabled.
        measure: Logits (N, C) -> (N,) or (N, K), each row from its own logits only.

    Returns:
        Logits and numbers, both without a graph, and the gradient of each of the K columns, shaped like ``x``.

    Raises:
        NoGradientError: As :func:`ask_with_graph` does, or if torch cannot differentiate a step.
        ValueError: As :func:`attacks.queries.answers.read_logits` does.

    Example:
        >>> x = torch.tensor([[0.25, 0.75]], requires_grad=True)
        >>> differentiate(lambda x: x.mul_(x), x, lambda logits: logits[:, 1])
        (tensor([[0.0625, 0.5625]]), tensor([0.5625]), [tensor([[0.0000, 1.5000]])])
    """
    try:
        return _differentiate(model, x, measure)
    except NoGradientError as error:
        if "inplace operation" not in str(error):
            raise
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        return _differentiate(model, x, measure)


def _differentiate(model: Model, x: Tensor, measure: Measure) -> tuple[Tensor, Tensor, list[Tensor]]:
    logits = ask_with_graph(model, x)
    value = measure(logits)
    if not value.requires_grad:
        raise NoGradientError
    columns = value.unbind(1) if value.ndim > 1 else (value,)
    last = len(columns) - 1
    # Of the sum, not with a vector of ones: for that torch imports its symbolic algebra, which takes half a second.
    gradients = [gradient_of(column.sum(), x, keep=i < last) for i, column in enumerate(columns)]
    # A copy, since the model may return the same buffer next time.
    return logits.detach().clone(), value.detach(), gradients


def gradient_of(value: Tensor, x: Tensor, *, keep: bool = False) -> Tensor:
    """The gradient of a number with respect to images.

    Args:
        value: A number computed from logits of :func:`ask_with_graph`, with a graph.
        x: The images (N, ...) of the query.
        keep: Whether the graph is needed again.

    Returns:
        The gradient, shaped like ``x``.

    Raises:
        NoGradientError: If the value does not depend on the images, or torch cannot differentiate a step.

    Example:
        >>> x = torch.tensor([0.25, 0.75], requires_grad=True)
        >>> gradient_of((x * x).sum(), x)
        tensor([0.5000, 1.5000])
    """
    try:
        (gradient,) = torch.autograd.grad(value, x, retain_graph=keep, allow_unused=True)
    except RuntimeError as error:
        if not _about_gradients(error):
            raise
        raise NoGradientError(_first_line(error)) from error
    if gradient is None:
        raise NoGradientError
    return gradient


def _about_gradients(error: BaseException | None) -> bool:
    """Whether an error, or one it was raised from, says that something cannot be differentiated."""
    while error is not None:
        if _GRADIENTS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _answers_without(model: Model, x: Tensor) -> bool:
    """Whether a model that failed answers the same query when no gradient is wanted."""
    with torch.no_grad():
        return _attempt(lambda: ask(model, x.detach())) is not None


def _attempt(question: Callable[[], Tensor]) -> Tensor | None:
    """The answer, or None if the query fails: the first error is the one to report."""
    try:
        return question()
    except Exception:
        return None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"

"""How a model is asked: it gets images of its own, and its answer is read as logits in one place."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from attacks.protocols import Model

_ROUNDING = 1e-5  # of a sum of probabilities in float32
_COARSE = (torch.float16, torch.bfloat16)
_CHANCE = 1e-6  # that logits look like probabilities by accident, below which they are taken for such
_ONE_OUTPUT = ": return two logits, such as torch.cat([-z, z], 1) of one output z (N, 1) before its sigmoid"
_GRADIENTS = re.compile(
    "requires?[ _](a )?grad|graph leaves|inference tensor|derivative|differentia|autograd|gradient comput|backward",
    re.IGNORECASE,
)
"""What torch says where it cannot differentiate, or hand on a tensor that is to be differentiated."""


class NoGradientError(ValueError):
    """A model was asked for a gradient and has none: a forest, a black box."""

    def __init__(self, got: str = "an output without a gradient") -> None:
        super().__init__(
            f"expected a model that is differentiable with respect to its images, got {got}: "
            "use an attack that needs none, such as Square"
        )


def ask(model: Model, x: Tensor) -> Tensor:
    """Logits (N, C) of images ``x``, of their dtype and on their device.

    The model is handed a copy: one that works on its input in place (``x.sub_(mean)``) would otherwise move the
    images that the attack goes on with. Where no gradients are wanted the answer is copied too, without a graph: a
    model may hand out the same buffer each time.

    Args:
        model: Images in [0, 1] -> logits, or an answer that holds them; see :func:`read_logits`.
        x: Images (N, ...).

    Raises:
        ValueError: As :func:`read_logits` does.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.25, 0.75]])
        >>> ask(lambda x: {"logits": x.mul_(2).double()}, x), x
        (tensor([[0.5000, 1.5000]]), tensor([[0.2500, 0.7500]]))
    """
    logits = read_logits(model(x.clone()), len(x))
    if logits.dtype != x.dtype or logits.device != x.device:
        logits = logits.to(x)
    return logits if logits.requires_grad and torch.is_grad_enabled() else logits.detach().clone()


def ask_with_graph(model: Model, x: Tensor) -> Tensor:
    """What :func:`ask` does, for logits that are to be differentiated.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...) that require a gradient, in a context where gradients are enabled.

    Raises:
        NoGradientError: If the logits have no graph, or the model fails for no other reason than that ``x`` requires a
            gradient, as one that calls ``x.numpy()`` does. All other errors of the model are passed on.
        ValueError: As :func:`read_logits` does.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.25, 0.75]], requires_grad=True)
        >>> ask_with_graph(lambda x: 2 * x, x).requires_grad
        True
    """
    try:
        logits = ask(model, x)
    except Exception as error:
        if not _about_gradients(error):
            raise
        # Where warnings are errors, torch's compiler fails on a copy, as on all that is the result of something.
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
        ValueError: As :func:`read_logits` does.

    Example:
        >>> import torch
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


def gradient_of(value: Tensor, x: Tensor, *, keep: bool = False) -> Tensor:
    """The gradient of a number with respect to images.

    Args:
        value: Made from logits of :func:`ask_with_graph`, with a graph.
        x: The images (N, ...) that the model was asked about.
        keep: Whether the graph is needed again.

    Returns:
        Shaped like ``x``.

    Raises:
        NoGradientError: If the value does not depend on the images, or torch cannot differentiate something on the way.

    Example:
        >>> import torch
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
    """Whether an error, or one that it was raised from, says that something cannot be differentiated."""
    while error is not None:
        if _GRADIENTS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _answers_without(model: Model, x: Tensor) -> bool:
    """Whether a model that has failed answers the same question when no gradient is wanted."""
    with torch.no_grad():
        return _attempt(lambda: ask(model, x.detach())) is not None


def _attempt(question: Callable[[], Tensor]) -> Tensor | None:
    """The answer; None if that fails: the first error is the one to report."""
    try:
        return question()
    except Exception:
        return None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def read_logits(answer: Any, count: int) -> Tensor:
    """The logits in what a model answered.

    Understood are a tensor (N, C); a tuple or list whose first entry is one, as torchvision's models with auxiliary
    heads return; a mapping or an object with ``logits``, as those of Hugging Face do, or a mapping with one entry; and
    (C,) for a single image, from a model that squeezes its answer.

    Args:
        answer: What the model returned.
        count: N, how many images it was asked about.

    Returns:
        Logits (N, C) as the model computed them: of its dtype, on its device.

    Raises:
        ValueError: ``expected ..., got ...`` if there are no logits of at least two classes for as many images.

    Example:
        >>> import torch
        >>> read_logits((torch.zeros(2, 3), torch.zeros(2, 8)), count=2)
        tensor([[0., 0., 0.],
                [0., 0., 0.]])
        >>> read_logits(torch.zeros(5), count=1).shape
        torch.Size([1, 5])
        >>> read_logits(torch.zeros(2, 1), count=2)
        Traceback (most recent call last):
        ValueError: expected logits of shape (2, number of classes >= 2), got (2, 1): ...
    """
    logits = find_logits(answer, count)
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        predicted = isinstance(logits, Tensor) and logits.numel() == count
        hint = ": return the values whose largest the class is" if predicted else ""
        raise ValueError(f"expected logits as a float tensor, got {got}{hint}")
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:
        one = _ONE_OUTPUT if logits.numel() == count else ""
        raise ValueError(f"expected logits of shape ({count}, number of classes >= 2), got {tuple(logits.shape)}{one}")
    return logits


def find_logits(answer: Any, count: int) -> Any:
    """The part of a model's answer that is meant to be logits, unchecked; see :func:`read_logits`.

    Args:
        answer: What the model returned.
        count: N, how many images it was asked about.

    Example:
        >>> find_logits({"logits": "nothing of the kind"}, count=1)
        'nothing of the kind'
    """
    if not isinstance(answer, Tensor):
        answer = _held(answer)
    return answer.unsqueeze(0) if count == 1 and isinstance(answer, Tensor) and answer.ndim == 1 else answer


def _held(answer: Any) -> Any:
    if isinstance(answer, Mapping):
        return answer.get("logits", next(iter(answer.values())) if len(answer) == 1 else answer)
    if hasattr(answer, "logits"):
        return answer.logits
    return answer[0] if isinstance(answer, tuple | list) and answer else answer


def are_probabilities(answers: Tensor) -> bool:
    """Whether what a model answered are probabilities: every row is nonnegative and sums to 1.

    The sum may miss 1 by what the coarsest type rounds to that could have held all of these values: of a softmax in
    half precision, or in bfloat16, it does. A row of logits may look so by accident, the more easily the fewer its
    classes; where so few rows and classes are there that this is no wonder, they are taken for logits.

    Args:
        answers: (N, C), of any float dtype.

    Example:
        >>> answers = torch.tensor([[0.0, 1.0, 3.0], [0.2, 0.5, 0.1]]).half().softmax(1)
        >>> are_probabilities(answers), are_probabilities(answers.float()), are_probabilities(answers.log())
        (True, True, False)
        >>> are_probabilities(torch.tensor([[0.25, 0.75]])), are_probabilities(torch.tensor([[0.25, 0.75]] * 3))
        (False, True)
    """
    classes = answers.shape[1]
    rounding = max([_ROUNDING, *(_rounding(dtype, classes) for dtype in _COARSE if _fits(answers, dtype))])
    values = answers.detach().float()
    if not bool(((values >= 0).all(1) & ((values.sum(1) - 1).abs() <= rounding)).all()):
        return False
    return bool((2 * rounding * 0.5**classes) ** len(answers) < _CHANCE)


def _fits(values: Tensor, dtype: torch.dtype) -> bool:
    """Whether the values may have been of a coarser type: that changes none of them."""
    return bool((values.to(dtype).to(values.dtype) == values).all())


def _rounding(dtype: torch.dtype, classes: int) -> float:
    """By how much probabilities of a type, for so many classes, may miss the sum 1."""
    known = torch.finfo(dtype)
    return float(known.eps + classes * known.smallest_normal * known.eps)

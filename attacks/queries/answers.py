"""Queries of a model: it gets its own copy of the images, and its output is read as logits in one place."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any

import torch
from torch import Tensor

from attacks.protocols import Model

_ROUNDING = 1e-5  # rounding error of a sum of probabilities in float32
_COARSE = (torch.float16, torch.bfloat16)
_CHANCE = 1e-6  # chance of logits looking like probabilities by accident, below which they are taken for such
_ONE_OUTPUT = ": return two logits, such as torch.cat([-z, z], 1) of one output z (N, 1) before its sigmoid"


class ProbabilitiesError(ValueError):
    """A model returns probabilities, whose gradients vanish where it is confident.

    Example:
        >>> print(ProbabilitiesError())
        expected logits, got probabilities (rows in [0, 1] that sum to 1): return the values before the softmax
    """

    def __init__(self) -> None:
        super().__init__(
            "expected logits, got probabilities (rows in [0, 1] that sum to 1): return the values before the softmax"
        )


def ask(model: Model, x: Tensor) -> Tensor:
    """Logits (N, C) of images ``x``, with their dtype and on their device.

    The model is given a copy: one that modifies its input in place (``x.sub_(mean)``) would otherwise change the images
    that the attack continues with. If no gradients are wanted the output is copied too, without a graph: a model may
    return the same buffer each time.

    Args:
        model: Images in [0, 1] -> logits, or an output that holds them; see :func:`read_logits`.
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


@contextmanager
def fitting(model: Model, x: Tensor) -> Iterator[None]:
    """Context manager for a model's first pass: if it fails on images of this dtype or device only, it says so.

    This is found out by trying others on one image. Nothing is refused in advance, since a model may convert its images
    itself; and nothing is converted here, since candidates have the dtype of the images and their exact size.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...), float32 or float64.

    Raises:
        ValueError: ``expected ..., got ...`` if the model answers for such images of another dtype, or elsewhere.

    Example:
        >>> import torch
        >>> net, x = torch.nn.Linear(2, 3), torch.rand(1, 2, dtype=torch.float64)
        >>> with fitting(net, x):
        ...     ask(net, x)
        Traceback (most recent call last):
        ValueError: expected images of torch.float32, as the model takes them, got torch.float64: pass x.float()
    """
    try:
        yield
    except (RuntimeError, TypeError) as error:
        if message := _misfit(model, x[:1].detach()):
            raise ValueError(message) from error
        raise


def _misfit(model: Model, x: Tensor) -> str:
    """How images must be converted for a model to answer; empty if no conversion helps, or none is needed."""
    if not isinstance(model, torch.nn.Module):
        model = getattr(model, "wrapped", model)  # these passes belong to no image: a limit must not count them
    if _answers(model, x):
        return ""
    devices = dict.fromkeys((x.device, *_devices(model)))
    for device in devices:
        for dtype in dict.fromkeys((x.dtype, torch.float32, torch.float64, *_COARSE)):
            if _answers(model, x, device=device, dtype=dtype):
                return _described(x, device, dtype)
    return ""


def _described(x: Tensor, device: torch.device, dtype: torch.dtype) -> str:
    if device != x.device:
        return f"expected images on {device}, as the model takes them, got {x.device}: pass x.to({str(device)!r})"
    if dtype in _COARSE:
        way = f"pass a model that converts them itself, such as lambda x: model(x.to({dtype}))"
        return f"expected a model for images of {x.dtype}, got one for {dtype}: {way}"
    way = "x.float()" if dtype == torch.float32 else "x.double()"
    return f"expected images of {dtype}, as the model takes them, got {x.dtype}: pass {way}"


def _devices(model: Model) -> list[torch.device]:
    """Devices that a model may be on: that of its weights, or, for a function, those of this machine."""
    if isinstance(model, torch.nn.Module):
        return [tensor.device for tensor in (*model.parameters(), *model.buffers())]
    return [torch.device("cpu")] + ([torch.device("cuda")] if torch.cuda.is_available() else [])


def _answers(model: Model, x: Tensor, **changed: Any) -> bool:
    try:
        with torch.no_grad():
            model(x.to(**changed) if changed else x.clone())
    except Exception:  # a model may raise anything
        return False
    return True


def read_logits(answer: Any, count: int) -> Tensor:
    """The logits in a model's output.

    Supported are a tensor (N, C); a tuple or list whose first entry is one, as returned by torchvision's models with
    auxiliary heads; a mapping or an object with ``logits``, as in Hugging Face models, or a mapping with one entry; and
    (C,) for a single image, from a model that squeezes its output.

    Args:
        answer: What the model returned.
        count: N, the number of images in the query.

    Returns:
        Logits (N, C) as the model computed them, with its dtype and on its device.

    Raises:
        ValueError: ``expected ..., got ...`` if there are no logits of at least two classes for that many images.

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
    """The part of a model's output that should be logits, unchecked; see :func:`read_logits`.

    Args:
        answer: What the model returned.
        count: N, the number of images in the query.

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
    """Whether a model's outputs are probabilities: every row is nonnegative and sums to 1.

    The sum may differ from 1 by the rounding error of the coarsest dtype that could have held all of these values, as
    after a softmax in half precision or bfloat16. A row of logits may look like that by accident, more easily with
    fewer classes; with too few rows and classes to rule that out, the outputs count as logits.

    Args:
        answers: The outputs (N, C), of any float dtype.

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


def log_probabilities(model: Model) -> Model:
    """A model that returns the logarithms of its probabilities: logits, up to a constant per image.

    A probability that was rounded to zero counts as the smallest number above it, so that all outputs are finite.

    Args:
        model: Images in [0, 1] -> probabilities (N, C).

    Example:
        >>> import torch
        >>> log_probabilities(lambda x: x)(torch.tensor([[1.0, 0.0]]))
        tensor([[  0.0000, -87.3365]])
    """

    def answer(x: Tensor, /) -> Tensor:
        probabilities = ask(model, x)
        return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()

    # This lets checks see the networks inside the model.
    return update_wrapper(answer, model, assigned=(), updated=())


def _fits(values: Tensor, dtype: torch.dtype) -> bool:
    """Whether the values could come from a coarser dtype, that is, conversion to it changes none of them."""
    return bool((values.to(dtype).to(values.dtype) == values).all())


def _rounding(dtype: torch.dtype, classes: int) -> float:
    """Amount by which the sum of probabilities of a dtype, for a number of classes, may differ from 1."""
    known = torch.finfo(dtype)
    return float(known.eps + classes * known.smallest_normal * known.eps)

"""Checks that every attack makes before any work, and its first query with the clean images."""

import inspect
import math
from numbers import Integral, Real
from typing import Any, Protocol

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.goals.shared import check_goal
from attacks.losses import LOSSES, Loss
from attacks.norms import Norm
from attacks.protocols import Attack, Model
from attacks.queries.answers import ProbabilitiesError, are_probabilities, fitting, read_logits
from attacks.queries.gradients import Slope, first_look, forward, slope
from attacks.queries.modes import check_mode
from attacks.queries.plain import plain_number

_KINDS: dict[Any, tuple[Any, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "True or False"),
    str: (str, "a text"),
}
"""Annotation of a field -> the type of its value, and that type in words."""
_MADE_FOR = {"l0": "SPGD"}
"""Norm that few attacks support -> one that does."""


class InNorm(Protocol):
    """Anything that supports certain norms and works in one of them."""

    @property
    def norms(self) -> tuple[str, ...]:
        """Names of the norms it supports."""
        ...

    @property
    def norm(self) -> Norm:
        """The norm it works in."""
        ...


def check_parameters(attack: InNorm) -> None:
    """Check the fields of an attack: types are right, numbers are positive, loss and norm are supported.

    Numbers of other types are replaced by Python's own (:func:`attacks.queries.plain.plain_number`).

    Raises:
        ValueError: ``expected ..., got ...``, naming the attack and the field.

    Example:
        >>> from attacks import PGD, Linf
        >>> PGD(norm=Linf(), steps=0)
        Traceback (most recent call last):
        ValueError: expected steps of PGD > 0, got 0
    """
    name = type(attack).__name__
    kinds = inspect.get_annotations(type(attack))
    for field, value in list(vars(attack).items()):
        kind, word = _KINDS.get(kinds.get(field), (object, ""))
        if kind is not object and (plain := plain_number(value)) is not value:
            object.__setattr__(attack, field, value := plain)  # fields are frozen for users
        if not isinstance(value, kind) or (kind in (Integral, Real) and isinstance(value, bool)):
            raise ValueError(f"expected {field} of {name} to be {word}, got {value!r}")
        if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
            raise ValueError(f"expected {field} of {name} > 0, got {value}")
    loss = getattr(attack, "loss", "margin")
    if loss not in LOSSES:
        raise ValueError(f"expected loss of {name} to be one of {', '.join(LOSSES)}, got {loss!r}")
    check_norm(name, attack.norm, attack.norms)


def check_norm(name: str, norm: object, norms: tuple[str, ...]) -> None:
    """Check that an attack supports a norm.

    Args:
        name: The attack's name.
        norm: Value given as its norm.
        norms: Names of the norms it supports.

    Raises:
        ValueError: ``expected ..., got ...``

    Example:
        >>> from attacks import Linf
        >>> check_norm("DDN", Linf(), ("l2",))
        Traceback (most recent call last):
        ValueError: expected norm of DDN to be one of l2, got linf
    """
    if not isinstance(norm, Norm) or isinstance(norm, type):
        raise ValueError(f"expected norm of {name} to be a norm such as Linf(), got {norm!r}")
    if norm.name not in norms:
        instead = f": {_MADE_FOR[norm.name]} is made for it" if norm.name in _MADE_FOR else ""
        raise ValueError(f"expected norm of {name} to be one of {', '.join(norms)}, got {norm.name}{instead}")


def check_call(attack: Attack, eps: float | Tensor | None, seed: Any) -> None:
    """Check the arguments of an attack other than the model, the images and the goal.

    Raises:
        ValueError: ``expected ..., got ...`` if a budget attack gets no ``eps``, or the seed is not an integer.

    Example:
        >>> from attacks import PGD
        >>> check_call(PGD(), eps=None, seed=0)
        Traceback (most recent call last):
        ValueError: expected eps for a budget attack, got None
    """
    if attack.kind == "budget" and eps is None:
        raise ValueError("expected eps for a budget attack, got None")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise ValueError(f"expected seed to be a whole number, got {seed!r}")


def clean_logits(model: Model, x: Tensor, goal: Goal, norm: Norm, eps: float | Tensor | None) -> Tensor:
    """Check the arguments of an attack, then return the logits (N, C) of the clean images.

    Raises:
        ValueError: ``expected ..., got ...`` for images outside [0, 1], not finite, of an integer type or in half
            precision; a goal for another number of images, or on another device; an ``eps`` that is not positive or of
            the wrong scale; a model with batch norms in training mode, that takes images of another dtype or on another
            device, or that returns another shape, values that are not finite, or probabilities; a class that the model
            does not have.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x, goal = torch.rand(1, 3), Untargeted(torch.tensor([0]))
        >>> clean_logits(lambda x: x, x, goal, Linf(), eps=8)
        Traceback (most recent call last):
        ValueError: expected eps of at most 1 for linf (images are in [0, 1]), got 8: did you mean 8/255?
    """
    check_arguments(model, x, goal, norm, eps)
    with first_look(), fitting(model, x):
        logits = forward(model, x, goal)
    check_logits(logits, goal)
    return logits


def clean_slope(model: Model, x: Tensor, goal: Goal, norm: Norm, eps: float | Tensor | None, loss: Loss) -> Slope:
    """Like :func:`clean_logits`, with the loss of the clean images and its gradient from the same pass.

    Raises:
        ValueError: As :func:`clean_logits` and :func:`attacks.queries.gradients.slope` do.

    Example:
        >>> from attacks import Linf, Untargeted, losses
        >>> x, goal = torch.tensor([[0.9, 0.3]]), Untargeted(torch.tensor([0]))
        >>> clean_slope(lambda x: 2 * x, x, goal, Linf(), 0.1, losses.margin).gradient
        tensor([[ 2., -2.]])
    """
    check_arguments(model, x, goal, norm, eps)

    def checked(logits: Tensor, goal: Goal) -> Tensor:
        check_logits(logits, goal)
        return loss(logits, goal)

    with first_look(), fitting(model, x):
        return slope(model, x, goal, checked)


def check_arguments(model: Model, x: Tensor, goal: Goal, norm: Norm, eps: float | Tensor | None) -> None:
    """Check what can be checked before the model is queried.

    Raises:
        ValueError: As :func:`clean_logits` does for images, the goal's rows and device, ``eps`` and the model's mode.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> check_arguments(lambda x: x, torch.rand(2, 3), Untargeted(torch.tensor([0])), Linf(), eps=0.1)
        Traceback (most recent call last):
        ValueError: expected a goal for 2 images, got one for 1
    """
    check_images(x)
    check_goal(goal, x)
    if eps is not None:
        _check_eps(norm, eps, x)
    check_mode(model)


def check_eps(norm: Norm, eps: float) -> None:
    """Check an ``eps`` that is a single number, before the images are known.

    Raises:
        ValueError: If it is not positive, or of the wrong scale.

    Example:
        >>> from attacks import Linf
        >>> check_eps(Linf(), 8)
        Traceback (most recent call last):
        ValueError: expected eps of at most 1 for linf (images are in [0, 1]), got 8: did you mean 8/255?
    """
    _check_eps(norm, eps, torch.empty(0))


def check_logits(logits: Tensor, goal: Goal) -> None:
    """Check a model's output for the images of a goal.

    Raises:
        ValueError: If it is not finite logits (n, C) of at least two classes, or is probabilities, or if the goal names
            a class that does not exist.

    Example:
        >>> from attacks import Untargeted
        >>> check_logits(torch.tensor([[1.0, 2.0]]), Untargeted(torch.tensor([2])))
        Traceback (most recent call last):
        ValueError: expected labels from 0 to 1, got 2 to 2
    """
    logits = read_logits(logits, len(goal.ids))
    if not bool(logits.isfinite().all()):
        raise ValueError("expected finite logits, got NaN or infinity from the model")
    if are_probabilities(logits):
        raise ProbabilitiesError
    goal.check(logits.shape[1])


def check_size(x: Tensor, delta: Tensor) -> None:
    """Check that images (N, ...) have the size of their common perturbation (1, ...).

    Raises:
        ValueError: If their size differs.

    Example:
        >>> check_size(torch.rand(2, 3, 8, 7), torch.rand(1, 3, 8, 8))
        Traceback (most recent call last):
        ValueError: expected images of one size, got (3, 8, 8), then (3, 8, 7)
    """
    if x.shape[1:] != delta.shape[1:]:
        raise ValueError(f"expected images of one size, got {tuple(delta.shape[1:])}, then {tuple(x.shape[1:])}")


def check_planes(attack: object, x: Tensor) -> None:
    """Check that images have rows and columns, for an attack that needs them.

    Raises:
        ValueError: If they are not (N, C, H, W), or not images at all.

    Example:
        >>> from attacks import TIFGSM
        >>> check_planes(TIFGSM(), torch.rand(2, 12))
        Traceback (most recent call last):
        ValueError: expected images (N, C, H, W) for TIFGSM, got shape (2, 12)
    """
    check_images(x)
    if x.ndim != 4:
        raise ValueError(f"expected images (N, C, H, W) for {type(attack).__name__}, got shape {tuple(x.shape)}")


def check_images(x: Any, what: str = "images") -> None:
    """Check a batch of images.

    Args:
        x: Supposed images (N, ...), float32 or float64, in [0, 1].
        what: Name of the value in the message.

    Raises:
        ValueError: ``expected ..., got ...``

    Example:
        >>> check_images(torch.tensor([[0, 255]]))
        Traceback (most recent call last):
        ValueError: expected float images (N, ...), got torch.int64 with shape (1, 2): pass x.float(), divided by ...
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"expected float {what} (N, ...) as a tensor, got {type(x).__name__}")
    if x.ndim > 1 and not len(x):
        raise ValueError(f"expected at least one of the {what}, got shape {tuple(x.shape)}")
    if not x.dtype.is_floating_point or x.ndim < 2 or x.numel() == 0:
        way = "" if x.dtype.is_floating_point else ": pass x.float(), divided by the value of white, such as 255"
        raise ValueError(f"expected float {what} (N, ...), got {x.dtype} with shape {tuple(x.shape)}{way}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"expected {what} of float32 or float64, got {x.dtype}, too coarse for small perturbations: pass "
            f"x.float(), and a model that casts them itself, such as lambda x: model(x.to({x.dtype}))"
        )
    low, high = (float(bound) for bound in x.detach().aminmax())
    # A comparison with NaN is false, so this rejects NaN too.
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected {what} in [0, 1], got values from {low:g} to {high:g}")


def _check_eps(norm: Norm, eps: float | Tensor, x: Tensor) -> None:
    eps = plain_number(eps)
    if type(eps) is bool or not (isinstance(eps, Real | Tensor) or hasattr(eps, "__array__")):
        raise ValueError(f"expected eps as a number or of shape ({len(x)},), got {eps!r}")
    radius = torch.as_tensor(eps, dtype=torch.float64).detach()
    if radius.ndim and radius.shape != x.shape[:1]:
        raise ValueError(f"expected eps as a number or of shape ({len(x)},), got shape {tuple(radius.shape)}")
    least, most = (float(bound) for bound in radius.aminmax())
    if not (least > 0 and most < math.inf):
        raise ValueError(f"expected eps > 0 and finite, got {eps}")
    if norm.per_value and most > 1:
        worst = f"{most:g}"
        raise ValueError(
            f"expected eps of at most 1 for {norm.name} (images are in [0, 1]), got {worst}: did you mean {worst}/255?"
        )

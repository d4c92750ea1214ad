"""What every attack checks before any work, and its first look at the clean images."""

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.gradients import forward
from attacks.losses import LOSSES
from attacks.norms import Norm
from attacks.protocols import Attack, Model


def check_parameters(attack: Attack) -> None:
    """Check the fields of an attack: numbers are positive, the loss exists, the norm is one it is made for.

    Raises:
        ValueError: ``expected ..., got ...``, naming the attack and the field.

    Example:
        >>> from attacks import PGD, Linf
        >>> PGD(norm=Linf(), steps=0)
        Traceback (most recent call last):
        ValueError: expected steps of PGD > 0, got 0
    """
    name = type(attack).__name__
    for field, value in vars(attack).items():
        if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
            raise ValueError(f"expected {field} of {name} > 0, got {value}")
    loss = getattr(attack, "loss", "margin")
    if loss not in LOSSES:
        raise ValueError(f"expected loss of {name} to be one of {', '.join(LOSSES)}, got {loss!r}")
    if attack.norm.name not in attack.norms:
        raise ValueError(f"expected norm of {name} to be one of {', '.join(attack.norms)}, got {attack.norm.name}")


def clean_logits(model: Model, x: Tensor, goal: Goal, norm: Norm, eps: float | Tensor | None) -> Tensor:
    """Check the arguments of an attack, then the logits (N, C) of the clean images.

    Raises:
        ValueError: ``expected ..., got ...`` for images outside [0, 1], not finite or of an integer type; a goal for
            another number of images; an ``eps`` that is not positive or of the wrong scale; a model that returns
            another shape, values that are not finite, or probabilities; a class that the model does not have.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x, goal = torch.rand(1, 3), Untargeted(torch.tensor([0]))
        >>> clean_logits(lambda x: x, x, goal, Linf(), eps=8)
        Traceback (most recent call last):
        ValueError: expected eps of at most 1 for linf (images are in [0, 1]), got 8: did you mean 8/255?
    """
    _check_images(x)
    if len(goal.ids) != len(x):
        raise ValueError(f"expected a goal for {len(x)} images, got one for {len(goal.ids)}")
    if eps is not None:
        _check_eps(norm, eps, x)
    logits = forward(model, x, goal)
    _check_logits(logits, len(x))
    goal.check(logits.shape[1])
    return logits


def _check_images(x: Tensor) -> None:
    if not x.dtype.is_floating_point or x.ndim < 2 or x[0].numel() == 0:
        raise ValueError(f"expected float images (N, ...), got {x.dtype} with shape {tuple(x.shape)}")
    low, high = (float(bound) for bound in x.aminmax())
    # A comparison with NaN is false, so this refuses NaN too.
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected images in [0, 1], got values from {low:g} to {high:g}")


def _check_eps(norm: Norm, eps: float | Tensor, x: Tensor) -> None:
    radius = torch.as_tensor(eps, dtype=torch.float64)
    if radius.ndim and radius.shape != x.shape[:1]:
        raise ValueError(f"expected eps as a number or of shape ({len(x)},), got shape {tuple(radius.shape)}")
    if not bool((radius.isfinite() & (radius > 0)).all()):
        raise ValueError(f"expected eps > 0 and finite, got {eps}")
    if norm.name == "linf" and bool((radius > 1).any()):
        worst = f"{float(radius.max()):g}"
        raise ValueError(
            f"expected eps of at most 1 for linf (images are in [0, 1]), got {worst}: did you mean {worst}/255?"
        )


def _check_logits(logits: Tensor, count: int) -> None:
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:
        raise ValueError(f"expected logits of shape ({count}, number of classes >= 2), got {tuple(logits.shape)}")
    if not bool(logits.isfinite().all()):
        raise ValueError("expected finite logits, got NaN or infinity from the model")
    sums_to_one = ((logits.sum(1) - 1).abs() < 1e-5).all()
    if bool(sums_to_one & (logits >= 0).all()):
        raise ValueError(
            "expected logits, got probabilities (rows in [0, 1] that sum to 1): return the values before the softmax"
        )

"""Rounding to 8 bits that keeps an adversarial image adversarial."""

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.gradients import forward, slope
from attacks.losses import margin
from attacks.norms import Norm, column, descent
from attacks.protocols import Model

_WHITE = 255


def quantize(
    model: Model, x: Tensor, x_adv: Tensor, goal: Goal, norm: Norm, *, eps: float | None = None, steps: int = 20
) -> Tensor:
    """The 8-bit image near ``x_adv`` that still meets the goal.

    Smallest perturbations are often finer than a grey level, so rounding to the nearest one undoes them. Where it
    does, the image is moved on down the margin, always looking at the rounded image (a straight-through gradient),
    until that meets the goal. For Linf it may move by as few levels as ``x_adv`` does, rounded up; every ``steps``
    steps without success allow it one level more, up to ``eps``.

    Args:
        model: Images in [0, 1] -> logits.
        x: Clean images (N, ...), in [0, 1].
        x_adv: Adversarial images, shaped like ``x``.
        goal: What counts as fooled.
        norm: In which ``eps`` is measured.
        eps: Largest allowed size, image units; None: no bound.
        steps: Gradient steps before the next level is tried.

    Returns:
        Images whose values are multiples of 1/255. Where no 8-bit image was found that meets the goal within
        ``eps``, the nearest rounding that stays within it.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x, goal = torch.tensor([[102.0, 101.0]]) / 255, Untargeted(torch.tensor([0]))
        >>> x_adv = x + torch.tensor([[-0.6, 0.6]]) / 255
        >>> (quantize(lambda x: x, x, x_adv, goal, Linf()) * 255).round()
        tensor([[101., 102.]])
    """
    size = norm.measure(x_adv - x)
    reach = torch.full_like(size, torch.inf if eps is None else eps)
    first, last = _levels(norm, size, reach)
    best = _rounded(x, x_adv, torch.minimum(first, last))
    rows = (met(goal, forward(model, x_adv, goal)) & (first <= last)).nonzero().squeeze(1)
    z, step = x_adv[rows], 0
    while len(rows):
        x_q = _rounded(x[rows], z, first[rows] + step // steps)
        at = slope(model, x_q, goal.select(rows), margin)
        near = norm.measure(x_q - x[rows]) <= reach[rows] * (1 + 1e-5)
        done = near & met(goal.select(rows), at.logits)
        best[rows[done]] = x_q[done]
        z = z + descent(norm, x_q, at.gradient, size[rows].clamp_min(1 / _WHITE) / 4)
        step += 1
        left = ~done & (first[rows] + step // steps <= last[rows])
        rows, z = rows[left], z[left].clamp_(0, 1)
    return best


def _levels(norm: Norm, size: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """By how many levels a value may differ from the clean image, at first and at last: (N,), (N,)."""
    if norm.name != "linf":
        return torch.full_like(size, _WHITE), torch.full_like(size, _WHITE)
    first = (size * _WHITE - 1e-3).ceil().clamp_min(1)
    return first, (reach * _WHITE + 1e-3).floor().clamp_max(_WHITE)


def _rounded(x: Tensor, z: Tensor, level: Tensor) -> Tensor:
    """The multiples of 1/255 nearest to ``z`` among those within ``level`` (N,) levels of ``x`` in every value."""
    span = column(level, x)
    low = (x * _WHITE - span - 1e-3).ceil().clamp_min(0)
    high = (x * _WHITE + span + 1e-3).floor().clamp_max(_WHITE)
    return torch.clamp((z * _WHITE).round(), low, high) / _WHITE

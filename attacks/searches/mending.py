"""8-bit images that meet a goal, for models that round their images."""

import math

import torch
from torch import Tensor

from attacks.geometry.quantize import on_levels
from attacks.geometry.rows import column, flat, in_range
from attacks.goals import Goal
from attacks.objectives.gaps import soft_maximum
from attacks.protocols import Model
from attacks.queries.gradients import slope

_WHITE = 255
_MOMENTUM = 0.75
_FIRST, _LAST = 0.5, 0.1
_TEMPERATURE = 0.5


def mend(model: Model, x: Tensor, x_adv: Tensor, goal: Goal, first: Tensor, last: Tensor, *, steps: int) -> Tensor:
    """Find 8-bit images near ``x_adv`` that meet the goal, moving values by as few levels as possible.

    Every step queries the model with the image as it would be stored, and follows the model's gradient, which has to
    pass through the model's own rounding. An image that meets the goal is finished; the others get one more level every
    ``steps`` steps.

    Args:
        model: Images in [0, 1] -> logits.
        x: Clean images (N, ...), in [0, 1].
        x_adv: Starting points, shaped like ``x``.
        goal: Success criterion for these images.
        first: Number of levels a value may move at first, integers (N,).
        last: Number of levels at the end (N,).
        steps: Number of gradients for each number of levels.

    Returns:
        Images whose values are multiples of 1/255: where none met the goal, the one closest to it.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[102.0, 101.0]]) / 255, Untargeted(torch.tensor([0]))
        >>> one = torch.tensor([1.0])
        >>> (mend(lambda x: x, x, x, goal, one, one, steps=5) * 255).round()
        tensor([[101., 102.]])
    """
    levels, z, drift = first.clone(), x_adv, torch.zeros_like(x)
    best, lowest = on_levels(x, x_adv, levels), torch.full_like(first, torch.inf)
    rows, step = (last >= 1).nonzero().squeeze(1), 0
    z, drift = z[rows], drift[rows]
    while len(rows):
        done = step % steps / steps
        z = _within(x[rows], z, levels[rows])
        x_q = on_levels(x[rows], z, levels[rows])
        at = slope(model, x_q, goal.select(rows), _loss)
        better = at.fooled | (at.loss < lowest[rows])
        best[rows[better]], lowest[rows[better]] = x_q[better], at.loss[better]
        drift = _MOMENTUM * drift + (1 - _MOMENTUM) * _of_one_length(at.gradient)
        pace = _LAST + (_FIRST - _LAST) * (1 + math.cos(math.pi * done)) / 2
        z = z - column(pace * levels[rows] / _WHITE, z) * drift.sign()
        step += 1
        if step % steps == 0:
            levels = levels + 1
        still = (~at.fooled & (levels[rows] <= last[rows])).nonzero().squeeze(1)
        rows, z, drift = rows[still], z[still], drift[still]
    return best


def _loss(logits: Tensor, goal: Goal) -> Tensor:
    """All gaps of the goal at once, with the most weight on those still open."""
    gaps = goal.gaps(logits)
    return soft_maximum(gaps, torch.full_like(gaps[:, 0], _TEMPERATURE))


def _of_one_length(gradient: Tensor) -> Tensor:
    gradient = in_range(gradient)
    size = flat(gradient).abs().mean(1).clamp_min(1e-30)
    return gradient / column(size, gradient)


def _within(x: Tensor, z: Tensor, levels: Tensor) -> Tensor:
    span = column(levels / _WHITE, x)
    return torch.maximum(torch.minimum(z, x + span), x - span).clamp(0, 1)

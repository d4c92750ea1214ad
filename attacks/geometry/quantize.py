"""Rounding to 8 bits that keeps an adversarial image adversarial."""

import torch
from torch import Tensor

from attacks.geometry.ball import keeps_to, radii
from attacks.geometry.rows import column
from attacks.goals import Goal, met
from attacks.goals.shared import check_tensor
from attacks.losses import margin
from attacks.norms import Norm
from attacks.protocols import Model
from attacks.queries.derivatives import NoGradientError
from attacks.queries.gradients import exact_form, forward, slope
from attacks.queries.inputs import check_arguments
from attacks.searches.bisection import Bisection
from attacks.searches.nearest import Nearest

_WHITE = 255
_FACTORS = 14
_ROUNDING = 1e-4  # rounding error of float32 values up to 255, with room to spare


def quantize(
    model: Model,
    x: Tensor,
    x_adv: Tensor,
    goal: Goal,
    norm: Norm,
    *,
    eps: float | Tensor | None = None,
    steps: int = 20,
) -> Tensor:
    """Find an 8-bit image near ``x_adv`` that still meets the goal.

    Minimal perturbations are often smaller than a grey level, so rounding to the nearest level undoes them. In L2, L1
    and L0 the perturbation is scaled up until enough of its largest values survive the rounding; the factor is found by
    bisection. If scaling does not help, and for Linf, the image descends the margin further, evaluated at the rounded
    image (a straight-through gradient), until that meets the goal. For Linf it may move by as many levels as ``x_adv``
    does, rounded up; every ``steps`` steps without success allow one level more, up to ``eps``. For a model without a
    gradient the perturbation is scaled in Linf too.

    If ``x_adv`` does not meet the goal there is nothing to preserve, and no search. But for a model that rounds its
    images, such as one that reads files, an image may fail although an 8-bit image next to it succeeds: if the model
    has a form without rounding, as its ``exact_form``, that form is checked too.

    Args:
        model: Images in [0, 1] -> logits.
        x: Clean images (N, ...), in [0, 1].
        x_adv: Adversarial images, shaped like ``x``.
        goal: Success criterion for these images.
        norm: The norm in which ``eps`` is measured.
        eps: Largest allowed size, image units, a number or (N,); None: no bound.
        steps: Number of gradient steps before the next level is tried.

    Raises:
        ValueError: As attacks do for invalid images, goals, ``eps`` and models.

    Returns:
        Images whose values are multiples of 1/255. If no 8-bit image within ``eps`` was found that meets the goal, the
        nearest rounding within it.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x, goal = torch.tensor([[102.0, 101.0]]) / 255, Untargeted(torch.tensor([0]))
        >>> x_adv = x + torch.tensor([[-0.6, 0.6]]) / 255
        >>> (quantize(lambda x: x, x, x_adv, goal, Linf()) * 255).round()
        tensor([[101., 102.]])
    """
    check_arguments(model, x, goal, norm, eps)
    check_tensor("adversarial images", x_adv, "a tensor (N, ...)")
    if x_adv.shape != x.shape:
        raise ValueError(f"expected adversarial images of shape {tuple(x.shape)}, got {tuple(x_adv.shape)}")
    x, x_adv = x.detach(), x_adv.detach()
    size = norm.measure(x_adv - x)
    reach = radii(eps, x_adv)
    first, last = _levels(norm, size, reach)
    best = on_levels(x, x_adv, torch.minimum(first, last))
    best = torch.where(column(_beyond(norm, x, best, reach), x), _inwards(x, x_adv), best)
    rows = (_met(model, x_adv, goal) & (first <= last)).nonzero().squeeze(1)
    if not norm.per_value:
        stretched = _stretched(model, x[rows], x_adv[rows], goal.select(rows), norm, reach[rows], last[rows])
        best[rows[stretched.found]] = stretched.x_adv[stretched.found]
        rows = rows[~stretched.found]
    z, room, step = x_adv[rows], reach[rows], 0
    while len(rows):
        x_q = on_levels(x[rows], z, first[rows] + step // steps)
        try:
            at = slope(model, x_q, goal.select(rows), margin)
        except NoGradientError:
            if norm.per_value:
                stretched = _stretched(model, x[rows], x_adv[rows], goal.select(rows), norm, reach[rows], last[rows])
                best[rows[stretched.found]] = stretched.x_adv[stretched.found]
            break
        beyond = _beyond(norm, x[rows], x_q, reach[rows])
        done = ~beyond & at.fooled
        best[rows[done]] = x_q[done]
        # Rounding lengthens a perturbation; the next one gets that much less room.
        room = torch.where(beyond, room * reach[rows] / norm.measure(x_q - x[rows]), room)
        z = norm.within(x[rows], z + norm.step(x_q, at.gradient, size[rows].clamp_min(1 / _WHITE) / 4), room)
        step += 1
        still = ~done & (first[rows] + step // steps <= last[rows])
        rows, z, room = rows[still], z[still], room[still]
    return best


def _met(model: Model, x_adv: Tensor, goal: Goal) -> Tensor:
    """Which images meet the goal, for the model or for its form without rounding, bool (N,)."""
    fooled, smooth = met(goal, forward(model, x_adv, goal)), exact_form(model)
    if smooth is None or bool(fooled.all()):
        return fooled
    return fooled | met(goal, forward(smooth, x_adv, goal))


def _stretched(model: Model, x: Tensor, x_adv: Tensor, goal: Goal, norm: Norm, reach: Tensor, level: Tensor) -> Nearest:
    """The nearest roundings of scaled perturbations that meet the goal, by bisection over the scale.

    No value is moved by more than ``level`` (n,) levels of grey.
    """
    best, delta = Nearest(x, norm, reach), x_adv - x
    search = Bisection(torch.full_like(reach, 0.5))
    for _ in range(_FACTORS if len(x) else 0):
        x_q = on_levels(x, x + column(search.value, x) * delta, level)
        fooled = met(goal, forward(model, x_q, goal))
        best.offer(x_q, fooled)
        search.tell(fooled)
    return best


def _beyond(norm: Norm, x: Tensor, x_q: Tensor, reach: Tensor) -> Tensor:
    """Which images are further from ``x`` than ``reach`` (N,), rounding errors aside: bool (N,)."""
    return ~keeps_to(norm.measure(x_q - x), reach)


def _levels(norm: Norm, size: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Number of levels by which a value may differ from the clean image, initially and finally: (N,), (N,)."""
    if not norm.per_value:
        return torch.full_like(size, _WHITE), torch.full_like(size, _WHITE)
    first = (size * _WHITE - _ROUNDING).ceil().clamp_min(1)
    return first, (reach * _WHITE + _ROUNDING).floor().clamp_max(_WHITE)


def on_levels(x: Tensor, z: Tensor, level: Tensor) -> Tensor:
    """The multiples of 1/255 nearest to ``z`` among those within ``level`` (N,) levels of ``x`` in every value.

    Example:
        >>> on_levels(torch.tensor([[0.4, 0.4]]), torch.tensor([[0.402, 0.5]]), torch.tensor([1.0])) * 255
        tensor([[103., 103.]])
    """
    grey, span = x * _WHITE, column(level, x)
    # If no multiple lies within the level, the one nearest to the clean value.
    low = torch.minimum((grey - span - _ROUNDING).ceil(), grey.round()).clamp_min(0)
    high = torch.maximum((grey + span + _ROUNDING).floor(), grey.round()).clamp_max(_WHITE)
    return torch.clamp((z * _WHITE).round(), low, high) / _WHITE


def _inwards(x: Tensor, z: Tensor) -> Tensor:
    """``z`` with every value rounded to a multiple of 1/255 towards ``x``, at most to the multiple nearest to ``x``."""
    grey, nearest = z * _WHITE, (x * _WHITE).round()
    up, down = (grey + _ROUNDING).floor().maximum(nearest), (grey - _ROUNDING).ceil().minimum(nearest)
    return torch.where(z > x, up, down).clamp(0, _WHITE) / _WHITE

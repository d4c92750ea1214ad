"""The shortest path from an image to a hyperplane within [0, 1].

References:
    Croce and Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack
    <https://arxiv.org/abs/1907.02044>, 2020; there the root is found by sorting.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from attacks.geometry.box import room
from attacks.geometry.rows import flat

_ROUNDS, _TINY = 64, 1e-30


def one_after_another(x: Tensor, normal: Tensor, rise: Tensor, worth: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The perturbation that moves the highest-ranked values to 0 or 1, the last one only part of the way.

    It is the smallest one in L1, where values are ranked by their gain per unit of movement, and in L0, where they are
    ranked by their total gain.

    Args:
        x: Images (n, ...) in [0, 1].
        normal: Normals of the hyperplanes (n, ...).
        rise: Desired inner products with the normals (n,), of either sign.
        worth: Gain per unit of each value's movement, and how far it can move, both (n, D) -> ranking score (n, D).

    Returns:
        Perturbations (n, ...); where [0, 1] does not reach the hyperplane, those that get closest to it.

    Example:
        >>> x, normal = torch.tensor([[0.5, 0.75]]), torch.tensor([[1.0, 2.0]])
        >>> one_after_another(x, normal, torch.tensor([0.75]), lambda steepness, span: steepness)
        tensor([[0.2500, 0.2500]])
    """
    weight, rise = _fair(flat(normal) * rise.sign().unsqueeze(1), rise.abs().unsqueeze(1))
    span, steepness = room(x, weight), weight.abs()
    order = worth(steepness, span).argsort(dim=1, descending=True, stable=True)
    gain = (steepness * span).gather(1, order)
    missing = (rise - (gain.cumsum(1) - gain)).clamp_min(0)
    part = (missing / gain.clamp_min(_TINY)).clamp_max(1)
    size = torch.zeros_like(span).scatter(1, order, part) * span
    return (size * weight.sign()).view_as(x)


def all_at_once(x: Tensor, normal: Tensor, rise: Tensor, speed: Callable[[Tensor], Tensor]) -> Tensor:
    """The perturbation that moves every value in proportion to one common number, until it reaches 0 or 1.

    It is the smallest one in Linf, where all values move at the same speed, and in L2, where each moves in proportion
    to its weight. The number is the root of a concave, piecewise linear function, which Newton's method finds from
    below.

    Args:
        x: Images (n, ...) in [0, 1].
        normal: Normals of the hyperplanes (n, ...).
        rise: Desired inner products with the normals (n,), of either sign.
        speed: Weight of each value (n, D), not negative -> its speed (n, D).

    Returns:
        Perturbations (n, ...); where [0, 1] does not reach the hyperplane, those that get closest to it.

    Example:
        >>> x, normal = torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 2.0]])
        >>> all_at_once(x, normal, torch.tensor([0.45]), torch.sign)
        tensor([[0.2500, 0.1000]])
    """
    weight, rise = _fair(flat(normal) * rise.sign().unsqueeze(1), rise.abs().unsqueeze(1))
    span, steepness = room(x, weight), weight.abs()
    pace = speed(steepness)
    time, size = torch.zeros_like(rise), torch.zeros_like(span)
    enough = 4 * torch.finfo(rise.dtype).eps * rise
    done = rise <= 0
    for _ in range(_ROUNDS):
        missing = rise - (steepness * size).sum(1, keepdim=True)
        slope = (steepness * pace * (size < span)).sum(1, keepdim=True)
        done = done | (missing <= enough) | (slope <= 0)
        if bool(done.all()):
            break
        # The function is concave, so its tangent lies above it, and the step never goes beyond the root.
        time = torch.where(done, time, time + missing / slope.clamp_min(_TINY))
        size = torch.minimum(time * pace, span)
    return (size * weight.sign()).view_as(x)


def _fair(weight: Tensor, rise: Tensor) -> tuple[Tensor, Tensor]:
    """Rescale hyperplanes, normals (n, D) and rises (n, 1), whose products would overflow or underflow."""
    largest = weight.abs().amax(1, keepdim=True)
    if bool(((largest > 1e-12) & (largest < 1e12)).all()):
        return weight, rise
    factor = torch.where((largest > 0) & ((largest <= 1e-12) | (largest >= 1e12)), largest, 1)
    return weight / factor, rise / factor

"""The shortest way from an image to a hyperplane, without leaving [0, 1].

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
    """The perturbation in which the values that are worth most move to their ends, the last of them only in part.

    It is the smallest one in L1, where a value is worth what it gains per unit of its move, and in L0, where it is
    worth what it gains in all.

    Args:
        x: Images (n, ...) in [0, 1].
        normal: Normals of the hyperplanes (n, ...).
        rise: Inner products with the normals that are wanted (n,), of either sign.
        worth: Gain per unit of each value's move, and how far it can move, both (n, D) -> what ranks the values (n, D).

    Returns:
        Perturbations (n, ...); where [0, 1] does not reach the hyperplane, those that come closest to it.

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
    """The perturbation in which every value moves in proportion to one number, until it reaches its end.

    It is the smallest one in Linf, where all values move alike, and in L2, where each moves as fast as it counts. The
    number is the root of a concave, piecewise linear function, which Newton's method finds from below.

    Args:
        x: Images (n, ...) in [0, 1].
        normal: Normals of the hyperplanes (n, ...).
        rise: Inner products with the normals that are wanted (n,), of either sign.
        speed: How much each value counts (n, D), not negative -> how fast it moves (n, D).

    Returns:
        Perturbations (n, ...); where [0, 1] does not reach the hyperplane, those that come closest to it.

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
        # The function is concave, so its tangent lies above it: the step never goes beyond the root.
        time = torch.where(done, time, time + missing / slope.clamp_min(_TINY))
        size = torch.minimum(time * pace, span)
    return (size * weight.sign()).view_as(x)


def _fair(weight: Tensor, rise: Tensor) -> tuple[Tensor, Tensor]:
    """The same hyperplanes, normals (n, D) and rises (n, 1), where products of their numbers would not be numbers."""
    largest = weight.abs().amax(1, keepdim=True)
    if bool(((largest > 1e-12) & (largest < 1e12)).all()):
        return weight, rise
    factor = torch.where((largest > 0) & ((largest <= 1e-12) | (largest >= 1e12)), largest, 1)
    return weight / factor, rise / factor

"""The shortest way from an image to a hyperplane, without leaving [0, 1]."""

import torch
from torch import Tensor

from attacks.norms import L1, L2, Norm, flat


def reach(norm: Norm, x: Tensor, normal: Tensor, rise: Tensor) -> Tensor:
    """The smallest perturbation whose inner product with ``normal`` is ``rise``.

    In Linf and L2 each value moves in proportion to one number, until it reaches its end; that number is the root of a
    concave, piecewise linear function, which Newton's method finds from below. In L1 the values that count most
    move to their ends, one after another.

    References:
        Croce and Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack
        <https://arxiv.org/abs/1907.02044>, 2020; there the root is found by sorting.

    Args:
        norm: Linf, L2 or L1.
        x: Images (n, ...) in [0, 1].
        normal: Normals of the hyperplanes (n, ...).
        rise: The inner products wanted (n,), of either sign.

    Returns:
        Perturbations (n, ...); where [0, 1] does not reach the hyperplane, those that come closest to it.

    Example:
        >>> from attacks import Linf
        >>> reach(Linf(), torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 2.0]]), torch.tensor([0.45]))
        tensor([[0.2500, 0.1000]])
    """
    weight = flat(normal) * rise.sign().unsqueeze(1)
    room = torch.where(weight > 0, 1 - flat(x), flat(x))
    steepness, rise = weight.abs(), rise.abs().unsqueeze(1)
    size = _fill(steepness, room, rise) if isinstance(norm, L1) else _stretch(norm, steepness, room, rise)
    return (size * weight.sign()).view_as(x)


def _fill(steepness: Tensor, room: Tensor, rise: Tensor) -> Tensor:
    """L1: the steepest values first, the last of them only in part."""
    order = steepness.argsort(dim=1, descending=True, stable=True)
    gain = (steepness * room).gather(1, order)
    missing = (rise - (gain.cumsum(1) - gain)).clamp_min(0)
    part = (missing / gain.clamp_min(_TINY)).clamp_max(1)
    return torch.zeros_like(room).scatter(1, order, part) * room


def _stretch(norm: Norm, steepness: Tensor, room: Tensor, rise: Tensor) -> Tensor:
    """Linf and L2: all values at once, each at its own speed."""
    speed = steepness if isinstance(norm, L2) else (steepness > 0).to(steepness)
    time, size = torch.zeros_like(rise), torch.zeros_like(room)
    enough = 4 * torch.finfo(rise.dtype).eps * rise
    done = rise <= 0
    for _ in range(_ROUNDS):
        missing = rise - (steepness * size).sum(1, keepdim=True)
        slope = (steepness * speed * (size < room)).sum(1, keepdim=True)
        done = done | (missing <= enough) | (slope <= 0)
        if bool(done.all()):
            break
        time = torch.where(done, time, time + missing / slope.clamp_min(_TINY))
        size = torch.minimum(time * speed, room)
    return size


_ROUNDS, _TINY = 64, 1e-30

"""Basin hopping: kick the best point out of its basin, descend again, keep improvements."""

from collections.abc import Iterator

import torch
from torch import Tensor

from attacks.geometry.rows import column
from attacks.losses import margin
from attacks.searches.draws import derive, scaled, uniform
from attacks.searches.lowest import Lowest, side_by_side
from attacks.searches.momentum import accumulate
from attacks.searches.track import Survivors

LEAST, MOST = 0.05, 0.5
"""Range of the fraction of values that a kick changes, log-uniform."""
DECAY = 0.75
"""Weight of the earlier gradients in a step."""


def rounds(hops: int, growth: float = 0.5) -> Iterator[tuple[int, int]]:
    """Yield the number of hops each image has done, and the number it does next, side by side.

    Args:
        hops: Total number of hops.
        growth: Number of next hops per hop done; at least one hop is next.

    Example:
        >>> list(rounds(10))
        [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (6, 3), (9, 1)]
    """
    done = 0
    while done < hops:
        now = min(max(1, int(growth * done)), hops - done)
        yield done, now
        done += now


def kick(active: Survivors, x_adv: Tensor, seed: int, count: int = 1) -> Tensor:
    """Replace some values of each image, chosen at random, by those of a random point on the ball's surface.

    Args:
        active: The active images, and their budgets.
        x_adv: The points to kick (n, ...).
        seed: The seed of all random draws.
        count: Number of independent kicks of each point.

    Returns:
        Points in the ball and in [0, 1], those of an image side by side (n * count, ...).

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x = torch.full((1, 1000), 0.5)
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), Linf(), eps=0.1)
        >>> moved = (kick(active, x, seed=0) - x).abs()
        >>> bool(moved.max() <= 0.1 + 1e-6)
        True
        >>> bool(0.02 < moved.bool().float().mean() < 0.53)
        True
    """
    kicked = [_kick(active, x_adv, derive(seed, 2 * i), derive(seed, 2 * i + 1)) for i in range(count)]
    return torch.stack(kicked, 1).flatten(0, 1)


def _kick(active: Survivors, x_adv: Tensor, seed: int, other: int) -> Tensor:
    ids, shape = active.goal.ids, x_adv.shape[1:]
    share = scaled(uniform(seed, ids, 0, ()), LEAST, MOST)
    chosen = uniform(seed, ids, 1, shape) < column(share, x_adv)
    far = active.norm.steepest(active.norm.random(shape, active.eps, other, ids, 0).to(x_adv), active.eps)
    return active.norm.within(active.x, torch.where(chosen, active.x + far, x_adv), active.eps)


def hop(active: Survivors, best: Lowest, seed: int, *, kicks: int = 1, steps: int = 10) -> None:
    """Kick the best points and descend from there, with momentum and ever shorter steps.

    Images that are fooled leave; better points are stored in ``best``.

    Args:
        active: The active images.
        best: The best points so far.
        seed: The seed of all random draws.
        kicks: Number of walks per image, side by side.
        steps: Number of gradient steps of a walk; the first is half of ``eps`` long.

    References:
        Wales and Doye, Global optimization by basin-hopping <https://arxiv.org/abs/cond-mat/9803344>, 1997.
    """
    for part, crowd, found in side_by_side(active, best, kicks):
        _walk(crowd, found, kick(part, best.of(part), seed, kicks), steps)


def _walk(active: Survivors, best: Lowest, x_adv: Tensor, steps: int) -> None:
    sum_ = torch.zeros_like(x_adv)
    for step in range(steps):
        if not len(active):
            return
        at = active.slope(x_adv, margin)
        x_adv, gradient, sum_ = best.offer(active, x_adv, at.logits, at.gradient, sum_)
        sum_ = accumulate(sum_, gradient, DECAY)
        length = 0.5 * (1 - step / steps) * active.eps
        x_adv = active.ball.nearest(x_adv + active.norm.step(x_adv, sum_, length))
    best.look(active, x_adv)

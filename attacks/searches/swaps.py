"""Descent in L0: values that promise most take the places of those that do least, ever fewer at a time."""

import torch
from torch import Tensor

from attacks.geometry.box import room
from attacks.geometry.rows import flat
from attacks.losses import Loss
from attacks.searches.draws import scaled, uniform
from attacks.searches.lowest import Lowest
from attacks.searches.momentum import accumulate
from attacks.searches.track import Survivors

LEAST, MOST = 0.3, 1.0
"""Share of the changed values that a kick exchanges: between these, small ones as likely as large ones."""
_TINY = 1e-30


def descend(
    active: Survivors,
    best: Lowest,
    x_adv: Tensor,
    loss: Loss,
    steps: int,
    *,
    share: float = 0.5,
    decay: float = 0.75,
) -> None:
    """Exchange changed values for others along the gradient, with momentum.

    If the loss were linear, the best point would have the ``eps`` values changed that gain most, each moved to an end
    of [0, 1]. A step goes there as far as a number of moves reaches: the values that promise most are moved to their
    ends, and those whose change does least go back to the clean image. The first step has a share of ``eps`` for its
    moves, the last a single one.

    Args:
        active: The images, their budgets, and the aim that is descended.
        best: Keeps the points with the lowest margin.
        x_adv: Where to start (n, ...).
        loss: The loss of the aim.
        steps: Number of gradient steps.
        share: Moves of the first step, as a share of ``eps``.
        decay: Weight of the earlier gradients.
    """
    sum_ = torch.zeros_like(x_adv)
    for step in range(steps):
        if not len(active):
            return
        at = active.slope(x_adv, loss)
        x_adv, gradient, sum_ = best.offer(active, x_adv, at.logits, at.gradient, sum_)
        sum_ = accumulate(sum_, gradient, decay)
        moves = (share * (1 - step / steps) * active.eps).clamp_min(1)
        x_adv = exchanged(active, x_adv, sum_, moves)
    best.look(active, x_adv)


def exchanged(active: Survivors, x_adv: Tensor, gradient: Tensor, moves: Tensor) -> Tensor:
    """Points (n, ...) after at most ``moves`` (n,) values have been moved against a gradient.

    Example:
        >>> from attacks import L0, Untargeted
        >>> x = torch.tensor([[0.5, 0.5, 0.5]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), L0(), eps=1)
        >>> exchanged(active, torch.tensor([[0.0, 0.5, 0.5]]), torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([1.0]))
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    gain = (gradient.abs() * room(active.x, -flat(gradient)).view_as(gradient)).clamp_min(_TINY)
    has = gradient * (active.x - x_adv)
    moved = active.norm.project(gain - has, moves) != 0
    ends = (gradient < 0).to(active.x)
    worth = torch.where(moved, gain, torch.where(x_adv != active.x, has.clamp_min(_TINY), 0))
    kept = active.norm.project(worth, active.eps) > 0
    return torch.where(kept, torch.where(moved, ends, x_adv), active.x)


def kick(active: Survivors, x_adv: Tensor, seed: int) -> Tensor:
    """Points (n, ...) with some of their changed values put back, and as many others changed: all at random.

    Example:
        >>> from attacks import L0, Untargeted
        >>> x = torch.full((1, 100), 0.5)
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), L0(), eps=10)
        >>> bool(3 <= (kick(active, x, seed=0) != x).sum() <= 10)
        True
    """
    share = scaled(uniform(seed, active.goal.ids, 0, ()), LEAST, MOST).to(active.eps)
    random, ends = values_and_ends(active.x, seed, active.goal.ids, 1)
    return replaced(active, x_adv, random, ends, (share * active.eps).floor().clamp_min(1))


def replaced(active: Survivors, x_adv: Tensor, random: Tensor, ends: Tensor, count: Tensor) -> Tensor:
    """Points (n, ...) with other values changed than before.

    Args:
        active: The images and their budgets.
        x_adv: The points (n, ...), within the budgets.
        random: A number above 0 for each value (n, ...): the largest of the changed ones are put back, the largest of
            the others are changed.
        ends: What those are changed to (n, ...).
        count: How many are changed (n,), at most ``eps``; as many are put back, or fewer where ``eps`` was not spent.
    """
    changed, most = x_adv != active.x, active.eps.floor()
    entering = active.norm.project(torch.where(changed, 0, random), torch.minimum(count, most)) > 0
    unspent = most - flat(changed).sum(1)
    leaving = active.norm.project(torch.where(changed, random, 0), (flat(entering).sum(1) - unspent).clamp_min(0)) > 0
    return torch.where(entering, ends, torch.where(leaving, active.x, x_adv))


def values_and_ends(x: Tensor, seed: int, ids: Tensor, draw: int) -> tuple[Tensor, Tensor]:
    """A random number above 0 for each value of images (n, ...), and a random end of [0, 1] where it is not yet."""
    random = uniform(seed, ids, draw, x.shape[1:])
    # The last of the 24 bits, which has no part in the order of the numbers.
    upper = ((random * 2**24).int() & 1).bool()
    return random.to(x) + 2.0**-25, (upper ^ (x == upper)).to(x)

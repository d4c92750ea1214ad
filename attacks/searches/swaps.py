"""Descent in L0: the most promising values replace the least effective changes, ever fewer at a time."""

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
"""Range of the fraction of changed values that a kick exchanges, log-uniform."""
SHARE, DECAY = 0.5, 0.75
"""Number of moves in a descent's first step, as a fraction of the values that may change; and the weight of earlier
gradients."""
_TINY = 1e-30


def descend(active: Survivors, best: Lowest, x_adv: Tensor, loss: Loss, steps: int) -> None:
    """Exchange changed values for others along the gradient, with momentum.

    If the loss were linear, the best point would change the ``eps`` values with the largest gain, each to 0 or 1. A
    step goes in that direction with a limited number of moves: the most promising values are moved to 0 or 1, and the
    least effective changes are undone. The first step makes a fraction of ``eps`` moves, the last a single one.

    Args:
        active: The images, their budgets, and the aim to descend.
        best: Store of the points with the lowest margin.
        x_adv: Starting points (n, ...).
        loss: The loss of the aim.
        steps: Number of gradient steps.
    """
    sum_ = torch.zeros_like(x_adv)
    for step in range(steps):
        if not len(active):
            return
        at = active.slope(x_adv, loss)
        x_adv, gradient, sum_ = best.offer(active, x_adv, at.logits, at.gradient, sum_)
        sum_ = accumulate(sum_, gradient, DECAY)
        moves = (SHARE * (1 - step / steps) * active.eps).clamp_min(1)
        x_adv = exchanged(active, x_adv, sum_, moves)
    best.look(active, x_adv)


def exchanged(active: Survivors, x_adv: Tensor, gradient: Tensor, moves: Tensor) -> Tensor:
    """Points (n, ...) after moving at most ``moves`` (n,) values against a gradient.

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
    """Points (n, ...) with some changed values, chosen at random, restored, and as many others changed.

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
    """Points (n, ...) with different values changed than before.

    Args:
        active: The images and their budgets.
        x_adv: The points (n, ...), within the budgets.
        random: A number above 0 for each value (n, ...): the largest among changed values are restored, the largest
            among the others are changed.
        ends: New values of those changed (n, ...).
        count: Number of values to change (n,), at most ``eps``; as many are restored, or fewer if ``eps`` was not
            spent.
    """
    changed, most = x_adv != active.x, active.eps.floor()
    entering = active.norm.project(torch.where(changed, 0, random), torch.minimum(count, most)) > 0
    unspent = most - flat(changed).sum(1)
    leaving = active.norm.project(torch.where(changed, random, 0), (flat(entering).sum(1) - unspent).clamp_min(0)) > 0
    return torch.where(entering, ends, torch.where(leaving, active.x, x_adv))


def values_and_ends(x: Tensor, seed: int, ids: Tensor, draw: int) -> tuple[Tensor, Tensor]:
    """A random number above 0 for each value of images (n, ...), and a random one of 0 and 1 that it is not yet."""
    random = uniform(seed, ids, draw, x.shape[1:])
    # Uses the last of the 24 bits, which does not affect the order of the numbers.
    upper = ((random * 2**24).int() & 1).bool()
    return random.to(x) + 2.0**-25, (upper ^ (x == upper)).to(x)

"""Fewer changed values in L0: descents with a smaller budget than the nearest adversarial image needs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.losses import margin
from attacks.queries.gradients import forward
from attacks.searches.draws import derive
from attacks.searches.momentum import accumulate
from attacks.searches.nearest import Nearest
from attacks.searches.swaps import DECAY, SHARE, exchanged, kick
from attacks.searches.track import Survivors

LENGTH = 20
"""Forward passes of each descent; the last one needs no gradient."""
UNKNOWN = 0.25
"""Fraction of all values that may change while no adversarial image is known."""


def fewer(active: Survivors, best: Nearest, ways: Sequence[Goal], steps: int, seed: int) -> None:
    """Descend the margin by exchanging values, always with fewer values than are known to suffice.

    The first descent starts at the nearest adversarial image without its least effective change, each later one at the
    nearest image with a random share of its changes undone and others made (:func:`attacks.searches.swaps.kick`). A
    step exchanges values along the gradient, as :func:`attacks.searches.swaps.descend` does. Whenever an image is
    fooled, fewer values may change, and the descent continues. The decrement doubles each time, and is halved by every
    step that does not fool, down to one: if far too many values are changed at first, removing them one by one would
    take too long.

    Args:
        active: The images; none of them is removed.
        best: The nearest adversarial images so far; nearer ones are stored in it.
        ways: Objectives to descend, one after another: the goal, or goals that imply it.
        steps: Number of forward passes.
        seed: The seed of the random changes.

    Example:
        >>> from attacks import L0, Untargeted
        >>> x = torch.tensor([[0.6, 0.5, 0.4, 0.3]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), L0(), eps=None)
        >>> best = Nearest(active.x, L0(), active.eps)
        >>> found = best.offer(torch.tensor([[0.0, 1.0, 1.0, 0.3]]), torch.tensor([True]))
        >>> fewer(active, best, [active.goal], steps=5, seed=0)
        >>> best.size
        tensor([1.])
    """
    most = (UNKNOWN * active.farthest).floor().clamp_min(1)
    for first in range(0, steps, LENGTH):
        number, length, drop = first // LENGTH, min(LENGTH, steps - first), torch.ones_like(most)
        active = active.within(_less(best, drop, most))
        x_adv = kick(active, best.x_adv, derive(seed, number)) if number else best.x_adv
        sum_ = torch.zeros_like(x_adv)
        for step in range(length - 1):
            at = active.slope(x_adv, margin, aim=ways[number % len(ways)])
            better = best.offer(x_adv, at.fooled)
            drop = torch.where(better, 2 * drop, (drop / 2).floor().clamp_min(1))
            active = active.within(_less(best, drop, most))
            sum_ = accumulate(sum_, at.gradient, DECAY)
            x_adv = exchanged(active, x_adv, sum_, (SHARE * (1 - step / length) * active.eps).clamp_min(1))
        best.offer(x_adv, met(active.goal, forward(active.model, x_adv, active.goal)))


def _less(best: Nearest, drop: Tensor, most: Tensor) -> Tensor:
    """Number of values that may change (n,): ``drop`` fewer than in the nearest adversarial image, at least one."""
    return torch.where(best.found, (best.size - drop).clamp_min(1), most)

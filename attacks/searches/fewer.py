"""Fewer changed values in L0: descents within fewer than the nearest fooling image has."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.losses import margin
from attacks.queries.gradients import forward
from attacks.searches.draws import derive
from attacks.searches.momentum import accumulate
from attacks.searches.nearest import Nearest
from attacks.searches.swaps import exchanged, kick
from attacks.searches.track import Survivors

LENGTH = 20
"""Forward passes of each descent; the last one needs no gradient."""
UNKNOWN = 0.25
"""How many values may change where no fooling image is known yet, as a share of all that can."""
SHARE, DECAY = 0.5, 0.75
"""Moves of a descent's first step, as a share of the values that may change; and the weight of earlier gradients."""


def fewer(active: Survivors, best: Nearest, ways: Sequence[Goal], steps: int, seed: int) -> None:
    """Descend the margin by exchanges of values, always within fewer values than are known to be enough.

    The first descent starts at the nearest fooling image without the value that does least, each later one at the
    nearest with a random share of its changes put back and others made (:func:`attacks.searches.swaps.kick`). A step
    exchanges values along the gradient, as :func:`attacks.searches.swaps.descend` does. Whenever an image is fooled,
    fewer values may change, and the descent goes on. By how many is doubled each time, and halved with every step that
    fools none, down to one: where far too many are changed at first, single ones would take too long.

    Args:
        active: The images; none of them leaves.
        best: The nearest fooling images so far; nearer ones go into it.
        ways: What is descended, one after the other: the goal, or goals that imply it.
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
    """How many values may change (n,): ``drop`` less than in the nearest fooling image, at least one."""
    return torch.where(best.found, (best.size - drop).clamp_min(1), most)

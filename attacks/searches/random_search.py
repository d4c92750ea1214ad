"""Random search: random changes to the best points, kept where they lower the loss."""

from collections.abc import Callable

import torch
from torch import Tensor

from attacks.goals import met
from attacks.losses import Loss, margin
from attacks.objectives.ranking import fooling
from attacks.queries.gradients import forward
from attacks.searches.track import Survivors

Propose = Callable[[Tensor, int], Tensor]
"""The best points of the active images (n, ...), and the number of the step, from 1 -> changed points (n, ...)."""


def random_search(active: Survivors, x_adv: Tensor, propose: Propose, steps: int, loss: Loss = margin) -> Tensor:
    """Query the model with the starting points, then with one change to the best points after another.

    Images that are fooled leave.

    Args:
        active: The images and their budgets.
        x_adv: Starting points (n, ...).
        propose: Function that draws a change for each of the active images.
        steps: Number of changes.
        loss: The loss of the goal.

    Returns:
        The points with the lowest loss, for the images still active.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x = torch.tensor([[0.75, 0.5]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), Linf(), eps=0.25)
        >>> changes = torch.tensor([[0.0, 0.0], [-0.125, 0.0], [0.125, 0.0], [0.0, 0.0625]])
        >>> random_search(active, x, lambda x_best, step: x_best + changes[step], steps=3)
        tensor([[0.6250, 0.5625]])
    """
    x_best, lowest = x_adv.clone(), active.x.new_full((len(active),), torch.inf)
    for step in range(steps + 1):
        if not len(active):
            break
        if step:
            x_adv = propose(x_best, step)
        logits = forward(active.model, x_adv, active.goal)
        value = loss(logits, active.goal)
        better = (value < lowest).nonzero().squeeze(1)
        x_best[better], lowest[better] = x_adv[better], value[better]
        # A margin already says whether the goal is met; other losses do not.
        fooled = fooling(value, logits) if loss is margin else met(active.goal, logits)
        _, x_best, lowest = active.retire(x_adv, fooled, x_best, lowest)
    return x_best

"""The choice of rival classes to aim at: those nearest in a linear model."""

from functools import partial

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.norms import Norm
from attacks.objectives.ranking import outside, ranked_classes
from attacks.objectives.rivals import Ways, ways_to
from attacks.protocols import Model
from attacks.queries.gradients import slopes

CANDIDATES = 100
"""Number of rival classes considered, those with the highest logits."""
_VALUES = 2**26
"""Largest number of gradient values held at once."""


def ways_by_slope(model: Model, x: Tensor, goal: Goal, logits: Tensor, norm: Norm, count: int) -> Ways:
    """``count`` ways to meet a goal, nearest in a linear model first.

    The distance of a rival is the gap between its logit and that of the class to fall, divided by the dual norm of the
    gap's gradient: a class with a low logit may be near if that logit changes quickly. Networks are nearly linear
    within usual budgets, so this predicts which class an attack would reach.

    For a goal that one rising class cannot meet, the ways are those of :func:`attacks.objectives.rivals.ways_to`, and
    the model is not queried.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        goal: The goal for these images.
        logits: The model's logits of the images (N, C).
        norm: The norm in which distances are measured.
        count: Number of ways wanted; if there are fewer they repeat from the first.

    Returns:
        The ways, at the cost of one forward pass and one backward pass per class considered, at most 100.

    References:
        Melamed, Yehudai and Shamir, MALT powers up adversarial attacks <https://arxiv.org/abs/2407.02240>, 2024.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> weight = torch.eye(11) + 9 * torch.eye(11)[:, 2:3] * torch.eye(11)[2]
        >>> x, goal = torch.full((1, 11), 0.05), Untargeted(torch.tensor([0]))
        >>> x[0, 0], x[0, 1], model = 0.9, 0.7, lambda x: x @ weight
        >>> ways_to(goal, model(x), 2).new.flatten(), ways_by_slope(model, x, goal, model(x), Linf(), 2).new.flatten()
        (tensor([1, 2]), tensor([2, 1]))
    """
    if goal.exclusion is None or goal.exclusion.k > 1 or not len(x):
        return ways_to(goal, logits, count)
    old = goal.exclusion.classes
    candidates = ranked_classes(outside(logits, old), min(CANDIDATES, logits.shape[1] - old.shape[1]))
    distance, some = [], max(1, _VALUES // (candidates.shape[1] * x[0].numel()))
    for rows in torch.split(torch.arange(len(x), device=x.device), some):
        gaps = partial(_gaps, old[rows], candidates[rows])
        at = slopes(model, x[rows], goal.select(rows), gaps, candidates.shape[1])
        steepness = norm.dual(at.gradient.flatten(0, 1)).view_as(at.loss)
        distance.append(at.loss / steepness.clamp_min(torch.finfo(steepness.dtype).tiny))
    nearest = candidates.gather(1, torch.cat(distance).argsort(dim=1, stable=True))
    return Ways(goal, nearest[:, [i % nearest.shape[1] for i in range(count)]].unsqueeze(2))


def _gaps(old: Tensor, new: Tensor, logits: Tensor, goal: Goal) -> Tensor:
    """Amount by which the highest of the classes to fall exceeds each other class: (N, C) -> (N, K)."""
    return logits.gather(1, old).amax(1, keepdim=True) - logits.gather(1, new)

"""Losses that attacks minimise: logits (N, C) and a goal -> (N,); lower is closer to the goal."""

from collections.abc import Callable

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.goals.protocol import ALL_LOGITS
from attacks.objectives.confidence import CERTAIN
from attacks.objectives.ranking import scale

Loss = Callable[[Tensor, Goal], Tensor]
"""Logits (N, C), goal -> (N,)."""


def margin(logits: Tensor, goal: Goal) -> Tensor:
    """The goal's margin: negative exactly where the goal is met. It never saturates.

    Example:
        >>> from attacks import Untargeted
        >>> margin(torch.tensor([[2.0, 0.5, 0.0]]), Untargeted(torch.tensor([0])))
        tensor([1.5000])
    """
    return goal.margin(logits)


def probability_margin(logits: Tensor, goal: Goal) -> Tensor:
    """The goal's margin in probabilities: same sign, but its gradient is largest near the boundary.

    Where the margin is so large that the probabilities in float32 are 0 and 1, it grows with the margin instead, with
    a small slope: its own gradient would vanish. For several labels, whose probabilities do not compete, it is the
    plain margin.

    References:
        Xie et al., Towards million-scale adversarial robustness evaluation with stronger individual attacks
        <https://arxiv.org/abs/2411.15210>, 2024 (PMA).

    Example:
        >>> from attacks import Untargeted
        >>> probability_margin(torch.tensor([[0.0, 0.0, -200.0]]), Untargeted(torch.tensor([0])))
        tensor([0.])
    """
    lead = goal.margin(logits)
    if goal.contested == ALL_LOGITS:
        return lead
    value, sure = goal.margin(logits.softmax(1)), lead.detach() > CERTAIN
    return torch.where(sure, 1 + _SLOPE * (lead - CERTAIN), value) if bool(sure.any()) else value


def hinge(logits: Tensor, goal: Goal) -> Tensor:
    """The margin as long as the goal is not met, then zero, so that nothing is gained by going further.

    Example:
        >>> from attacks import Untargeted
        >>> hinge(torch.tensor([[2.0, 0.5], [0.0, 0.5]]), Untargeted(torch.tensor([0, 0])))
        tensor([1.5000, 0.0000])
    """
    return torch.where(met(goal, logits), 0.0, goal.margin(logits))


def cross_entropy(logits: Tensor, goal: Goal) -> Tensor:
    """The goal in log-probabilities: for an untargeted goal the log-probability of the label.

    Where the network is very confident the gradient is small, but it never vanishes: the probability of a label that
    is 1 in float32 is computed from its lead over the other classes.

    Example:
        >>> from attacks import Untargeted
        >>> cross_entropy(torch.zeros(1, 4), Untargeted(torch.tensor([0])))
        tensor([-1.3863])
    """
    return goal.cross_entropy(logits)


def dlr(logits: Tensor, goal: Goal) -> Tensor:
    """Difference of logits ratio: the margin divided by the gap between the largest and about the third largest logit.

    It does not change when all logits are multiplied or shifted. For an untargeted goal the gap ends at the third
    largest logit. For all others it ends halfway between the third and the fourth, as in the paper's targeted form: if
    it ended at the third, the ratio would be 1 wherever the target is third, and have no gradient. A goal sets this by
    its ``contested``.

    References:
        Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks <https://arxiv.org/abs/2003.01690>, 2020.

    Deviations:
        With too few classes for the ratio (two, or three for a goal that is not untargeted) the margin is returned.

    Example:
        >>> from attacks import Untargeted
        >>> dlr(torch.tensor([[4.0, 3.0, 2.0]]), Untargeted(torch.tensor([0])))
        tensor([0.5000])
    """
    count = goal.contested + 1
    if logits.shape[1] < count:
        return goal.margin(logits)
    ordered = logits.topk(count, dim=1).values
    gap = ordered[:, 0] - ordered[:, 2:].mean(1)
    least = (1e-12 * scale(logits.detach())).clamp_min_(torch.finfo(logits.dtype).tiny)
    return goal.margin(logits) / torch.maximum(gap, least)


_SLOPE = 2.0**-16
"""Slope of the margin of probabilities where these are 0 and 1."""
LOSSES: dict[str, Loss] = {"margin": margin, "ce": cross_entropy, "dlr": dlr, "pm": probability_margin}
"""Name -> loss."""

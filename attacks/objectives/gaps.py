"""A goal as a list of gaps: by how much each class stands above one that should stand above it."""

import torch
from torch import Tensor

from attacks.goals import Goal, OrderedTopK, Targeted
from attacks.objectives.ranking import outside
from attacks.objectives.rivals import Overtake, Towards, falling


def gaps(goal: Goal, logits: Tensor) -> Tensor:
    """All differences of logits that must become negative for a goal to be met.

    The largest is the goal's margin; but for an order of classes it may exceed that, since every class is compared with
    all that should stand above it, where the margin looks at neighbours. Neighbours alone would not say how a class
    in the middle has to move, as it is in two gaps with opposite signs.

    Where any classes may rise, they are the first outside the old ones, in their present order.

    Args:
        goal: The goal for N images. One from outside this library has a single gap, its margin.
        logits: Logits of the images (N, C).

    Returns:
        The gaps (N, P); minus infinity where there is nothing to overtake.

    Example:
        >>> from attacks import TopKExclusion
        >>> goal = TopKExclusion(torch.tensor([[0, 1]]))
        >>> gaps(goal, torch.tensor([[5.0, 4.0, 3.0, 1.0]]))
        tensor([[2., 4., 1., 3.]])
    """
    old, k = falling(goal)
    if old is not None:
        return _between(logits.gather(1, old), outside(logits, old).topk(k, dim=1).values)
    match goal:
        case Towards():
            return gaps(goal.aim, logits)
        case Overtake():
            return _between(logits.gather(1, goal.old), logits.gather(1, goal.new))
        case Targeted():
            return _in_order(logits, goal.targets.unsqueeze(1))
        case OrderedTopK():
            return _in_order(logits, goal.targets)
        case _:
            return goal.margin(logits).unsqueeze(1)


def soft_maximum(gaps: Tensor, temperature: Tensor, log_weights: Tensor | float = 0.0) -> Tensor:
    """A smooth form of the largest gap, to which every gap adds according to its size and its weight.

    Args:
        gaps: Gaps of the images (N, P).
        temperature: One for each image (N,), in logits. As it falls, the result tends to the largest gap.
        log_weights: Logarithms of the gaps' weights (N, P); 0 for all makes it an upper bound.

    Returns:
        A number for each image (N,).

    Example:
        >>> soft_maximum(torch.tensor([[1.0, 1.0, -9.0]]), torch.tensor([0.1]))
        tensor([1.0693])
    """
    return (gaps / temperature.unsqueeze(1) + log_weights).logsumexp(1) * temperature


def _between(upper: Tensor, lower: Tensor) -> Tensor:
    """By how much each of ``upper`` (N, m) stands above each of ``lower`` (N, k): (N, m * k)."""
    return (upper.unsqueeze(2) - lower.unsqueeze(1)).flatten(1)


def _in_order(logits: Tensor, targets: Tensor) -> Tensor:
    chosen = logits.gather(1, targets)
    first, second = torch.triu_indices(targets.shape[1], targets.shape[1], 1, device=logits.device)
    return torch.cat([chosen[:, second] - chosen[:, first], _between(outside(logits, targets), chosen)], 1)

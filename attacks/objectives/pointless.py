"""Images for which a goal asks for nothing: they are of the class already that it wants to see first."""

import torch
from torch import Tensor

from attacks.goals import Goal, SignedGoal


def pointless(goal: Goal, classes: Tensor) -> Tensor:
    """Where the class that a goal wants first is the one that the image has, so that meeting it fools no one.

    Args:
        goal: The goal for N images.
        classes: The class that each should have, int64 (N,): its label, or else the class predicted when clean. For a
            goal for several labels those that each should have, bool (N, C).

    Returns:
        Where it is so, bool (N,); nowhere for goals that drive a class out.

    Example:
        >>> from attacks import OrderedTopK, Targeted
        >>> pointless(Targeted(torch.tensor([3, 3])), torch.tensor([1, 3]))
        tensor([False,  True])
        >>> pointless(OrderedTopK(torch.tensor([[3, 1], [3, 1]])), torch.tensor([1, 3]))
        tensor([False,  True])
        >>> from attacks import LabelOff
        >>> pointless(LabelOff(torch.tensor([0, 0])), torch.tensor([[True, False], [False, True]]))
        tensor([False,  True])
    """
    if isinstance(goal, SignedGoal):
        return goal.granted(classes)
    if goal.order is None:
        return torch.zeros(len(classes), dtype=torch.bool, device=classes.device)
    return goal.order[:, 0] == classes

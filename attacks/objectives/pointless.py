"""Images for which a goal asks for nothing: they are of the class already that it wants to see first."""

import torch
from torch import Tensor

from attacks.goals import Goal


def pointless(goal: Goal, classes: Tensor) -> Tensor:
    """Where the class that a goal wants first is the one that the image has, so that meeting it fools no one.

    Args:
        goal: The goal for N images.
        classes: The class that each should have, int64 (N,): its label, or else the class predicted when clean.

    Returns:
        Where it is so, bool (N,); nowhere for goals that drive a class out.

    Example:
        >>> from attacks import OrderedTopK, Targeted
        >>> pointless(Targeted(torch.tensor([3, 3])), torch.tensor([1, 3]))
        tensor([False,  True])
        >>> pointless(OrderedTopK(torch.tensor([[3, 1], [3, 1]])), torch.tensor([1, 3]))
        tensor([False,  True])
    """
    if goal.order is None:
        return torch.zeros(len(classes), dtype=torch.bool, device=classes.device)
    return goal.order[:, 0] == classes

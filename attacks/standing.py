"""How high the classes that a goal is about stand among the logits: a loss for many images at once."""

from torch import Tensor

from attacks.goals import Goal, LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted


def standing(logits: Tensor, goal: Goal) -> Tensor:
    """How far the classes to be driven out stand above the mean logit, or the classes wanted below it.

    A margin looks at the class to be driven out and at one rival, and the rival changes from image to image and from
    step to step, so that the steps for different images undo each other. Here all other classes are the rival.

    Args:
        logits: (N, C).
        goal: For these images.

    Returns:
        (N,); lower is closer to the goal.

    Example:
        >>> import torch
        >>> standing(torch.tensor([[2.0, 0.5, 0.5]]), Untargeted(torch.tensor([0])))
        tensor([1.])
    """
    match goal:
        case Untargeted() | LabelOutOfTopK():
            old, sign = goal.labels.unsqueeze(1), 1
        case TopKExclusion():
            old, sign = goal.classes, 1
        case Targeted():
            old, sign = goal.targets.unsqueeze(1), -1
        case OrderedTopK():
            old, sign = goal.targets, -1
        case _:
            return goal.margin(logits)
    return sign * (logits.gather(1, old).mean(1) - logits.mean(1))

"""Losses for many images at once, that look at all logits and not at one rival, which every image has another of."""

from torch import Tensor
from torch.nn import functional

from attacks.goals import Goal
from attacks.losses import Loss


def standing(logits: Tensor, goal: Goal) -> Tensor:
    """How far the classes to be driven out stand above the mean logit, or the classes wanted below it.

    A margin looks at the class to be driven out and at one rival, and the rival changes from image to image and from
    step to step, so that the steps for different images undo each other. Here all other classes are the rival.

    Args:
        logits: Logits of the images (N, C).
        goal: The goal for these images.

    Returns:
        A number for each image (N,); lower is closer to the goal.

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> standing(torch.tensor([[2.0, 0.5, 0.5]]), Untargeted(torch.tensor([0])))
        tensor([1.])
    """
    if goal.exclusion is not None:
        return _above_the_mean(logits, goal.exclusion.classes)
    if goal.order is not None:
        return -_above_the_mean(logits, goal.order)
    return goal.margin(logits)


def unlike(clean: Tensor) -> Loss:
    """How much the logits are like those of the clean images: the cosine between them, both around their mean.

    What was high is to become low and the reverse, so that the same few classes rise for all images. It is for the
    goals that drive out what came first; for the others it is :func:`standing`.

    Args:
        clean: Logits of the clean images (N, C).

    References:
        Zhang et al., Data-free universal adversarial perturbation and black-box attack, ICCV 2021
        <https://openaccess.thecvf.com/content/ICCV2021/html/Zhang_Data-Free_Universal_Adversarial_Perturbation_and_Black-Box_Attack_ICCV_2021_paper.html>.

    Deviations:
        The mean logit is subtracted, which changes no probability: where all logits lie on one side of 0, as after a
        last ReLU, any two are alike by that alone.

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> goal = Untargeted(torch.tensor([0, 0]))
        >>> unlike(torch.tensor([[2.0, 0.0], [2.0, 0.0]]))(torch.tensor([[3.0, 0.0], [-1.0, 0.0]]), goal)
        tensor([ 1.0000, -1.0000])
    """
    before = _centred(clean)

    def loss(logits: Tensor, goal: Goal) -> Tensor:
        if goal.overturns:
            return functional.cosine_similarity(_centred(logits), before, dim=1)
        return standing(logits, goal)

    return loss


def _above_the_mean(logits: Tensor, classes: Tensor) -> Tensor:
    """By how much the mean logit of some classes (N, m) exceeds that of all: (N,)."""
    return logits.gather(1, classes).mean(1) - logits.mean(1)


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)

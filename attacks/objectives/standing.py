"""Losses for many images at once, which use all logits instead of one rival that differs from image to image."""

from torch import Tensor
from torch.nn import functional

from attacks.geometry.rows import unit_of
from attacks.goals import Goal
from attacks.losses import Loss


def standing(logits: Tensor, goal: Goal) -> Tensor:
    """How far the classes to push out are above the mean logit, or the wanted classes below it.

    A margin compares the class to push out with one rival, which changes from image to image and from step to step, so
    that the steps for different images undo each other. Here all other classes together are the rival.

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
    """Similarity of the logits to those of the clean images: the cosine between them, each minus its mean.

    High logits should become low and vice versa, so that the same few classes rise for all images. This is for goals
    that push out the top classes; for other goals it is :func:`standing`.

    Args:
        clean: Logits of the clean images (N, C).

    References:
        Zhang et al., Data-free universal adversarial perturbation and black-box attack, ICCV 2021
        <https://openaccess.thecvf.com/content/ICCV2021/html/Zhang_Data-Free_Universal_Adversarial_Perturbation_and_Black-Box_Attack_ICCV_2021_paper.html>.

    Deviations:
        The mean logit is subtracted, which changes no probability: if all logits have the same sign, as after a final
        ReLU, any two are similar for that reason alone.

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
    """Amount by which the mean logit of some classes (N, m) exceeds that of all: (N,)."""
    return logits.gather(1, classes).mean(1) - logits.mean(1)


def _centred(logits: Tensor) -> Tensor:
    apart = logits - logits.mean(1, keepdim=True)
    # The cosine squares them, which logits of 1e30 would not survive.
    return apart / unit_of(apart.detach().abs().amax(1, keepdim=True), beyond=1e12)

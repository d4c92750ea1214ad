"""The main loop of transfer attacks: steps along a running sum of gradients, which may be averaged over copies."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from attacks.geometry.rows import column, in_range
from attacks.goals import Goal
from attacks.losses import LOSSES, Loss
from attacks.norms import L1
from attacks.protocols import BudgetAttack, Model, Precision
from attacks.queries.gradients import Slope, form_for, slope
from attacks.queries.inputs import clean_slope
from attacks.searches.track import Survivors

Look = Callable[[Tensor, int], Slope]
"""The survivors' candidates (n, ...) and the step number -> logits there, and the gradient to follow."""

Change = Callable[[Tensor, Tensor, int], Tensor]
"""Images (n, C, H, W), their ids (n,) and the number of the draw -> differentiably transformed copies of the images."""


class Momentum(BudgetAttack, Protocol):
    """A transfer attack that descends with momentum."""

    @property
    def steps(self) -> int:
        """Number of gradient steps."""
        ...

    @property
    def relative_step(self) -> float:
        """Length of a step as a fraction of ``eps``."""
        ...

    @property
    def decay(self) -> float:
        """Weight of the earlier gradients."""
        ...

    @property
    def loss(self) -> str:
        """Name of the loss."""
        ...


class OverCopies(Momentum, Protocol):
    """A transfer attack that averages gradients over transformed copies of each image."""

    @property
    def precision(self) -> Precision:
        """The coarsest arithmetic its gradients may come from."""
        ...

    @property
    def copies(self) -> int:
        """Number of copies whose gradients are averaged in each step."""
        ...


def accumulate(sum_: Tensor, gradient: Tensor, decay: float) -> Tensor:
    """The running sum (n, ...) with one more gradient, which is scaled to L1 norm 1; ``decay`` weights the old sum.

    Example:
        >>> accumulate(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, -1.0]]), decay=0.5)
        tensor([[ 1.2500, -0.2500]])
    """
    gradient = in_range(gradient)
    return (decay * sum_).addcdiv_(gradient, column(L1().measure(gradient), gradient).clamp_min(1e-30))


def begin(attack: Momentum, model: Model, x: Tensor, goal: Goal, eps: float | Tensor) -> tuple[Survivors, Tensor]:
    """The images to be fooled and the first gradient of each (n, ...), from one pass over the clean images.

    Raises:
        ValueError: As :func:`attacks.queries.inputs.clean_slope` does.

    Example:
        >>> from attacks import MIFGSM, Untargeted
        >>> x, goal = torch.tensor([[0.9, 0.3], [0.2, 0.8]]), Untargeted(torch.tensor([0, 0]))
        >>> active, gradient = begin(MIFGSM(loss="margin"), lambda x: 2 * x, x, goal, 0.1)
        >>> active.rows, gradient
        (tensor([0]), tensor([[ 2., -2.]]))
    """
    at = clean_slope(model, x, goal, attack.norm, eps, LOSSES[attack.loss])
    active = Survivors.of(attack, model, x, goal, eps, 0, logits=at.logits)
    return active, at.gradient[active.rows]


def descend(attack: Momentum, active: Survivors, gradient: Tensor, look: Look, *, early_stop: bool = False) -> Tensor:
    """Descend with momentum.

    ``g <- decay * g + gradient / its L1 norm;  x <- P(x - relative_step * eps * steepest(g))``

    Args:
        attack: Attack whose parameters are used.
        active: The images to be fooled, with their goals and budgets.
        gradient: The first gradient of each (n, ...), at the images themselves.
        look: Function that gives the gradients of later steps.
        early_stop: Whether an image is done at the first step that meets the goal, instead of after the last.

    Returns:
        Candidates for the whole batch (N, ...).

    Example:
        >>> from attacks import MIFGSM, Untargeted
        >>> from attacks.losses import margin
        >>> x, attack = torch.tensor([[0.6, 0.5]]), MIFGSM(loss="margin")
        >>> active, gradient = begin(attack, lambda x: x, x, Untargeted(torch.tensor([0])), 0.125)
        >>> descend(attack, active, gradient, lambda x, step: active.slope(x, margin))
        tensor([[0.4750, 0.6250]])
    """
    x_adv, sum_ = active.x, torch.zeros_like(active.x)
    for step in range(attack.steps):
        if not len(active):
            break
        if step:
            at = look(x_adv, step)
            gradient = at.gradient
            if early_stop:
                x_adv, gradient, sum_ = active.retire(x_adv, at.fooled, gradient, sum_)
        sum_ = accumulate(sum_, gradient, attack.decay)
        move = active.norm.step(x_adv, sum_, attack.relative_step * active.eps)
        x_adv = active.ball.nearest(move.add_(x_adv))
    return active.finish(x_adv)


def descend_over_copies(
    attack: OverCopies, model: Model, x: Tensor, goal: Goal, eps: float | Tensor, seed: int, change: Change
) -> Tensor:
    """Descend with momentum, along the mean gradient of transformed copies of each image.

    Every copy has its own draw, so that an image's path depends only on its id, the step and the copy. No image leaves
    before the last step: a copy that fools the model says nothing about the image itself.

    Args:
        attack: Attack whose parameters are used.
        model: Images in [0, 1] -> logits.
        x: Images (N, C, H, W).
        goal: Success criterion for these images.
        eps: Largest allowed size, a number or (N,).
        seed: Seed of the attack.
        change: Function that makes the copies.

    Returns:
        Candidates for the whole batch (N, C, H, W).

    Raises:
        ValueError: As :func:`attacks.queries.inputs.clean_logits` does.

    Example:
        >>> from attacks import BSR, Untargeted
        >>> x, model = torch.tensor([0.6, 0.5]).view(1, 1, 1, 2), lambda x: x.flatten(1)
        >>> as_it_is = lambda x, ids, draw: x
        >>> descend_over_copies(BSR(), model, x, Untargeted(torch.tensor([0])), 0.125, 0, as_it_is).flatten()
        tensor([0.4750, 0.6250])
    """
    active = Survivors.of(attack, model, x, goal, eps, seed)
    form, loss = form_for(model, attack.precision), LOSSES[attack.loss]

    def look(x_adv: Tensor, step: int) -> Slope:
        return mean_slope(
            form, x_adv, active.goal, loss, change, range(step * attack.copies, (step + 1) * attack.copies)
        )

    first = look(active.x, 0).gradient if len(active) else active.x
    return descend(attack, active, first, look)


def mean_slope(model: Model, x: Tensor, goal: Goal, loss: Loss, change: Change, draws: range) -> Slope:
    """Mean gradient of transformed copies of images, with respect to the images; other fields are the first copy's.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images to copy (n, C, H, W).
        goal: Goal for these images.
        loss: Logits (n, C), goal -> (n,).
        change: Function that makes the copies.
        draws: Draw number of each copy; not empty.

    Example:
        >>> from attacks import Untargeted, losses
        >>> x, goal = torch.tensor([[[[0.9, 0.3]]]]), Untargeted(torch.tensor([0]))
        >>> dimmed = lambda x, ids, draw: x / (1 + draw)
        >>> mean_slope(lambda x: x.flatten(1), x, goal, losses.margin, dimmed, range(2)).gradient
        tensor([[[[ 0.7500, -0.7500]]]])
    """
    first = _slope_of_copy(model, x, goal, loss, change, draws[0])
    sum_ = first.gradient
    for draw in draws[1:]:
        sum_ = sum_ + _slope_of_copy(model, x, goal, loss, change, draw).gradient
    return first._replace(gradient=sum_ / len(draws))


def _slope_of_copy(model: Model, x: Tensor, goal: Goal, loss: Loss, change: Change, draw: int) -> Slope:
    """The model's answer for one copy, with the gradient with respect to the images."""
    # Draws become part of a graph, which is impossible for tensors made in inference mode.
    with torch.inference_mode(False), torch.enable_grad():
        leaf = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
        shown = change(leaf, goal.ids, draw)
        at = slope(model, shown.detach(), goal, loss)
        (gradient,) = torch.autograd.grad(shown, leaf, at.gradient)
    return at._replace(gradient=gradient)

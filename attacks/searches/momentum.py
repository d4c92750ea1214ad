"""The loop of the transfer attacks: steps along a running sum of gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

from attacks.geometry.rows import column
from attacks.goals import Goal
from attacks.losses import Loss
from attacks.norms import L1
from attacks.protocols import BudgetAttack, Model
from attacks.queries.gradients import Slope
from attacks.queries.inputs import clean_slope
from attacks.searches.track import Survivors

Look = Callable[[Tensor, int], Slope]
"""The survivors' candidates (n, ...) and the number of the step -> logits there, and the gradient to follow."""


def accumulate(sum_: Tensor, gradient: Tensor, decay: float) -> Tensor:
    """The running sum (n, ...) with one more gradient, which is scaled to L1 norm 1; ``decay`` weights the old sum.

    Example:
        >>> accumulate(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, -1.0]]), decay=0.5)
        tensor([[ 1.2500, -0.2500]])
    """
    return (decay * sum_).addcdiv_(gradient, column(L1().measure(gradient), gradient).clamp_min(1e-30))


def begin(
    attack: BudgetAttack, model: Model, x: Tensor, goal: Goal, eps: float | Tensor, loss: Loss
) -> tuple[Survivors, Tensor]:
    """The images that are to be fooled and the first gradient of each (n, ...), from one pass over the clean images.

    Raises:
        ValueError: As :func:`attacks.queries.inputs.clean_slope` does.

    Example:
        >>> from attacks import MIFGSM, Untargeted, losses
        >>> x, goal = torch.tensor([[0.9, 0.3], [0.2, 0.8]]), Untargeted(torch.tensor([0, 0]))
        >>> active, gradient = begin(MIFGSM(), lambda x: 2 * x, x, goal, 0.1, losses.margin)
        >>> active.rows, gradient
        (tensor([0]), tensor([[ 2., -2.]]))
    """
    at = clean_slope(model, x, goal, attack.norm, eps, loss)
    active = Survivors.of(attack, model, x, goal, eps, 0, logits=at.logits)
    return active, at.gradient[active.rows]


def descend(
    active: Survivors,
    gradient: Tensor,
    look: Look,
    *,
    steps: int,
    relative_step: float,
    decay: float,
    early_stop: bool,
) -> Tensor:
    """Walk down with momentum.

    ``g <- decay * g + gradient / its L1 norm;  x <- P(x - relative_step * eps * steepest(g))``

    Args:
        active: The images that are to be fooled, with their goals and budgets.
        gradient: The first gradient of each (n, ...), at the images themselves.
        look: Gives the gradients of the later steps.
        steps: Number of gradient steps.
        relative_step: Length of a step as a fraction of ``eps``.
        decay: Weight of the sum of earlier gradients.
        early_stop: Whether an image is done at the first step that meets the goal, instead of after the last.

    Returns:
        Candidates for the whole batch (N, ...).

    Example:
        >>> from attacks import MIFGSM, Untargeted
        >>> from attacks.losses import margin
        >>> x, model = torch.tensor([[0.6, 0.5]]), lambda x: x
        >>> active, gradient = begin(MIFGSM(), model, x, Untargeted(torch.tensor([0])), 0.125, margin)
        >>> look = lambda x, step: active.slope(x, margin)
        >>> descend(active, gradient, look, steps=10, relative_step=0.1, decay=1.0, early_stop=False)
        tensor([[0.4750, 0.6250]])
    """
    x_adv, sum_ = active.x, torch.zeros_like(active.x)
    for step in range(steps):
        if not len(active):
            break
        if step:
            at = look(x_adv, step)
            gradient = at.gradient
            if early_stop:
                x_adv, gradient, sum_ = active.retire(x_adv, at.fooled, gradient, sum_)
        sum_ = accumulate(sum_, gradient, decay)
        move = active.norm.step(x_adv, sum_, relative_step * active.eps)
        x_adv = active.ball.nearest(move.add_(x_adv))
    return active.finish(x_adv)

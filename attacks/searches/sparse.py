"""Auto-PGD in L1: sparse steps whose sparsity follows that of the best point."""

import torch
from torch import Tensor

from attacks.goals import met
from attacks.losses import Loss
from attacks.norms import L0, column, descent
from attacks.queries.gradients import forward
from attacks.searches.track import Survivors


def descend(active: Survivors, x_adv: Tensor, loss: Loss, steps: int) -> Tensor:
    """The steps of APGD in L1, for the active images; those that get fooled leave.

    A step goes to a share of the values, a fifth at first. At checkpoints the share of an image becomes two thirds of
    what its best point changes. If that point has become sparser the step is as long as ``eps`` again and starts from
    there; if not it shrinks by a third, down to a tenth of ``eps``.

    References:
        Croce and Hein, Mind the box: l1-APGD for sparse adversarial attacks on image classifiers
        <https://arxiv.org/abs/2103.01208>, 2021.

    Deviations:
        Values at the end of their range are passed over when those that count most are chosen, and none is moved by
        more than 1. The start lies in the ball and not on its surface. No descent in larger balls comes before it.

    Args:
        active: The images, their budgets, and the aim that is descended.
        x_adv: Where to start (n, ...).
        loss: Of the aim.
        steps: Gradient steps.

    Returns:
        For the images still active, the points with the lowest loss.

    Example:
        >>> from attacks import L1, Untargeted
        >>> from attacks.losses import margin
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> active = Survivors(lambda x: x, x, goal, L1(), eps=0.125)
        >>> nobody = descend(active, x, margin, steps=5)
        >>> active.found
        tensor([[0.4750, 0.5000]])
    """
    values, interval = x_adv[0].numel() if len(x_adv) else 1, max(int(0.04 * steps), 1)
    best, best_gradient, lowest = x_adv, x_adv, torch.full_like(active.eps, torch.inf)
    step, share, changed = active.eps, torch.full_like(active.eps, 0.2), torch.full_like(active.eps, values)
    for i in range(steps):
        if not len(active):
            return best
        at = active.slope(x_adv, loss)
        x_adv, value, gradient, best, best_gradient, lowest, step, share, changed = active.retire(
            x_adv, at.fooled, at.loss, at.gradient, best, best_gradient, lowest, step, share, changed
        )
        better = value < lowest
        lowest = torch.where(better, value, lowest)
        best = torch.where(column(better, x_adv), x_adv, best)
        best_gradient = torch.where(column(better, x_adv), gradient, best_gradient)
        if i and i % interval == 0:
            before, changed = changed, L0().measure(best - active.x)
            sparser, share = changed < 0.95 * before, changed / values / 1.5
            step = torch.where(sparser, active.eps, torch.maximum(step / 1.5, active.eps / 10))
            back = column(sparser, x_adv)
            x_adv, gradient = torch.where(back, best, x_adv), torch.where(back, best_gradient, gradient)
        move = descent(active.norm, x_adv, gradient, step, share)
        x_adv = active.ball.nearest(x_adv + move)
    if len(active):  # the last point has no gradient yet, and needs none
        logits = forward(active.model, x_adv, active.goal)
        x_adv, best, lowest, value = active.retire(
            x_adv, met(active.goal, logits), best, lowest, loss(logits, active.aim)
        )
        best = torch.where(column(value < lowest, x_adv), x_adv, best)
    return best

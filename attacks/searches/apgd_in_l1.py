"""Auto-PGD in L1: sparse steps whose sparsity follows that of the best point."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from attacks.geometry.rows import column
from attacks.goals import met
from attacks.losses import Loss
from attacks.norms import L0, L1
from attacks.queries.gradients import forward
from attacks.searches.track import Survivors


def descend(active: Survivors, x_adv: Tensor, loss: Loss, steps: int) -> Tensor:
    """Run the steps of APGD in L1 on the active images; those that are fooled leave.

    A step changes a fraction of the values, a fifth at first. At checkpoints an image's fraction becomes two thirds of
    what its best point changes. If that point has become sparser, the step length returns to ``eps`` and starts from
    there; if not, it shrinks by a third, down to a tenth of ``eps``.

    References:
        Croce and Hein, Mind the box: l1-APGD for sparse adversarial attacks on image classifiers
        <https://arxiv.org/abs/2103.01208>, 2021.

    Deviations:
        Values at the end of their range are skipped when those with the largest gradients are chosen, and none is moved
        by more than 1, unless too few have a gradient. The start lies inside the ball and not on its surface. No
        descent in larger balls precedes it.

    Args:
        active: The images, their budgets, and the aim to descend.
        x_adv: Starting points (n, ...).
        loss: The loss of the aim.
        steps: Number of gradient steps.

    Returns:
        The points with the lowest loss, for the images still active.

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
    state = _Descent.begin(x_adv, active.eps, values)
    for i in range(steps):
        if not len(active):
            return state.best
        at = active.slope(state.x_adv, loss)
        if (stay := active.take_out(state.x_adv, at.fooled)) is not None:
            state, at = state.select(stay), at.select(stay)
        state = state.after(at.loss, at.gradient)
        if i and i % interval == 0:
            state = state.check(L0().measure(state.best - active.x), active.eps, values)
        move = L1().step(state.x_adv, state.gradient, state.step, state.share)
        state = state._replace(x_adv=active.ball.nearest(state.x_adv + move))
    if len(active):  # the last point needs no gradient
        logits = forward(active.model, state.x_adv, active.goal)
        value = loss(logits, active.aim)
        if (stay := active.take_out(state.x_adv, met(active.goal, logits))) is not None:
            state, value = state.select(stay), value[stay]
        state = state.after(value, state.gradient)
    return state.best


class _Descent(NamedTuple):
    """The state of each image's descent, one row per survivor."""

    x_adv: Tensor
    """The current point."""
    gradient: Tensor
    """Gradient to follow from the current point."""
    best: Tensor
    """The point with the lowest loss."""
    best_gradient: Tensor
    """The gradient at that point."""
    lowest: Tensor
    """The lowest loss so far."""
    step: Tensor
    """Length of the next step."""
    share: Tensor
    """Fraction of the values that the step changes."""
    changed: Tensor
    """Number of values that the best point changed at the last checkpoint."""

    @classmethod
    def begin(cls, x_adv: Tensor, eps: Tensor, values: int) -> Self:
        never, share, changed = (torch.full_like(eps, value) for value in (torch.inf, 0.2, values))
        return cls(x_adv, x_adv, x_adv, x_adv, never, eps, share, changed)

    def select(self, index: Tensor) -> "_Descent":
        """The state of some of the images."""
        return _Descent(*(part[index] for part in self))

    def after(self, loss: Tensor, gradient: Tensor) -> Self:
        """The state once the loss and gradient at the current point are known."""
        better = loss < self.lowest
        image = column(better, self.x_adv)
        return self._replace(
            gradient=gradient,
            best=torch.where(image, self.x_adv, self.best),
            best_gradient=torch.where(image, gradient, self.best_gradient),
            lowest=torch.where(better, loss, self.lowest),
        )

    def check(self, changed: Tensor, eps: Tensor, values: int) -> Self:
        """The state after a checkpoint; ``changed`` (n,) is the number of values that the best points change."""
        sparser = changed < 0.95 * self.changed
        back = column(sparser, self.x_adv)
        return self._replace(
            x_adv=torch.where(back, self.best, self.x_adv),
            gradient=torch.where(back, self.best_gradient, self.gradient),
            step=torch.where(sparser, eps, torch.maximum(self.step / 1.5, eps / 10)),
            share=changed / values / 1.5,
            changed=changed,
        )

"""Auto-PGD: gradient descent that sets its own step length."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.losses import LOSSES, Loss
from attacks.norms import Linf, Norm, column, descent
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches import sparse
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class APGD:
    """Momentum steps whose length is halved, image by image, when progress stalls.

    At checkpoints that come ever more often an image's step is halved, and it goes back to its best point, if
    fewer than ``rho`` of the steps since the last checkpoint lowered the loss, or if neither the step nor the
    best loss has changed since then.

    References:
        Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks <https://arxiv.org/abs/2003.01690>, 2020. L1: :func:`attacks.searches.sparse.descend`.

    Deviations:
        An image is done at the first step that meets the goal. As in the authors' code, exactly ``rho`` of the steps is
        too few, checkpoints are rounded down, and a step halved at one checkpoint is not halved at the next for want of
        a better point alone. Unlike there, the start lies in the ball and not on its surface, and counts as a step that
        lowered the loss; an image that goes back to its best point starts again without momentum; and in L2 nothing of
        a step is spent on values that would leave [0, 1].

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = APGD(steps=10)(lambda x: x, x, goal, eps=0.0625)
        >>> bool(goal.margin(x_adv) < 0)
        True
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    norm: Norm = Linf()
    """In which ``eps`` is measured."""
    steps: int = 100
    """Gradient steps."""
    rho: float = 0.75
    """Fraction of steps that must lower the loss for the step length to stay."""
    momentum: float = 0.75
    """Weight of the new step; the rest repeats the move before."""
    loss: str = "ce"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        start = self.norm.random(x.shape[1:], active.eps, seed, active.goal.ids, draw=0)
        x_adv = (active.x + start.to(x)).clamp_(0, 1)
        best = descend(active, x_adv, LOSSES[self.loss], self.steps, rho=self.rho, momentum=self.momentum)
        return active.finish(best)


def descend(
    active: Survivors,
    x_adv: Tensor,
    loss: Loss,
    steps: int,
    *,
    first_step: float = 2.0,
    rho: float = 0.75,
    momentum: float = 0.75,
) -> Tensor:
    """The steps of APGD, for the active images; those that get fooled leave.

    Args:
        active: The images, their budgets, and the aim that is descended.
        x_adv: Where to start (n, ...).
        loss: Of the aim.
        steps: Gradient steps.
        first_step: Length of the first step, as a fraction of ``eps``.
        rho: See :class:`APGD`.
        momentum: See :class:`APGD`.

    Returns:
        For the images still active, the points with the lowest loss.
    """
    if active.norm.name == "l1":
        return sparse.descend(active, x_adv, loss, steps)
    before, step, state = x_adv, first_step * active.eps, _Progress.begin(x_adv)
    checkpoints = _checkpoints(steps)
    for i in range(steps):
        if not len(active):
            return state.best
        at = active.slope(x_adv, loss)
        x_adv, before, step, value, gradient, *rest = active.retire(
            x_adv, at.fooled, before, step, at.loss, at.gradient, *state
        )
        state = _Progress(*rest).after(x_adv, value, gradient)
        if i in checkpoints:
            stalled, state = state.check(rho * checkpoints[i])
            step = torch.where(stalled, step / 2, step)
            back = column(stalled, x_adv)
            x_adv, before = torch.where(back, state.best, x_adv), torch.where(back, state.best, before)
            gradient = torch.where(back, state.best_gradient, gradient)
        aim = active.ball.nearest(x_adv + descent(active.norm, x_adv, gradient, step))
        weight = momentum if i else 1.0
        moved = x_adv.lerp(aim, weight).add_(x_adv - before, alpha=1 - weight)
        x_adv, before = active.ball.nearest(moved), x_adv
    if len(active):  # the last point has no gradient yet, and needs none
        logits = forward(active.model, x_adv, active.goal)
        value = loss(logits, active.aim)
        x_adv, value, *rest = active.retire(x_adv, met(active.goal, logits), value, *state)
        state = _Progress(*rest).after(x_adv, value, x_adv)
    return state.best


class _Progress(NamedTuple):
    """How the descent of each image goes; a row for each survivor."""

    best: Tensor
    """Point of the lowest loss."""
    best_gradient: Tensor
    """Gradient there."""
    best_loss: Tensor
    """Lowest loss."""
    last_loss: Tensor
    """Loss at the last step."""
    lowered: Tensor
    """Steps since the last checkpoint that lowered the loss."""
    loss_then: Tensor
    """Lowest loss at the last checkpoint."""
    halved_then: Tensor
    """Whether the step was halved there."""

    @classmethod
    def begin(cls, x_adv: Tensor) -> Self:
        never = x_adv.new_full((len(x_adv),), torch.inf)
        none = torch.zeros_like(never)
        return cls(x_adv, torch.zeros_like(x_adv), never, never, none, never, none.bool())

    def after(self, x_adv: Tensor, loss: Tensor, gradient: Tensor) -> Self:
        """The state once the loss and gradient at ``x_adv`` are known."""
        better = loss < self.best_loss
        image = column(better, x_adv)
        return self._replace(
            best=torch.where(image, x_adv, self.best),
            best_gradient=torch.where(image, gradient, self.best_gradient),
            best_loss=torch.where(better, loss, self.best_loss),
            last_loss=loss,
            lowered=self.lowered + (loss < self.last_loss),
        )

    def check(self, enough: float) -> tuple[Tensor, Self]:
        """At a checkpoint: which images have stalled, and the state from here on."""
        unchanged = ~self.halved_then & (self.best_loss >= self.loss_then)
        stalled = (self.lowered <= enough) | unchanged
        fresh = self._replace(lowered=torch.zeros_like(self.lowered), loss_then=self.best_loss, halved_then=stalled)
        return stalled, fresh


def _checkpoints(steps: int) -> dict[int, int]:
    """Step of each checkpoint -> steps since the one before: 22 % at first, ever shorter, at least 6 %."""
    places, place, interval = {}, 0, max(int(0.22 * steps), 1)
    while (place := place + interval) < steps:
        places[place] = interval
        interval = max(interval - max(int(0.03 * steps), 1), int(0.06 * steps), 1)
    return places

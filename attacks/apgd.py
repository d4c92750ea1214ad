"""Auto-PGD: gradient descent that sets its own step length."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from attacks.geometry.rows import column
from attacks.goals import Goal, met
from attacks.losses import LOSSES, Loss
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches import apgd_in_l1
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class APGD:
    """Takes momentum steps whose length is halved, image by image, when progress stalls.

    At increasingly frequent checkpoints an image's step is halved, and it returns to its best point, if fewer than
    ``rho`` of the steps since the last checkpoint lowered the loss, or if neither the step nor the best loss has
    changed since then.

    References:
        Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks <https://arxiv.org/abs/2003.01690>, 2020. L1: :func:`attacks.searches.apgd_in_l1.descend`.

    Deviations:
        An image is done at the first step that meets the goal. As in the authors' code, exactly ``rho`` of the steps is
        too few, checkpoints are rounded down, and a step halved at one checkpoint is not halved at the next merely
        because no better point was found. Unlike in that code, the start lies inside the ball and not on its surface,
        and counts as a step that lowered the loss; an image that returns to its best point restarts without momentum;
        and in L2 no part of a step is spent on values that would leave [0, 1].

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
    """The norm in which ``eps`` is measured."""
    steps: int = 100
    """Number of gradient steps."""
    rho: float = 0.75
    """Fraction of steps that must lower the loss for the step length to stay."""
    momentum: float = 0.75
    """Weight of the new step; the rest repeats the previous move."""
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
    """Run the steps of APGD on the active images; those that are fooled leave.

    Args:
        active: The images, their budgets, and the aim to descend.
        x_adv: Where to start (n, ...).
        loss: The loss of the aim.
        steps: Number of gradient steps.
        first_step: Length of the first step, as a fraction of ``eps``.
        rho: Fraction of steps that must lower the loss, see :class:`APGD`.
        momentum: Weight of the new step, see :class:`APGD`.

    Returns:
        The points with the lowest loss, for the images still active.
    """
    if active.norm.sparse:
        return apgd_in_l1.descend(active, x_adv, loss, steps)
    state, checkpoints = _Descent.begin(x_adv, first_step * active.eps), _checkpoints(steps)
    for i in range(steps):
        if not len(active):
            return state.best
        at = active.slope(state.x_adv, loss)
        if (stay := active.take_out(state.x_adv, at.fooled)) is not None:
            state, at = state.select(stay), at.select(stay)
        state = state.after(at.loss, at.gradient)
        if i in checkpoints:
            state = state.check(rho * checkpoints[i])
        x_adv, weight = state.x_adv, momentum if i else 1.0
        aim = active.ball.nearest(x_adv + active.norm.step(x_adv, state.gradient, state.step))
        moved = x_adv.lerp(aim, weight).add_(x_adv - state.before, alpha=1 - weight)
        state = state._replace(x_adv=active.ball.nearest(moved), before=x_adv)
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
    before: Tensor
    """The previous point."""
    step: Tensor
    """Length of the next step."""
    gradient: Tensor
    """Gradient to follow from the current point."""
    best: Tensor
    """The point with the lowest loss."""
    best_gradient: Tensor
    """The gradient at that point."""
    best_loss: Tensor
    """The lowest loss so far."""
    last_loss: Tensor
    """Loss at the last step."""
    lowered: Tensor
    """Steps since the last checkpoint that lowered the loss."""
    loss_then: Tensor
    """Lowest loss at the last checkpoint."""
    halved_then: Tensor
    """Whether the step was halved at the last checkpoint."""

    @classmethod
    def begin(cls, x_adv: Tensor, step: Tensor) -> Self:
        never = x_adv.new_full((len(x_adv),), torch.inf)
        none, flat = torch.zeros_like(never), torch.zeros_like(x_adv)
        return cls(x_adv, x_adv, step, flat, x_adv, flat, never, never, none, never, none.bool())

    def select(self, index: Tensor) -> "_Descent":
        """The state of some of the images."""
        return _Descent(*(part[index] for part in self))

    def after(self, loss: Tensor, gradient: Tensor) -> Self:
        """The state once the loss and gradient at the current point are known."""
        better = loss < self.best_loss
        image = column(better, self.x_adv)
        return self._replace(
            gradient=gradient,
            best=torch.where(image, self.x_adv, self.best),
            best_gradient=torch.where(image, gradient, self.best_gradient),
            best_loss=torch.where(better, loss, self.best_loss),
            last_loss=loss,
            lowered=self.lowered + (loss < self.last_loss),
        )

    def check(self, enough: float) -> Self:
        """The state after a checkpoint: images that have stalled halve their step and return to their best point."""
        unchanged = ~self.halved_then & (self.best_loss >= self.loss_then)
        stalled = (self.lowered <= enough) | unchanged
        back = column(stalled, self.x_adv)
        return self._replace(
            x_adv=torch.where(back, self.best, self.x_adv),
            before=torch.where(back, self.best, self.before),
            step=torch.where(stalled, self.step / 2, self.step),
            gradient=torch.where(back, self.best_gradient, self.gradient),
            lowered=torch.zeros_like(self.lowered),
            loss_then=self.best_loss,
            halved_then=stalled,
        )


def _checkpoints(steps: int) -> dict[int, int]:
    """Step of each checkpoint -> steps since the previous one: 22 % at first, then shrinking, at least 6 %."""
    places, place, interval = {}, 0, max(int(0.22 * steps), 1)
    while (place := place + interval) < steps:
        places[place] = interval
        interval = max(interval - max(int(0.03 * steps), 1), int(0.06 * steps), 1)
    return places

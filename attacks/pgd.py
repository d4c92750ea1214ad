"""Projected gradient descent."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.goals import Goal
from attacks.losses import LOSSES
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Descends the loss, projecting every step onto the ball and [0, 1].

    ``x <- P(x - relative_step * eps * steepest(gradient of the loss))``

    References:
        Madry et al., Towards deep learning models resistant to adversarial attacks
        <https://arxiv.org/abs/1706.06083>, 2018. L1: sparse steps as in Tramer and Boneh, Adversarial training and
        robustness for multiple perturbations <https://arxiv.org/abs/1904.13000>, 2019.

    Deviations:
        An image is done at the first step that meets the goal, not after the last. The margin is the default loss,
        because it does not saturate; ``loss="ce"`` is the paper's. In L2 and L1 no part of a step is spent on values
        that would leave [0, 1].

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = PGD(norm=Linf(), steps=10)(lambda x: x, x, goal, eps=8 / 255)
        >>> bool(goal.margin(x_adv) < 0)  # 8/255 is too little here
        False
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    steps: int = 40
    """Number of gradient steps."""
    relative_step: float = 0.0625
    """Length of a step as a fraction of ``eps``: 40 of them reach 2.5 times as far as needed."""
    random_start: bool = True
    """Whether to start at a random point in the ball."""
    loss: str = "margin"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        x_adv = active.x
        if self.random_start:
            start = self.norm.random(x.shape[1:], active.eps, seed, active.goal.ids, draw=0)
            x_adv = (active.x + start.to(x)).clamp_(0, 1)
        for _ in range(self.steps):
            if not len(active):
                break
            at = active.slope(x_adv, LOSSES[self.loss])
            x_adv, gradient = active.retire(x_adv, at.fooled, at.gradient)
            step = self.norm.step(x_adv, gradient, self.relative_step * active.eps)
            x_adv = active.ball.nearest(x_adv + step)
        return active.finish(x_adv)

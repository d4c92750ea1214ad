"""Variance tuned momentum: uses gradients of neighbours."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.goals import Goal
from attacks.losses import LOSSES
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import Slope
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.momentum import begin, descend
from attacks.searches.neighbours import near


@dataclass(frozen=True, kw_only=True)
class VMI:
    """Takes momentum steps along gradients corrected by how those of random neighbours differed at the last step.

    References:
        Wang and He, Enhancing the transferability of adversarial attacks through variance tuning
        <https://arxiv.org/abs/2103.15571>, 2021: VMI-FGSM.

    Deviations:
        Any goal. Neighbours stay in [0, 1]. In L2 they are drawn from a ball, and no part of a step is spent on values
        that would leave [0, 1].

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> VMI()(lambda x: x, x, goal, eps=0.125)
        tensor([[0.4750, 0.6250]])
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "for transfer"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    steps: int = 10
    """Number of gradient steps."""
    relative_step: float = 0.1
    """Length of a step as a fraction of ``eps``."""
    decay: float = 1.0
    """Weight of the earlier gradients; each gradient is scaled to L1 norm 1."""
    neighbours: int = 20
    """Number of neighbours of each image in a step."""
    radius: float = 1.5
    """Largest distance of a neighbour as a multiple of ``eps``."""
    loss: str = "ce"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        loss = LOSSES[self.loss]
        active, gradient = begin(self, model, x, goal, eps)
        last = active.x, gradient  # where the last step began

        def look(x_adv: Tensor, step: int) -> Slope:
            nonlocal last
            before, own = last
            around = [
                active.slope(near(active, before, self.radius, seed, draw), loss).gradient
                for draw in range(step * self.neighbours, (step + 1) * self.neighbours)
            ]
            at = active.slope(x_adv, loss)
            last = x_adv, at.gradient
            return at._replace(gradient=at.gradient + sum(around) / len(around) - own)

        return descend(self, active, gradient, look)

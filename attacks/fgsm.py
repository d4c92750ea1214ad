"""Fast gradient method: one step of full length."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.geometry.ball import added, radii
from attacks.goals import Goal
from attacks.losses import LOSSES
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.inputs import check_call, check_parameters, clean_slope


@dataclass(frozen=True, kw_only=True)
class FGSM:
    """Takes the worst point in the ball for the linearised model: FGSM for Linf, its analogues for the other norms.

    References:
        Goodfellow et al., Explaining and harnessing adversarial examples <https://arxiv.org/abs/1412.6572>, 2015.

    Deviations:
        Any goal, any norm; values that are already at the end of their range are skipped in L2, L1 and L0. In L1 the
        step is spread over the 1 % of the values that matter most, whereas the best step for a linear model would
        change very few.

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> FGSM()(lambda x: x, x, goal, eps=0.125)
        tensor([[0.4750, 0.6250]])
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "one step"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    loss: str = "ce"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`; uses no random numbers."""
        check_call(self, eps, seed)
        at = clean_slope(model, x, goal, self.norm, eps, LOSSES[self.loss])
        x = x.detach()
        size = radii(eps, x).masked_fill(at.fooled, 0)  # an image that meets the goal stays unchanged
        return added(x, self.norm.step(x, at.gradient, size), size, self.norm.measure)

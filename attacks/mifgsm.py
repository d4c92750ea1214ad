"""Momentum iterative FGSM: perturbations that transfer."""

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


@dataclass(frozen=True, kw_only=True)
class MIFGSM:
    """Takes gradient steps with momentum, which carries them past the peculiarities of one model.

    References:
        Dong et al., Boosting adversarial attacks with momentum <https://arxiv.org/abs/1710.06081>, 2018.

    Deviations:
        Any goal. Steps are twice as long as the paper's ``eps / steps``: on five pairs of networks the images transfer
        as often, or up to 6 % of them more, and they fool more on the network itself. In L2 no part of a step is spent
        on values that would leave [0, 1].

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> MIFGSM()(lambda x: x, x, goal, eps=0.125)
        tensor([[0.4750, 0.6250]])
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    steps: int = 10
    """Number of gradient steps."""
    relative_step: float = 0.2
    """Length of a step as a fraction of ``eps``."""
    decay: float = 1.0
    """Weight of the earlier gradients; each gradient is scaled to L1 norm 1."""
    loss: str = "ce"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""
    early_stop: bool = False
    """Whether an image is done at the first step that fools this model. Candidates that this model misclassifies
    confidently transfer better, so by default all steps are taken."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`; uses no random numbers."""
        check_call(self, eps, seed)
        active, gradient = begin(self, model, x, goal, eps)

        def look(x_adv: Tensor, step: int) -> Slope:
            return active.slope(x_adv, LOSSES[self.loss])

        return descend(self, active, gradient, look, early_stop=self.early_stop)

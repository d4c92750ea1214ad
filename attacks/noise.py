"""Random noise: the baseline that every attack must beat."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.goals import Goal, met
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Tries random points in the ball until one meets the goal. Needs no gradient.

    An attack's success rate means little if noise of the same size does as well.

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.55, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = Noise(draws=20)(lambda x: x, x, goal, eps=0.1)
        >>> bool(goal.margin(x_adv) < 0)
        True
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "decisions"
    search: ClassVar[Search] = "blind"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    draws: int = 100
    """Number of random points tried for each image."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        x_adv = active.x
        for draw in range(self.draws):
            if not len(active):
                break
            delta = self.norm.random(x.shape[1:], active.eps, seed, active.goal.ids, draw)
            x_adv = delta.to(x).add_(active.x).clamp_(0, 1)
            (x_adv,) = active.retire(x_adv, met(active.goal, forward(active.model, x_adv, active.goal)))
        return active.found

"""Maximin expected flatness: seeks flat regions."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.geometry.rows import column, in_range, mean_of
from attacks.goals import Goal
from attacks.losses import LOSSES
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import Slope
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.momentum import descend
from attacks.searches.neighbours import near
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class MEF:
    """Takes momentum steps along the mean gradient of neighbours, each shifted slightly by its previous gradients.

    A candidate in a wide, flat region that fools this network is more likely to fool another one. Such regions are
    found by following the worst point near each of many neighbours. Their gradients in the previous steps show where
    that point lies, so that no extra passes are needed.

    References:
        Qiu et al., Boosting adversarial transferability with low-cost optimization via maximin expected flatness
        <https://arxiv.org/abs/2405.16181>, 2024.

    Deviations:
        Any goal. By default half as many steps, as many as the other attacks here take. Neighbours stay in [0, 1]. In
        L2 they are drawn from a ball and moved by steps of that norm, and no part of a step is spent on values that
        would leave [0, 1].

    Example:
        >>> import torch
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> MEF()(lambda x: x, x, goal, eps=0.125)
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
    decay: float = 0.5
    """Weight of the earlier gradients; each gradient is scaled to L1 norm 1."""
    neighbours: int = 20
    """Number of neighbours of each image in a step."""
    radius: float = 2.0
    """Largest distance of a neighbour as a multiple of ``eps``."""
    inner_step: float = 0.15
    """Mean distance by which the values of a neighbour are then shifted, as a fraction of ``eps``."""
    inner_decay: float = 0.9
    """Weight of a neighbour's earlier directions, which are subtracted."""
    loss: str = "ce"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        directions: list[Tensor | float] = [0.0] * self.neighbours

        def look(x_adv: Tensor, step: int) -> Slope:
            found = [at_neighbour(x_adv, step, i) for i in range(self.neighbours)]
            return found[0]._replace(gradient=mean_of([at.gradient for at in found]))

        def at_neighbour(x_adv: Tensor, step: int, i: int) -> Slope:
            point = near(active, x_adv, self.radius, seed, step * self.neighbours + i)
            point = (point - self.inner_step * column(active.eps, x_adv) * directions[i]).clamp_(0, 1)
            at = active.slope(point, LOSSES[self.loss])
            directions[i] = _unit(at.gradient, active.norm) - self.inner_decay * directions[i]
            return at

        first = look(active.x, 0).gradient if len(active) else active.x
        return descend(self, active, first, look)


def _unit(gradient: Tensor, norm: Norm) -> Tensor:
    """Gradients (n, ...) scaled to a mean absolute value of 1 where each value has its own budget, else to norm 1."""
    gradient = in_range(gradient)
    size = gradient.abs().flatten(1).mean(1) if norm.per_value else norm.measure(gradient)
    return gradient / column(size, gradient).clamp_min(1e-30)

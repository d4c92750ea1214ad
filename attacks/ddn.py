"""Decoupled direction and norm: a minimum-L2 attack."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.rows import column, flat
from attacks.goals import Goal, met
from attacks.losses import LOSSES
from attacks.norms import L2, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.draws import normal
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class DDN:
    """Walks along a sphere around the clean image that shrinks while the goal is met and grows while it is not.

    References:
        Rony et al., Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and defenses
        <https://arxiv.org/abs/1811.09600>, 2019.

    Deviations:
        No rounding to 256 levels inside the loop. The margin is the default loss; ``loss="ce"`` is the paper's. As in
        the authors' code the sphere grows no larger than [0, 1] allows, and an image without a gradient takes a random
        step.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = DDN()(lambda x: x, x, goal)
        >>> bool(L2().measure(x_adv - x) < 0.08)  # the boundary is 0.0707 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "float32"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    norm: Norm = L2()
    """The norm to minimise."""
    steps: int = 100
    """Number of gradient steps."""
    init_eps: float = 1.0
    """Initial radius of the sphere, image units."""
    gamma: float = 0.05
    """Fraction by which the radius changes in a step."""
    loss: str = "margin"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        if not len(active):
            return active.found
        best = Nearest(active.x, self.norm, active.eps)
        largest = active.farthest
        radius = largest.clamp_max(self.init_eps)
        x_adv = active.x
        for step in range(self.steps):
            at = active.slope(x_adv, LOSSES[self.loss])
            fooled = at.fooled
            delta = x_adv - active.x
            best.offer(x_adv, fooled, self.norm.measure(delta))
            radius = torch.where(fooled, radius * (1 - self.gamma), radius * (1 + self.gamma))
            radius = torch.minimum(radius, largest)
            rate = 0.01 + 0.99 * (1 + math.cos(math.pi * step / self.steps)) / 2
            delta -= self.norm.steepest(_or_random(at.gradient, seed, active.goal.ids, step), rate)
            length = self.norm.measure(delta).clamp_min(1e-12)
            x_adv = delta.mul_(column(radius / length, delta)).add_(active.x).clamp_(0, 1)
        best.offer(x_adv, met(active.goal, forward(active.model, x_adv, active.goal)))
        return active.finish(best)


def _or_random(gradient: Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
    """Gradients (n, ...), replaced by random directions where they are zero."""
    none = (~flat(gradient).any(1)).nonzero().squeeze(1)
    if not len(none):
        return gradient
    return gradient.index_copy(0, none, normal(seed, ids[none], draw, gradient.shape[1:]).to(gradient))

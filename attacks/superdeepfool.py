"""SuperDeepFool: few steps, nearly the smallest size."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.deepfool import cross, rivals
from attacks.geometry.rows import column, flat
from attacks.goals import Goal, met
from attacks.losses import margin
from attacks.norms import L2, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import forward, slope
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.bisection import pull_back
from attacks.searches.nearest import Nearest, nearby
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class SuperDeepFool:
    """Alternates DeepFool with projections onto the normal of the boundary reached.

    At the nearest point of a boundary the line from the image meets it at a right angle. So only the component of
    DeepFool's perturbation along the boundary's normal is kept, and DeepFool continues from there.

    References:
        Abdolahpourrostam et al., Revisiting DeepFool: generalization and improvement
        <https://arxiv.org/abs/2303.12481>, 2023: SDF(infinity, 1).

    Deviations:
        An image is done at the first projection that fools, as in the paper, but the nearest point overall is returned.
        For the boundaries see :class:`attacks.DeepFool`.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = SuperDeepFool()(lambda x: x, x, goal)
        >>> bool(L2().measure(x_adv - x) < 0.0708)  # the boundary is 0.0707 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    norm: Norm = L2()
    """The norm to minimise."""
    steps: int = 20
    """Number of projections, each after a run of DeepFool."""
    inner_steps: int = 50
    """Largest number of DeepFool steps in each run."""
    candidates: int = 10
    """Number of boundaries considered."""
    overshoot: float = 0.02
    """Fraction by which a step of DeepFool is longer than it needs to be."""
    search_steps: int = 10
    """Number of bisections, at the end, of the line between the image and the point found."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`; uses no random numbers."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        if not len(active):
            return active.found
        ways, x_adv = rivals(active, self.candidates), active.x.clone()
        best, crossings = Nearest(active.x, self.norm), Nearest(active.x, self.norm)
        rows = torch.arange(len(active), device=x.device)
        for _ in range(self.steps):
            some = active.goal.select(rows)
            crossed, _ = cross(active, rows, x_adv[rows], ways, self.norm, self.inner_steps, self.overshoot)
            at = slope(active.model, crossed, some, margin)
            crossings.offer_for(rows, crossed, at.fooled)
            normal = self.norm.steepest(at.gradient, 1.0)
            along = (flat(crossed - active.x[rows]) * flat(normal)).sum(1)
            x_adv[rows] = (x_adv[rows] + column(along, normal) * normal).clamp_(0, 1)
            fooled = met(some, forward(active.model, x_adv[rows], some))
            best.offer_for(rows, x_adv[rows], fooled)
            rows = rows[~fooled]
            if not len(rows):
                break
        pull_back(active, best, self.search_steps)
        best.offer(crossings.x_adv, crossings.found)
        return active.finish(nearby(active.x, best.x_adv, self.norm, active.eps))

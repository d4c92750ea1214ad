"""FAB: projections onto linearised decision boundaries."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.deepfool import beyond, rivals
from attacks.geometry.rows import column, flat
from attacks.goals import Goal, met
from attacks.losses import margin
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import Slope, forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.bisection import pull_back
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class FAB:
    """Steps to the linearised boundary within [0, 1], biased towards the boundary point nearest to the image.

    Once beyond the boundary it goes part of the way back, and repeats. This is done for several rivals, the nearest
    first (FAB-T); the nearest point overall is kept.

    References:
        Croce and Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack
        <https://arxiv.org/abs/1907.02044>, 2020.

    Deviations:
        Only the targeted form, as used by AutoAttack; for goals other than untargeted the targets are the
        ways to meet the goal, see :func:`attacks.objectives.rivals.ways_to`. No random restarts. The final search
        bisects the line between the image and the nearest point found; the paper's locates the boundary by
        interpolation, three times.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = FAB(norm=Linf(), steps=20)(lambda x: x, x, goal)
        >>> bool(Linf().measure(x_adv - x) < 0.0505)  # the boundary is 0.05 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    norm: Norm = Linf()
    """The norm to minimise."""
    steps: int = 50
    """Number of gradient steps for each target; each takes two forward passes."""
    targets: int = 9
    """Number of rivals tried."""
    bias: float = 0.1
    """Largest weight of the boundary point nearest to the image."""
    overshoot: float = 1.05
    """Overshoot factor, where 1 is the boundary of the linearised model."""
    retreat: float = 0.9
    """Fraction of the perturbation that remains after a step back."""
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
        best = Nearest(active.x, self.norm, active.eps)
        self.walk(active, best)
        pull_back(active, best, self.search_steps)
        return active.finish(best)

    def walk(self, active: Survivors, best: Nearest) -> None:
        """Run the steps towards each target, starting from the images; nearer points go into ``best``."""
        for aim in rivals(active, self.targets):
            x_adv = active.x
            for _ in range(self.steps):
                at = active.slope(x_adv, margin, aim=aim)
                best.offer(x_adv, at.fooled)  # it may still fool after the step back
                x_adv = self._step(active, at, x_adv)
                fooled = met(active.goal, forward(active.model, x_adv, active.goal))
                best.offer(x_adv, fooled)
                back = torch.ones_like(active.eps).masked_fill(fooled, self.retreat)
                x_adv = active.x + (x_adv - active.x) * column(back, x_adv)

    def _step(self, active: Survivors, at: Slope, x_adv: Tensor) -> Tensor:
        """Step to the linearised boundary from here and from the image, and return a point between the two."""
        depth = beyond(at.loss, at.logits, self.norm.dual(at.gradient))
        climb = (flat(at.gradient) * flat(active.x - x_adv)).sum(1)
        from_here = self.norm.to_plane(x_adv, at.gradient, -depth)
        from_image = self.norm.to_plane(active.x, at.gradient, -(depth + climb))
        here, image = self.norm.measure(from_here), self.norm.measure(from_image)
        weight = column((here / (here + image).clamp_min(1e-12)).clamp_max(self.bias), x_adv)
        near, straight = x_adv + self.overshoot * from_here, active.x + self.overshoot * from_image
        return near.lerp(straight, weight).clamp_(0, 1)

"""The smallest perturbation that several searches find."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.deepfool import rivals
from attacks.fab import FAB
from attacks.fmn import FMN
from attacks.goals import Goal, met
from attacks.losses import margin
from attacks.norms import L2, Linf, Norm
from attacks.pdpgd import PDPGD
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.draws import uniform
from attacks.searches.fewer import fewer
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors
from attacks.sigma_zero import SigmaZero

HAIR = 0.01
"""Fraction by which a ball is smaller than the nearest adversarial perturbation."""
UNKNOWN, WIDER = 0.5, 1.02
"""Radius of the first ball while no adversarial image is known, as a fraction of the largest perturbation that [0, 1]
allows; and the factor by which it grows with every step."""
FIRST, LAST = 0.6, 0.02
"""Lengths of the first and the last step of a descent, as fractions of the ball's radius."""
NEW = 0.75
"""Weight of the new step in a descent; the rest repeats the previous move."""
CLOSE, GAMMA = 0.2, 0.02
"""Length of the first step along the boundary, as a fraction of the perturbation's L2 length, and the fraction by which
the radius changes in that step."""
FEW = 3
"""Number of rivals that exchanges in L0 aim at, in addition to the goal."""


@dataclass(frozen=True, kw_only=True)
class Closest:
    """Runs three searches in turn, each starting from what the previous ones found.

    1. Walk to linearised boundaries, of the nearest rivals one after another: a few steps of FAB, so that a first size
       is known for most images. In L0, a short run of sigma-zero.
    2. Look elsewhere. In L2, L1 and L0, two searches of PDPGD. In Linf, descents of the margin to one rival after
       another, each from a random corner of a ball slightly smaller than the best perturbation so far; whenever a
       descent succeeds, the ball shrinks and the descent continues.
    3. From the nearest image overall, walk along the boundary in ever shorter steps, as FMN does. In L0, exchange
       values for others, always with a budget smaller than the best so far (:func:`attacks.searches.fewer.fewer`): from
       that image, then from random changes of it, towards the goal and one rival after another.

    Finding the right region and getting close within it are two separate tasks: the first two searches get past masked
    gradients, where FMN fails, and from a point they found FMN ends nearer than they do. In total this takes up to
    1,000 forward and 980 backward passes per image.

    References:
        Croce and Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack
        <https://arxiv.org/abs/1907.02044>, 2020. Matyasko and Chau, PDPGD: primal-dual proximal gradient descent
        adversarial attack <https://arxiv.org/abs/2106.01538>, 2021. Pintor et al., Fast minimum-norm adversarial
        attacks through adaptive norm constraints <https://arxiv.org/abs/2102.12827>, 2021. Cina et al., Sigma-zero:
        gradient-based optimization of l0-norm adversarial examples <https://arxiv.org/abs/2402.01879>, 2025.

    Deviations:
        A combination, identical to none of these. The descents of the second step are APGD's with a fixed schedule of
        step lengths.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = Closest()(lambda x: x, x, goal)
        >>> bool(Linf().measure(x_adv - x) < 0.0501)  # the boundary is 0.05 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    norm: Norm = Linf()
    """The norm to minimise."""
    targets: int = 5
    """Number of rivals for the first search, and for the descents in Linf."""
    walk: int = 10
    """Gradient steps towards each rival in the first search; each takes two forward passes. In L0, the steps of
    sigma-zero."""
    steps: int = 600
    """Number of gradient steps of the second search."""
    descents: int = 6
    """Number of descents in Linf, which share the steps."""
    close: int = 290
    """Number of steps along the boundary at the end; in L0, of exchanges."""

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
        if self.norm.grain:
            self._drop(active, best, seed)
            return active.finish(best)
        FAB(norm=self.norm, steps=self.walk, targets=self.targets).walk(active, best)
        if self.norm.per_value:
            self._descend(active, best, rivals(active, self.targets), seed)
        else:
            PDPGD(norm=self.norm, steps=self.steps).walk(active, best)
        length = torch.where(best.found, CLOSE * L2().measure(best.x_adv - active.x), 1.0)
        radius = torch.where(best.found, best.size, 0.0)
        FMN(norm=self.norm, steps=self.close, gamma=GAMMA).walk(active, best, best.x_adv.clone(), radius, length)
        return active.finish(best)

    def _drop(self, active: Survivors, best: Nearest, seed: int) -> None:
        """The three searches in L0, where the boundary has no direction to walk along."""
        SigmaZero(norm=self.norm, steps=2 * self.walk * self.targets).walk(active, best)
        PDPGD(norm=self.norm, steps=self.steps).walk(active, best)
        fewer(active, best, [active.goal, *rivals(active, FEW)], self.close, seed)

    def _descend(self, active: Survivors, best: Nearest, ways: Sequence[Goal], seed: int) -> None:
        """Descents from random corners, to one rival after another."""
        farthest, steps = active.farthest, max(self.steps // self.descents, 1)
        for descent in range(self.descents):
            aim = ways[descent % len(ways)]
            radius = torch.where(best.found, (1 - HAIR) * best.size, UNKNOWN * farthest)
            direction = uniform(seed, active.goal.ids, descent, active.x.shape[1:]).to(active.x) - 0.5
            x_adv = before = self.norm.within(active.x, active.x + self.norm.steepest(direction, radius), radius)
            for step in range(steps):
                at = active.slope(x_adv, margin, aim=aim)
                best.offer(x_adv, at.fooled)
                wider = torch.minimum(WIDER * radius, farthest)
                radius = torch.where(best.found, torch.minimum(radius, (1 - HAIR) * best.size), wider)
                length = FIRST * (LAST / FIRST) ** (step / steps) * radius
                there = self.norm.within(active.x, x_adv + self.norm.step(x_adv, at.gradient, length), radius)
                moved = x_adv.lerp(there, NEW if step else 1.0).add_(x_adv - before, alpha=1 - NEW)
                x_adv, before = self.norm.within(active.x, moved, radius), x_adv
            best.offer(x_adv, met(active.goal, forward(active.model, x_adv, active.goal)))

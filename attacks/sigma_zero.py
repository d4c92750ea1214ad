"""Sigma-zero: a minimum-L0 attack."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.rows import column, unit_of
from attacks.goals import Goal, met
from attacks.losses import hinge
from attacks.norms import L0, Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.adam import Adam
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class SigmaZero:
    """Minimises the margin plus a smooth count of changed values, and drops changes below a threshold.

    The threshold of an image rises while it is fooled and falls while it is not. The smooth count of a perturbation d
    of D values is the mean of ``d**2 / (d**2 + sigma)``.

    References:
        Cina et al., Sigma-zero: gradient-based optimization of l0-norm adversarial examples
        <https://arxiv.org/abs/2402.01879>, 2025.

    Deviations:
        The last candidates are evaluated too, which costs one more forward pass. Where a margin's gradient is extreme
        (a value above 128, or all below 1/128), the margin is divided by a power of two first.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5, 0.4]]), Untargeted(torch.tensor([0]))
        >>> x_adv = SigmaZero()(lambda x: x, x, goal)
        >>> L0().measure(x_adv - x)
        tensor([1.])
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    norm: Norm = L0()
    """The norm to minimise."""
    steps: int = 300
    """Number of gradient steps."""
    step_size: float = 1.0
    """Length of the first step, image units per value; falls to a tenth along a cosine."""
    sigma: float = 1e-3
    """Sharpness of the smooth count between changed and unchanged values, image units squared."""
    threshold: float = 0.3
    """Initial threshold, image units."""
    threshold_step: float = 0.01
    """Amount by which the threshold moves, as a fraction of the step length."""

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
        return active.finish(best)

    def walk(self, active: Survivors, best: Nearest) -> None:
        """Run the steps from the images; nearer points go into ``best``."""
        adam = Adam(active.x)
        delta, threshold = torch.zeros_like(active.x), torch.full_like(active.eps, self.threshold)
        unit = torch.ones_like(active.eps)
        for step in range(self.steps):
            rate = self.step_size * (0.1 + 0.9 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            at = active.slope(active.x + delta, hinge)
            fooled = at.fooled
            best.offer(active.x + delta, fooled, self.norm.measure(delta))
            if not step:
                unit = unit_of(Linf().measure(at.gradient), beyond=_STEEP)
            gradient = at.gradient / column(unit, delta) + self._count_slope(delta)
            gradient /= column(Linf().measure(gradient), gradient).clamp_min(torch.finfo(gradient.dtype).tiny)
            delta = (active.x + delta - rate * adam.step(gradient)).clamp_(0, 1) - active.x
            threshold = (threshold + rate * self.threshold_step * (2 * fooled.to(threshold) - 1)).clamp_(0, 1)
            delta *= delta.abs() >= column(threshold, delta)
        best.offer(active.x + delta, met(active.goal, forward(active.model, active.x + delta, active.goal)))

    def _count_slope(self, delta: Tensor) -> Tensor:
        """Gradient of the smooth count, shaped like ``delta``."""
        values = delta[0].numel()
        return delta * (2 * self.sigma / values) / (delta.square() + self.sigma).square_()


_STEEP = 128.0
"""Largest value of a gradient with which the margin is weighed as it is, and the inverse of the smallest."""

"""The top-k exclusion attack: drive all of the first k classes out of the first k."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.fmn import follow
from attacks.goals import Goal, met
from attacks.gradients import forward, slope
from attacks.inputs import check_parameters
from attacks.losses import Loss
from attacks.norms import L2, Linf, Norm, within
from attacks.protocols import Kind, Model
from attacks.track import Nearest, Survivors


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Descends a smooth margin inside a ball whose radius follows the boundary. Takes any goal.

    To exclude k classes, k others must rise above all of them, and which others is free. The margin looks at one
    pair of classes at a time, the highest of the old and the k-th of the new, and that pair changes from step to
    step. The smooth margin looks at all of them at once, weighted by how much they matter, and is sharpened into
    the margin as the steps shorten.

    References:
        The radius follows the boundary as in Pintor et al., Fast minimum-norm adversarial attacks through adaptive norm
        constraints <https://arxiv.org/abs/2102.12827>, 2021. The goal (no class of the old first k among the new
        first k, in any order) has no published attack; ordered targets: Zhang and Wu, Learning ordered top-k
        adversarial attacks via adversarial distillation <https://arxiv.org/abs/1905.10695>, 2020.

    Example:
        >>> from attacks import TopKExclusion
        >>> x = torch.tensor([[0.9, 0.8, 0.5, 0.4]])
        >>> goal = TopKExclusion.from_logits(x, k=2)
        >>> x_adv = TopK()(lambda x: x, x, goal)
        >>> goal.margin(x_adv) < 0, (Linf().measure(x_adv - x) < 0.26).item()  # 0.25 is the least
        (tensor([True]), True)
    """

    kind: ClassVar[Kind] = "minimum norm"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    norm: Norm = Linf()
    """The norm that is made small."""
    steps: int = 200
    """Gradient steps."""
    gamma: float = 0.05
    """By what fraction the radius changes in the first step; falls to a fiftieth along a cosine."""
    step_size: float | None = None
    """Length of the first step as a fraction of the perturbation's; falls to a hundredth along a cosine. None: 0.5 for
    Linf; in the other norms steps follow the gradient and are measured in L2, 1 for L2 and 2 for L1 and L0."""
    temperature: float = 0.1
    """Of the smooth margin at first, in standard deviations of the logits; falls to a tenth along a cosine."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`; nothing is drawn."""
        left = Survivors(model, x, goal, self.norm, eps)
        if not len(left):
            return left.found
        best = Nearest(left.x, self.norm, left.eps)
        # Sparse steps, the steepest in L1 and L0, would change too few values at a time.
        geometry = self.norm if isinstance(self.norm, Linf) else L2()
        first_step = self.step_size or {"linf": 0.5, "l2": 1.0, "l1": 2.0, "l0": 2.0}[self.norm.name]
        x_adv, radius = left.x, torch.zeros_like(left.eps)
        for step in range(self.steps):
            fall = (1 + math.cos(math.pi * step / self.steps)) / 2
            at = slope(model, x_adv, left.goal, self._loss(0.1 + 0.9 * fall))
            fooled = met(left.goal, at.logits)
            best.offer(x_adv, fooled)
            reach = self.norm.measure(x_adv - left.x) + at.loss.abs() / self.norm.dual(at.gradient).clamp_min(1e-12)
            radius = follow(self.norm, radius, reach, self.gamma * (0.02 + 0.98 * fall), fooled, best)
            radius = torch.minimum(radius, left.eps)
            length = geometry.measure(x_adv - left.x).clamp_min(1e-3)
            move = geometry.steepest(-at.gradient, first_step * (0.01 + 0.99 * fall) * length)
            x_adv = within(self.norm, left.x, x_adv + move, radius)
        best.offer(x_adv, met(left.goal, forward(model, x_adv, left.goal)))
        left.found[left.rows] = best.x_adv
        return left.found

    def _loss(self, fall: float) -> Loss:
        """The smooth margin at a fraction of the first temperature."""

        def loss(logits: Tensor, goal: Goal) -> Tensor:
            # Equal logits have no deviation, and a temperature of 0 no gradient.
            spread = logits.detach().std(1).clamp_min(1e-6)
            return goal.margin(logits, self.temperature * fall * spread)

        return loss

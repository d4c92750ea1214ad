"""Carlini and Wagner's attack: a minimum-L2 attack."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.adam import Adam
from attacks.goals import Goal
from attacks.gradients import slope
from attacks.inputs import check_parameters
from attacks.losses import hinge
from attacks.norms import L2, Norm, column
from attacks.protocols import Kind, Model
from attacks.search import Bisection
from attacks.track import Nearest, Survivors


@dataclass(frozen=True, kw_only=True)
class CW:
    """Descends size plus a constant times the margin by Adam, and searches for the least constant that fools.

    Images are written as ``(tanh(w) + 1) / 2``, so that they cannot leave [0, 1]; what is descended over w is
    ``|x_adv - x|**2 + constant * margin``, the margin counting as long as the goal is not met.

    References:
        Carlini and Wagner, Towards evaluating the robustness of neural networks
        <https://arxiv.org/abs/1608.04644>, 2017.

    Deviations:
        No confidence: the nearest fooling image is looked for, and no more. L2 alone; for Linf, which the paper
        reaches by a series of penalties, FMN and APGD find less with less.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = CW()(lambda x: x, x, goal)
        >>> bool(L2().measure(x_adv - x) < 0.075)  # the boundary is 0.0707 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    norm: Norm = L2()
    """The norm that is made small."""
    steps: int = 200
    """Gradient steps for each constant."""
    constants: int = 9
    """How many constants are tried."""
    first_constant: float = 0.1
    """Grows tenfold until it fools."""
    step_size: float = 0.01
    """Of Adam, in w."""

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
        search = Bisection(torch.full_like(left.eps, self.first_constant), factor=10.0)
        for _ in range(self.constants):
            search.tell(self._descend(left, best, search.value))
        left.found[left.rows] = best.x_adv
        return left.found

    def _descend(self, left: Survivors, best: Nearest, constant: Tensor) -> Tensor:
        """One run; bool (n,) where it fooled."""
        # White and black lie at infinity.
        w = torch.atanh((2 * left.x - 1) * (1 - 1e-6))
        adam, ever = Adam(w), torch.zeros_like(constant, dtype=torch.bool)
        for _ in range(self.steps):
            x_adv = ((w.tanh() + 1) / 2).clamp_(0, 1)
            at = slope(left.model, x_adv, left.goal, hinge)
            fooled, delta = at.fooled, x_adv - left.x
            best.offer(x_adv, fooled, self.norm.measure(delta))
            ever |= fooled
            gradient = 2 * delta + column(constant, delta) * at.gradient
            w = w - self.step_size * adam.step(gradient * (2 * x_adv * (1 - x_adv)))
        return ever

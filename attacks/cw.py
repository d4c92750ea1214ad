"""Carlini and Wagner's attack: a minimum-L2 attack."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.losses import hinge
from attacks.norms import L2, Norm, column
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import slope
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.adam import Adam
from attacks.searches.bisection import Bisection
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class CW:
    """Descends size plus a constant times the margin by Adam, and searches for the least constant that fools.

    Images are written as ``(tanh(w) + 1) / 2``, so that they cannot leave [0, 1]; what is descended over w is
    ``|x_adv - x|**2 + constant * margin``, the margin counting as long as the goal is not met.

    References:
        Carlini and Wagner, Towards evaluating the robustness of neural networks
        <https://arxiv.org/abs/1608.04644>, 2017.

    Deviations:
        No confidence: the nearest fooling image is looked for, and no more. An image of which nothing more comes
        leaves the run by itself; in the authors' code the whole batch goes on until that holds for all. There the
        last of ten or more constants is the smallest that fooled, once again; here it is a new one. L2 alone; for
        Linf, which the paper reaches by a series of penalties, FMN and APGD find less with less.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = CW()(lambda x: x, x, goal)
        >>> bool(L2().measure(x_adv - x) < 0.075)  # the boundary is 0.0707 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "gradients"
    search: ClassVar[Search] = "many steps"
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
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        if not len(active):
            return active.found
        best = Nearest(active.x, self.norm, active.eps)
        search = Bisection(torch.full_like(active.eps, self.first_constant), factor=10.0)
        for _ in range(self.constants):
            search.tell(self._descend(active, best, search.value))
        return active.finish(best)

    def _descend(self, active: Survivors, best: Nearest, constant: Tensor) -> Tensor:
        """One run; bool (n,) where it fooled."""
        # White and black lie at infinity.
        w = torch.atanh((2 * active.x - 1) * (1 - 1e-6))
        adam, ever = Adam(w), torch.zeros_like(constant, dtype=torch.bool)
        rows, x, goal = torch.arange(len(active), device=w.device), active.x, active.goal
        before, patience = torch.full_like(constant, torch.inf), torch.full_like(constant, _PATIENCE)
        for step in range(self.steps):
            tanh = w.tanh()
            x_adv = (tanh + 1).div_(2)
            at = slope(active.model, x_adv, goal, hinge)
            delta = x_adv - x
            size = self.norm.measure(delta)
            best.offer_for(rows, x_adv, at.fooled, size)
            ever[rows] |= at.fooled
            gradient = (column(constant, delta) * at.gradient).add_(delta, alpha=2)
            gradient.mul_(tanh.square_().neg_().add_(1).div_(2))
            w = w.sub_(adam.step(gradient), alpha=self.step_size)
            if step % max(self.steps // _LOOKS, 1) == 0:
                value = size.square() + constant * at.loss
                patience = torch.where(value < _ENOUGH * before, _PATIENCE, patience - 1)
                before = value
                on = (patience > 0).nonzero().squeeze(1)
                if not len(on):
                    break
                if len(on) < len(rows):
                    w, rows, x, constant, before, patience = (
                        part[on] for part in (w, rows, x, constant, before, patience)
                    )
                    goal = goal.select(on)
                    adam.select(on)
        return ever


_LOOKS, _ENOUGH, _PATIENCE = 10, 0.9999, 2
"""So often in a run it is asked whether an image's sum has fallen below this fraction of what it was the time before;
an image leaves the run after so many times without. (Not of its lowest: a sum that overshoots comes down again.)"""

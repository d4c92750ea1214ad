"""Carlini and Wagner's attack: a minimum-L2 attack."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from attacks.geometry.rows import column, unit_of
from attacks.goals import Goal
from attacks.losses import hinge
from attacks.norms import L2, Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import slope
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.adam import Adam
from attacks.searches.bisection import Bisection
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class CW:
    """Minimises size plus a constant times the margin with Adam, and searches for the smallest constant that fools.

    Images are written as ``(tanh(w) + 1) / 2``, so that they cannot leave [0, 1]; the objective, minimised over w, is
    ``|x_adv - x|**2 + constant * margin``, where the margin counts as long as the goal is not met.

    References:
        Carlini and Wagner, Towards evaluating the robustness of neural networks
        <https://arxiv.org/abs/1608.04644>, 2017.

    Deviations:
        No confidence parameter: the attack looks for the nearest adversarial image and no more. An image that makes no
        more progress leaves the run individually; in the authors' code the whole batch continues until that holds for
        all. There the last of ten or more constants repeats the smallest that fooled; here it is a new one. L2 only;
        for Linf, which the paper handles by a series of penalties, FMN and APGD find smaller perturbations at lower
        cost. Where a margin's gradient is extreme (a value above 128, or all below 1/128), the margin is divided by
        a power of two first.

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
    """The norm to minimise."""
    steps: int = 200
    """Number of gradient steps for each constant."""
    constants: int = 9
    """Number of constants tried."""
    first_constant: float = 0.1
    """The first constant; it grows tenfold until it fools."""
    step_size: float = 0.01
    """Adam's step size, in w."""

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
        search = Bisection(torch.full_like(active.eps, self.first_constant), factor=10.0)
        for _ in range(self.constants):
            search.tell(self._descend(active, best, search.value))
        return active.finish(best)

    def _descend(self, active: Survivors, best: Nearest, constant: Tensor) -> Tensor:
        """One run with one constant per image; returns which images it fooled, bool (n,)."""
        run, goal = _Run.begin(active.x, constant), active.goal
        adam, ever = Adam(run.w), torch.zeros_like(constant, dtype=torch.bool)
        for step in range(self.steps):
            tanh = run.w.tanh()
            x_adv = (tanh + 1).div_(2)
            at = slope(active.model, x_adv, goal, hinge)
            delta = x_adv - run.x
            size = self.norm.measure(delta)
            best.offer_for(run.rows, x_adv, at.fooled, size)
            ever[run.rows] |= at.fooled
            if not step:  # at the image itself, whatever the constant
                run = run.in_units(at.gradient)
            gradient = (column(run.constant, delta) * at.gradient).add_(delta, alpha=2)
            gradient.mul_(tanh.square_().neg_().add_(1).div_(2))
            run.w.sub_(adam.step(gradient), alpha=self.step_size)
            if step % max(self.steps // _LOOKS, 1) == 0:
                run = run.after(size.square() + run.constant * at.loss)
                on = (run.patience > 0).nonzero().squeeze(1)
                if not len(on):
                    break
                if len(on) < len(run.rows):
                    run, goal = run.select(on), goal.select(on)
                    adam.select(on)
        return ever


class _Run(NamedTuple):
    """One run with one constant per image; a row for each image still in the run."""

    w: Tensor
    """Candidates, as the points that tanh maps to them."""
    x: Tensor
    """The clean images."""
    rows: Tensor
    """Their rows among all images."""
    constant: Tensor
    """Weight of the hinge."""
    before: Tensor
    """Sum of both terms at the last check."""
    patience: Tensor
    """Number of checks without progress still allowed before an image leaves."""

    @classmethod
    def begin(cls, x: Tensor, constant: Tensor) -> Self:
        v = (2 * x - 1) * (1 - 1e-6)  # white and black would lie at infinity
        w = (v.log1p() - (-v).log1p()) / 2  # torch's atanh rounds differently by position in the batch
        never, patience = torch.full_like(constant, torch.inf), torch.full_like(constant, _PATIENCE)
        return cls(w, x, torch.arange(len(x), device=x.device), constant, never, patience)

    def select(self, index: Tensor) -> "_Run":
        """The state of some of the images."""
        return _Run(*(part[index] for part in self))

    def in_units(self, gradient: Tensor) -> Self:
        """The state with constants for margins in usual units, given the margins' gradients (n, ...) at the images."""
        return self._replace(constant=self.constant / unit_of(Linf().measure(gradient), beyond=_STEEP))

    def after(self, value: Tensor) -> Self:
        """The state after a check of the sum of both terms (n,)."""
        patience = torch.where(value < _ENOUGH * self.before, _PATIENCE, self.patience - 1)
        return self._replace(before=value, patience=patience)


_STEEP = 128.0
"""Largest value of a gradient with which margins are weighed as they are, and the inverse of the smallest."""
_LOOKS, _ENOUGH, _PATIENCE = 10, 0.9999, 2
"""Number of checks per run of whether an image's sum has fallen below a fraction of its value at the last check; that
fraction; and the number of checks without such a fall after which an image leaves. (The lowest sum is no measure: a sum
that overshoots comes down again.)"""

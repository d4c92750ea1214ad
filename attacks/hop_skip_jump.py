"""HopSkipJump: a decision-based minimum-norm attack."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from attacks.geometry.rows import column
from attacks.goals import Goal, met
from attacks.norms import L2, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.bisection import Bisection
from attacks.searches.draws import normal
from attacks.searches.nearest import Nearest
from attacks.searches.starts import check_fit, check_starts, find_starts, hand_over
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class HopSkipJump:
    """Walks along the decision boundary, using only whether each candidate meets the goal.

    From an image that meets the goal, given or random, it goes straight towards the clean image up to the boundary.
    There it tries small random steps, which estimate the boundary's normal; it jumps in that direction, and returns to
    the boundary nearer to the clean image. An image for which no start is found is reported as failed.

    References:
        Chen et al., HopSkipJumpAttack: a query-efficient decision-based attack
        <https://arxiv.org/abs/1904.02144>, 2020.

    Deviations:
        The small steps are ``probe`` times the perturbation, not 1/D: in single precision a network of 100,000
        inputs cannot tell those apart; for the same reason the boundary is located to 1/65,536 of the distance,
        whatever the number of inputs. Random starts are not only noise, see :func:`attacks.searches.patterns.pattern`;
        for a targeted goal, which these seldom meet, pass the paper's image of the target class as one of ``starts``.
        The nearest image overall is returned, not the last.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = HopSkipJump(steps=5)(lambda x: x, x, goal)
        >>> bool(L2().measure(x_adv - x) < 0.08)  # the boundary is 0.0707 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "decisions"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    norm: Norm = L2()
    """The norm to minimise."""
    steps: int = 32
    """Number of jumps; each costs about 20 queries plus those for its direction."""
    start_draws: int = 100
    """Number of random images tried as a start, where no given one meets the goal."""
    directions: int = 100
    """Queries for the direction of the first jump; grows with the square root of the jump's number."""
    max_directions: int = 10_000
    """Largest number of queries for one direction."""
    probe: float = 0.01
    """Length of the small steps as a fraction of the perturbation's, in L2."""
    starts: Tensor | None = field(default=None, repr=False, compare=False)
    """Images (M, ...) to start from, of any class: the nearest that meets the goal is taken."""
    needs_start: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_parameters(self)
        check_starts(self.starts)

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`.

        Raises:
            AttackError: For images without a start.
        """
        check_call(self, eps, seed)
        check_fit(self.starts, x)
        active = Survivors.of(self, model, x, goal, eps, seed)
        x_adv, started = self._start(active, seed)
        ask = _Oracle(active.model, active.goal.select(started))
        clean, draw = active.x[started], self.start_draws
        best = Nearest(clean, self.norm, active.eps[started])
        for jump in range(self.steps if len(started) else 0):
            x_adv = _to_boundary(ask, self.norm, clean, x_adv)
            best.offer(x_adv, torch.ones_like(started, dtype=torch.bool))
            count = min(int(self.directions * math.sqrt(jump + 1)), self.max_directions)
            length = self.probe * L2().measure(x_adv - clean)
            uphill = _Estimate.begin(x_adv)
            for first in range(0, count, together := max(_VALUES // x[0].numel(), 1)):
                block = (min(together, count - first), *x.shape[1:])
                uphill = uphill.after(ask, x_adv, length, normal(seed, ask.goal.ids, draw, block).to(x))
                draw += 1
            reach = self.norm.measure(x_adv - clean) / math.sqrt(jump + 1)
            x_adv = _jump(ask, self.norm, x_adv, uphill.direction(), reach)
        if len(started):
            best.offer(_to_boundary(ask, self.norm, clean, x_adv), torch.ones_like(started, dtype=torch.bool))
        return hand_over(active, started, best.x_adv, self.start_draws, self.starts)

    def _start(self, active: Survivors, seed: int) -> tuple[Tensor, Tensor]:
        """A start that meets the goal for each image where one was found, and the positions of these images."""

        def fools(x_adv: Tensor, rows: Tensor) -> Tensor:
            return _Oracle(active.model, active.goal.select(rows)).fooled(x_adv)

        x_adv, found = find_starts(
            fools, self.norm, active.x, active.goal.ids, starts=self.starts, seed=seed, draws=self.start_draws
        )
        return x_adv[found], found.nonzero().squeeze(1)


class _Oracle(NamedTuple):
    """Says whether candidates meet the goal, and nothing else."""

    model: Model
    goal: Goal

    def fooled(self, x_adv: Tensor) -> Tensor:
        """One candidate for each image (n, ...) -> bool (n,)."""
        return met(self.goal, forward(self.model, x_adv, self.goal))

    def fooled_each(self, x_adv: Tensor) -> Tensor:
        """Several candidates for each image (n, k, ...) -> bool (n, k)."""
        count, times = x_adv.shape[:2]
        rows = torch.arange(count, device=x_adv.device).repeat_interleave(times)
        every, together = x_adv.flatten(0, 1), max(_PASS // x_adv[0, 0].numel(), count)
        pieces = (slice(first, first + together) for first in range(0, len(rows), together))
        answers = [_Oracle(self.model, self.goal.select(rows[piece])).fooled(every[piece]) for piece in pieces]
        return torch.cat(answers).view(count, times)


class _Estimate(NamedTuple):
    """An estimate of the boundary's normal from the decisions at small random steps, one row per image."""

    yes: Tensor
    """Sum of the steps that met the goal, (n, ...)."""
    every: Tensor
    """Sum of all steps, (n, ...)."""
    hits: Tensor
    """Number of steps that met the goal (n,)."""
    tried: int = 0
    """Number of steps tried."""

    @classmethod
    def begin(cls, x: Tensor) -> Self:
        return cls(torch.zeros_like(x), torch.zeros_like(x), x.new_zeros(len(x)))

    def after(self, ask: _Oracle, x: Tensor, length: Tensor, noise: Tensor) -> Self:
        """The estimate after trying steps of that length (n,) from ``x`` (n, ...) along ``noise`` (n, k, ...)."""
        size = column(length, x).unsqueeze(1)
        unit = L2().steepest(noise.flatten(0, 1), 1.0).view_as(noise)
        probe = (x.unsqueeze(1) + size * unit).clamp_(0, 1)
        fooled = ask.fooled_each(probe).to(x)
        step = (probe - x.unsqueeze(1)) / size
        yes = (step * fooled.view(*fooled.shape, *[1] * (x.ndim - 1))).sum(1)
        return self._replace(
            yes=self.yes + yes,
            every=self.every + step.sum(1),
            hits=self.hits + fooled.sum(1),
            tried=self.tried + noise.shape[1],
        )

    def direction(self) -> Tensor:
        """The direction towards the goal (n, ...), of any length."""
        share = column(self.hits / self.tried, self.yes)
        # Where all decisions are the same, their mean gives only the sign.
        return torch.where((share == 0) | (share == 1), (2 * share - 1) * self.every, self.yes - share * self.every)


def _to_boundary(ask: _Oracle, norm: Norm, x: Tensor, x_adv: Tensor) -> Tensor:
    """Move images that meet the goal straight towards ``x``, as far as they still meet it."""
    far = norm.measure(x_adv - x)
    search, nearest = Bisection(far / 2, high=far), x_adv
    for _ in range(_HALVINGS):
        between = norm.within(x, x_adv, search.value)
        fooled = ask.fooled(between)
        nearest = torch.where(column(fooled, x), between, nearest)
        search.tell(fooled)
    return nearest


def _jump(ask: _Oracle, norm: Norm, x_adv: Tensor, direction: Tensor, reach: Tensor) -> Tensor:
    """Move along the direction as far as the goal is still met: ``reach`` (n,), or half of it, or a quarter, ..."""
    rows, landed = torch.arange(len(x_adv), device=x_adv.device), x_adv.clone()
    for _ in range(_HALVINGS):
        if not len(rows):
            break
        target = (x_adv[rows] + norm.steepest(direction[rows], reach[rows])).clamp_(0, 1)
        fooled = _Oracle(ask.model, ask.goal.select(rows)).fooled(target)
        landed[rows[fooled]] = target[fooled]
        rows, reach = rows[~fooled], reach / 2
    return landed


_HALVINGS = 16
"""Number of halvings of a distance to the boundary or of a jump, which locates them to 1/65,536."""
_VALUES = 2**14
"""Random numbers drawn at a time for an image."""
_PASS = 2**18
"""Number of values in one pass of small steps, or of the whole batch if that is more: a pass that no longer fits into a
processor's caches takes more than twice as long."""

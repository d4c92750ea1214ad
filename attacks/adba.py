"""ADBA: a decision-based minimum-norm attack in Linf."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.rows import column
from attacks.goals import Goal, met
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.bisection import Bisection
from attacks.searches.nearest import Nearest
from attacks.searches.starts import check_fit, check_starts, find_starts, hand_over
from attacks.searches.track import Survivors

Box = tuple[slice, ...]
"""A block of an image's values, a slice for each axis."""


@dataclass(frozen=True, kw_only=True)
class ADBA:
    """Flips the signs of ever smaller blocks of the perturbation, using only the model's decisions.

    The perturbation is a vector of signs times a reach. One block after another is cut in half, the whole image first,
    single values last. With the signs of either half flipped, the model is queried at a reach slightly below the best
    so far: where that meets the goal, the direction and the reach are kept. Comparing directions takes one query each,
    as the boundary itself is only located at the end.

    References:
        Wang et al., ADBA: Approximation Decision Boundary Approach for black-box adversarial attacks
        <https://arxiv.org/abs/2406.04998>, 2024.
        Chen and Gu, RayS: a ray searching method for hard-label adversarial attack
        <https://arxiv.org/abs/2006.12792>, 2020: directions of signs, and blocks from coarse to fine.

    Deviations:
        The reach at which directions are compared is ``step`` below the best; that share grows by 30 % after a success
        and shrinks by 10 % after a failure, so that about a quarter of the queries succeed (the one-fifth rule of
        evolution strategies; Rechenberg, 1973). The paper bisects between zero and the best, guided by a distribution
        of boundaries fitted on ImageNet. Blocks are rectangles across all channels, not runs of values. The first
        direction is towards white, black or a start, as in :class:`attacks.HopSkipJump`.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = ADBA(queries=100)(lambda x: x, x, goal)
        >>> bool(Linf().measure(x_adv - x) < 0.051)  # the boundary is 0.05 away
        True
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "decisions"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    norm: Norm = Linf()
    """The norm to minimise."""
    queries: int = 1000
    """Most queries per image, not counting those for its start."""
    step: float = 0.2
    """Fraction of the reach by which the first comparisons move towards the clean image, below 1."""
    start_draws: int = 100
    """Number of random images tried as a start, where neither white nor black nor a given one meets the goal."""
    starts: Tensor | None = field(default=None, repr=False, compare=False)
    """Images (M, ...) to start from, of any class: the nearest that meets the goal is taken."""
    needs_start: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.step >= 1:
            raise ValueError(f"expected step of ADBA < 1, got {self.step}")
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
        rays = _Rays(active.model, active.x, active.goal, self.queries, self.step)
        self._start(rays, seed)
        found = (rays.reach < torch.inf).nonzero().squeeze(1)
        rays.shorten(found, _HALVINGS)
        for halves in _halvings(tuple(x.shape[1:])):
            rows = found[rays.left[found] >= len(halves) + _LAST]
            if not len(rows):
                break
            rays.turn(rows, halves)
        rays.shorten(found, _LAST)
        best = Nearest(active.x[found], self.norm, active.eps[found])
        best.offer(rays.at(found, rays.direction[found], rays.reach[found]), torch.ones_like(found, dtype=torch.bool))
        return hand_over(active, found, best.x_adv, self.start_draws, self.starts)

    def _start(self, rays: "_Rays", seed: int) -> None:
        """Find a direction that meets the goal for each image: to white, to black, or towards a start."""
        for sign in (1.0, -1.0):
            rows = rays.reach.isinf().nonzero().squeeze(1)
            rays.begin(rows, torch.full_like(rays.x[rows], sign), torch.ones_like(rays.reach[rows]))
        rows = rays.reach.isinf().nonzero().squeeze(1)
        if not len(rows):
            return
        x, goal = rays.x[rows], rays.goal.select(rows)

        def fools(candidates: Tensor, own: Tensor) -> Tensor:
            some = goal.select(own)
            return met(some, forward(rays.model, candidates, some))

        start, hit = find_starts(fools, self.norm, x, goal.ids, starts=self.starts, seed=seed, draws=self.start_draws)
        rows, way = rows[hit], (start - x)[hit]
        size = self.norm.measure(way)
        rays.direction[rows], rays.reach[rows] = way / column(size, way), size
        # further out, with all values at 0 or 1: if that meets the goal too, every sign counts in full
        rays.begin(rows, torch.where(way < 0, -1.0, 1.0).to(way), torch.ones_like(size))


class _Rays:
    """Directions and how far along them the goal is still met, one row per image."""

    def __init__(self, model: Model, x: Tensor, goal: Goal, queries: int, step: float) -> None:
        self.model, self.x, self.goal = model, x, goal
        self.direction = torch.ones_like(x)
        self.reach = x.new_full((len(x),), torch.inf)
        """Largest change of a value with which the goal is met (n,); infinite before there is a start."""
        self.step = x.new_full((len(x),), step)
        """Fraction of the reach by which the next comparison is nearer (n,)."""
        self.left = torch.full((len(x),), queries, device=x.device)
        """Queries still left (n,)."""

    def at(self, rows: Tensor, direction: Tensor, reach: Tensor) -> Tensor:
        """Images of some rows, moved along their directions (m, ...)."""
        return (self.x[rows] + column(reach, direction) * direction).clamp_(0, 1)

    def ask(self, rows: Tensor, direction: Tensor, reach: Tensor) -> Tensor:
        """Whether the goal is met at these points, bool (m,)."""
        self.left[rows] -= 1
        goal = self.goal.select(rows)
        return met(goal, forward(self.model, self.at(rows, direction, reach), goal))

    def begin(self, rows: Tensor, direction: Tensor, reach: Tensor) -> None:
        """Adopt a direction for those of the images where it meets the goal."""
        if len(rows):
            hit = self.ask(rows, direction, reach)
            self.direction[rows[hit]], self.reach[rows[hit]] = direction[hit], reach[hit]

    def shorten(self, rows: Tensor, times: int) -> None:
        """Locate the boundary along the directions, by ``times`` bisections."""
        search = Bisection(self.reach[rows] / 2, high=self.reach[rows])
        for _ in range(times):
            able = self.left[rows] > 0
            rows = rows[able]
            search.select(able)
            if not len(rows):
                return
            search.tell(self.ask(rows, self.direction[rows], search.value))
            self.reach[rows] = search.high

    def turn(self, rows: Tensor, halves: list[Box]) -> None:
        """Flip the signs of either half at a reach below the best; while both meet the goal, shorten it further."""
        turned = [self._turned(rows, half) for half in halves]
        shorter, tried = self.step[rows], False
        while len(rows):
            reach = self.reach[rows] * (1 - shorter)
            hits = [self.ask(rows, direction, reach) for direction in turned]
            won = torch.stack(hits).any(0)
            self.reach[rows[won]] = reach[won]
            for direction, hit in zip(reversed(turned), reversed(hits), strict=True):
                self.direction[rows[hit]] = direction[hit]
            change = torch.full_like(reach, 1.0 if tried else _SHORTER).masked_fill_(won, _LONGER)
            self.step[rows] = (self.step[rows] * change).clamp(_LEAST, _MOST)
            again = torch.stack(hits).all(0) & (self.left[rows] >= len(turned)) & (len(turned) > 1)
            rows, turned = rows[again], [direction[again] for direction in turned]
            shorter, tried = (_LONGER * shorter[again]).clamp(max=_MOST), True

    def _turned(self, rows: Tensor, box: Box) -> Tensor:
        direction = self.direction[rows]
        block = direction[(slice(None), *box)]
        block.copy_(torch.where(block > 0, -1.0, 1.0))  # at full size, even where a start had changed values by less
        return direction


def _halvings(shape: tuple[int, ...]) -> Iterator[list[Box]]:
    """Yield halves of ever smaller blocks of an image, endlessly: after single values it starts over from the whole."""
    whole: Box = tuple(slice(0, length) for length in shape)
    while True:
        level = [whole]
        if all(length == 1 for length in shape):
            yield level
        while level:
            cuts = [halves for box in level if (halves := _halves(box))]
            yield from cuts
            level = [half for halves in cuts for half in halves]


def _halves(box: Box) -> list[Box]:
    """Cut a block across its longer side, or a single pixel between its channels; a single value gives nothing."""
    lengths = [each.stop - each.start for each in box]
    sides = range(len(box))[-2:]
    axis = max(sides, key=lengths.__getitem__)
    if lengths[axis] == 1:
        axis = max(range(len(box)), key=lengths.__getitem__)
    if lengths[axis] == 1:
        return []
    start, stop = box[axis].start, box[axis].stop
    middle = (start + stop) // 2
    return [(*box[:axis], part, *box[axis + 1 :]) for part in (slice(start, middle), slice(middle, stop))]


_HALVINGS, _LAST = 6, 10
"""Bisections of the first reach, which is far too long, and of the last, which may be slightly too long."""
_LONGER, _SHORTER = 1.3, 0.9
"""Factors of the step after a success and after a failure."""
_LEAST, _MOST = 0.001, 0.5
"""Bounds on the step."""

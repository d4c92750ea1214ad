"""The standard verdict: a worst case at small cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor

from attacks.apgd import descend
from attacks.fmn import FMN
from attacks.goals import Goal
from attacks.hop_skip_jump import HopSkipJump
from attacks.losses import Loss, cross_entropy, margin
from attacks.noise import Noise
from attacks.norms import Linf, Norm
from attacks.objectives.rivals import Ways, ways_to
from attacks.protocols import Access, AttackError, Kind, Model, Precision, Search
from attacks.queries.answers import ProbabilitiesError, log_probabilities
from attacks.queries.derivatives import NoGradientError
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.draws import derive
from attacks.searches.hopping import hop
from attacks.searches.rivals_by_slope import ways_by_slope
from attacks.searches.track import Lowest, Survivors
from attacks.square import Square, scatter, schedule, search
from attacks.standard_in_l0 import explore, fool

WIDE, NARROW = 0.8, 0.1
"""Share of the image that the first squares cover: those that start anew, and those around a good point."""
LONG = 100
"""Gradient steps of the long descents, those of AutoAttack."""
OUTSIDE = ((3, 1), (2, 1), (1, 2))
"""Balls that a path from outside goes through, as multiples of the budget, and its shares of gradient steps there."""
RESTART = 10
"""Rounds whose hops cost as much as the long descent from outside that takes their place in L1."""
BOUNDARY = {"l2": 50}
"""Norm -> steps along the boundary; in the others there are none."""
STRAIGHT = 2
"""A margin is straight if it falls by between a half and this many times as much as the gradient at the image says."""
POLISH, FINE = 8, 0.25
"""Hops between two descents from the best point, and the first step of these, as a fraction of the budget."""
PATIENCE = 5
"""Hops that an image gets, however high its margin, where that is not straight."""
LEAD = 2
"""Gradients count as masked where squares lowered the margin by more than this many times as much."""
LONGER = 20
"""Times as many squares where there are no gradients, or masked ones."""

MANY = 10
"""Number of classes above which rivals are ordered by a linear model, and not by their logits alone."""

_Legs = Sequence[tuple[float, int]]
"""Legs of a descent: the ball as a multiple of the budget, and the gradient steps; the last is within the budget."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """A parameter-free worst case: what AutoAttack finds, for a fraction of its cost.

    Every step works on the images that the steps before did not fool, and an image is done the moment it is fooled:

    1. descend the margin from the image itself; in L2 also follow the boundary from beyond, as FMN does; in L1, where
       few steps do not find the few values that count, descend the cross-entropy and the margin for long, from outside;
    2. change a few random squares, without gradients;
    3. descend the margin to each rival class, the nearest first, from a random point, in L1 from outside. An image
       where the first descent and a later one end at the lowest margin leaves if after the second rival this is above
       1/2 of the clean image's, after the next ones 1/3, 1/4, ...: where descents from different points agree there is
       little else to be found. None leaves whose margin hardly fell, or by less than half or more than twice of what
       the gradient at the image says (but in L1): there the network is not nearly linear, and another point may tell
       otherwise. Nor does one where squares got further than gradients;
    4. change more squares;
    5. hop from basin to basin: kick the best point, walk down again; after every eighth hop change squares of the
       best point and descend from there in short steps. An image takes part as long as its margin is below 1/2, after
       three rounds 1/3, then 1/4, ... 1/100 of the clean image's: hopeless ones leave at once (after five rounds where
       the network is not nearly linear), those that nearly fall stay to the end;
    6. descend the cross-entropy and the margin for long;
    7. come from outside: descend the margin to each rival class in a ball three times as large, then in one twice as
       large, then within the budget, where this path often ends in another basin than one that starts there;
    8. where squares got much further than gradients, which is the mark of masked gradients, change squares for long.

    In L0 changed values are exchanged for others instead (:func:`attacks.standard_in_l0.fool`): along the gradient,
    also towards rival classes, at random as in :class:`attacks.SparseRS` but closer together, and both after random
    kicks; then come both forms of :class:`attacks.SPGD`. There an image that is left out early costs 880 passes, one
    that nearly falls up to 9,700.

    Where there are more than ten classes, the nearest rivals are those that a linear model of the network has nearest,
    which takes up to 100 passes more.

    An image that is left out early costs 150 passes (in L2 250, in L1 520), one that nearly falls up to 5,600
    (AutoAttack: about 9,900 each), one with masked gradients 4,000 more.

    No model is refused for what it hides. Of probabilities it takes the logarithm. Without a gradient it changes
    squares for long, and where no square changes the margin, as with a model that names its first class and no more, it
    goes by decisions alone (random noise and :class:`attacks.HopSkipJump`, up to 13,000 passes). Such a verdict is
    weaker than one by gradients: the trust flags M4 and M6 say so, and :class:`attacks.Adaptive` looks for a way
    around what hides the gradient.

    References:
        Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks <https://arxiv.org/abs/2003.01690>, 2020 (AutoAttack). Liu et al., Practical evaluation of adversarial
        robustness via adaptive auto attack <https://arxiv.org/abs/2203.05154>, 2022: leaving out hopeless images.
        Gao et al., Fast and reliable evaluation of adversarial robustness with minimum-margin attack
        <https://arxiv.org/abs/2206.07314>, 2022: the order of targets. Croce and Hein, Mind the box: l1-APGD for sparse
        adversarial attacks on image classifiers <https://arxiv.org/abs/2103.01208>, 2021: budgets that shrink. Melamed
        et al., MALT powers up adversarial attacks <https://arxiv.org/abs/2407.02240>, 2024: rivals among many classes.
        Boender and Rinnooy Kan, Bayesian stopping rules for multistart global optimization methods
        <https://doi.org/10.1007/BF02591684>, 1987: to stop once the same minimum is found again.

    Deviations:
        It is none of these: the short descents are APGD's, on the margin alone, and hops take the place of FAB and of
        long descents. Whether an image is left out depends on that image alone, and the rule is simpler than the
        Bayesian one: the lowest margin, to a tenth, at first and again. In L1, and on images with more than three
        dimensions, there are no squares.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = Standard()(lambda x: x, x, goal, eps=0.0625)
        >>> bool(goal.margin(x_adv) < 0)
        True
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    besides: ClassVar[tuple[Access, ...]] = ("scores",)
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    steps: int = 15
    """Gradient steps of each descent."""
    targets: int = 9
    """Descents towards rival classes."""
    queries: int = 200
    """Squares of step 4; a quarter of them in step 2, twenty times as many where gradients are masked or missing."""
    rounds: int = 100
    """Hops, of ten gradient steps each."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        try:
            return self._by_gradients(model, x, goal, eps, seed)
        except ProbabilitiesError:
            return self(log_probabilities(model), x, goal, eps=eps, seed=seed)
        except NoGradientError:
            return self._without_gradients(model, x, goal, eps, seed)

    def _by_gradients(self, model: Model, x: Tensor, goal: Goal, eps: float | Tensor, seed: int) -> Tensor:
        """The attack on a model that gives logits and gradients."""
        active = Survivors.of(self, model, x, goal, eps, seed)
        best, squares = Lowest(active), Lowest(active)
        seeds, others = (derive(seed, i) for i in count(1)), (derive(seed, -i) for i in count(1))
        if self.norm.grain:
            return fool(active, best, seeds, self)
        promise = torch.minimum(_promise(active), best.clean)
        best.look(active, descend(active, active.x, margin, self.steps))
        fall = best.clean - best.margin
        straight = (fall > promise / STRAIGHT) & (fall < promise * STRAIGHT) | (sparse := self.norm.sparse)
        if (steps := BOUNDARY.get(self.norm.name)) and len(active):
            best.look(active, FMN(norm=self.norm, steps=steps)(active.model, active.x, active.goal, eps=active.eps))
        if sparse:
            for loss in (cross_entropy, margin):
                _descend(active, best, next(seeds), loss, _from_outside(LONG))
        self._square(active, squares, self.queries // 4, others)
        legs = _from_outside(self.steps + self.steps // 3) if sparse else [(1, self.steps)]
        for tried, _ in enumerate(self._towards_rivals(active, best, seeds, legs), 1):
            _leave(active, best, 1 / tried, best.settled & straight & (best.margin <= squares.margin))
        self._square(active, squares, self.queries, seeds)
        masked = best.clean - squares.margin > LEAD * (best.clean - best.margin)
        best.look(active, squares.of(active))
        self._by_decisions(active, best, best.margin >= best.clean, derive(seed, 0))
        active.precision = "exact"  # a rounded gradient decides nothing among those left
        for i in range(self.rounds):
            _leave(active, best, 1 / max(2, i), ~masked & (straight | (i >= PATIENCE)))
            self._hop(active, best, seeds, i)
        for loss in (cross_entropy, margin):
            _descend(active, best, next(seeds), loss, [(1, LONG)])
        for _ in self._towards_rivals(active, best, seeds, _from_outside(4 * self.steps)):
            pass
        active.give_up(~masked[active.rows], best.of(active))
        self._square_for_long(active, best, seeds)
        return active.finish(best.of(active))

    def _without_gradients(self, model: Model, x: Tensor, goal: Goal, eps: float | Tensor, seed: int) -> Tensor:
        """The attack on a model that gives scores or decisions alone."""
        active = Survivors.of(self, model, x, goal, eps, seed)
        best, seeds = Lowest(active), (derive(seed, i) for i in count(1))
        self._square(active, best, self.queries, seeds)
        mute = best.margin >= best.clean
        self._by_decisions(active, best, mute, next(seeds))
        active.give_up(mute[active.rows], best.of(active))
        self._square_for_long(active, best, seeds)
        return active.finish(best.of(active))

    def _by_decisions(self, active: Survivors, best: Lowest, mute: Tensor, seed: int) -> None:
        """Noise, then steps along the decision boundary, for images whose margin nothing moves: bool (N,)."""
        noisy = Noise(norm=self.norm, draws=self.queries)
        walk = HopSkipJump(norm=self.norm, steps=self.steps) if self.norm.name in HopSkipJump.norms else None
        for attack in (noisy, walk):
            some = mute[active.rows].nonzero().squeeze(1)
            if attack is None or not len(some):
                return
            x_adv = active.x.clone()
            try:
                x_adv[some] = attack(
                    active.model, active.x[some], active.goal.select(some), eps=active.eps[some], seed=seed
                )
            except AttackError as error:  # without a start nothing is lost: squares and noise have been tried
                x_adv[some] = error.x_adv
            best.look(active, x_adv)

    def _hop(self, active: Survivors, best: Lowest, seeds: Iterator[int], i: int) -> None:
        """The hop of round ``i``, with squares and short steps around the best points after every eighth."""
        if not self.norm.sparse:
            hop(active, best, next(seeds))
        elif i % RESTART == 0:
            _descend(active, best, next(seeds), margin if i % (2 * RESTART) else cross_entropy, _from_outside(LONG))
        if i % POLISH == POLISH - 1:
            self._square(active, best, self.queries // 4, seeds, around_best=True)
            best.look(active, descend(active, best.of(active), margin, 2 * self.steps, first_step=FINE))

    def _towards_rivals(self, active: Survivors, best: Lowest, seeds: Iterator[int], legs: _Legs) -> Iterator[Goal]:
        """A descent to each rival class, the nearest first; gives the aim after each."""
        rows = active.rows
        for aim in self._rivals(active, best) if len(active) else ():
            active.aim = aim.select(torch.searchsorted(rows, active.rows))
            _descend(active, best, next(seeds), margin, legs)
            active.aim = active.goal
            yield aim

    def _rivals(self, active: Survivors, best: Lowest) -> Ways:
        """The rival classes, the nearest first; where there are many, those that a linear model has nearest."""
        if active.logits.shape[1] > MANY:
            logits = active.logits[active.rows]
            return ways_by_slope(active.model, active.x, active.goal, logits, self.norm, self.targets)
        return ways_to(active.goal, forward(active.model, best.of(active), active.goal), self.targets)

    def _square(
        self, active: Survivors, best: Lowest, queries: int, seeds: Iterator[int], *, around_best: bool = False
    ) -> None:
        """Try random squares, in L0 random values, from a new start or around the best points."""
        if self.norm.grain:
            explore(active, best, queries, next(seeds), around_best=around_best)
            return
        if self.norm.name not in Square.norms or active.x.ndim > 4:
            return
        start = best.of(active) if around_best else scatter(active, next(seeds))
        found, _ = search(active, start, schedule(queries, NARROW if around_best else WIDE), next(seeds))
        best.look(active, found)

    def _square_for_long(self, active: Survivors, best: Lowest, seeds: Iterator[int]) -> None:
        """Many squares, from a new start and then around the best points."""
        for around_best in (False, True):
            self._square(active, best, LONGER * self.queries // 2, seeds, around_best=around_best)


def _promise(active: Survivors) -> Tensor:
    """By how much the margin of each image would fall within its budget if it went on as at the image (N,)."""
    promise = torch.zeros_like(active.found.flatten(1)[:, 0])
    if len(active) and not active.norm.sparse:
        promise[active.rows] = active.eps * active.norm.dual(active.slope(active.x, margin).gradient)
    return promise


def _leave(active: Survivors, best: Lowest, share: float, may: Tensor) -> None:
    """Leave out images whose margin is above a share of the clean one, where that ``may`` be, bool (N,)."""
    hopeless = may & (best.margin > share * best.clean)
    active.give_up(hopeless[active.rows], best.of(active))


def _from_outside(steps: int) -> _Legs:
    """The legs of a descent of ``steps`` gradient steps, from a ball larger than the budget inwards."""
    parts = sum(share for _, share in OUTSIDE)
    return [(times, max(share * steps // parts, 1)) for times, share in OUTSIDE]


def _descend(active: Survivors, best: Lowest, seed: int, loss: Loss, legs: _Legs) -> None:
    """A descent of the aim from a random point."""
    radius = legs[0][0] * active.eps
    x_adv = active.x + active.norm.random(active.x.shape[1:], radius, seed, active.goal.ids, draw=0).to(active.x)
    for times, steps in legs:
        start = active.norm.within(active.x, x_adv, times * active.eps)
        x_adv = descend(active if times == 1 else active.widened(times), start, loss, steps)
    best.look(active, x_adv)

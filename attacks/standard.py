"""The standard verdict: a worst case at small cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from torch import Tensor

from attacks.apgd import descend
from attacks.fmn import FMN
from attacks.goals import Goal
from attacks.hop_skip_jump import HopSkipJump
from attacks.losses import Loss, cross_entropy, margin
from attacks.noise import Noise
from attacks.norms import Linf, Norm
from attacks.protocols import Access, AttackError, Kind, Model, Precision, Search
from attacks.queries.answers import ProbabilitiesError, log_probabilities
from attacks.queries.derivatives import NoGradientError
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.draws import derive
from attacks.searches.hopping import hop
from attacks.searches.track import Lowest, Survivors, towards_rivals
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
LEAD = 2
"""Gradients count as masked where squares lowered the margin by more than this many times as much."""

LONGER = 20
"""Times as many squares where there are no gradients, or masked ones."""

_Legs = Sequence[tuple[float, int]]
"""Legs of a descent: the ball as a multiple of the budget, and the gradient steps; the last is within the budget."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """A parameter-free worst case: what AutoAttack finds, for a fraction of its cost.

    Every step works on the images that the steps before did not fool, and an image is done the moment it is fooled:

    1. descend the margin from the image itself; in L2 also follow the boundary from beyond, as FMN does; in L1, where
       few steps do not find the few values that count, descend the cross-entropy and the margin for long, from outside;
    2. descend the margin to each rival class, the nearest first, from a random point, in L1 from outside;
    3. change random squares, without gradients;
    4. hop from basin to basin: kick the best point, walk down again, change small squares there. An image takes part
       as long as its margin is below 1/2, in later rounds 1/3, 1/4, ... of the clean image's: hopeless ones leave at
       once, those that nearly fall stay to the end;
    5. descend the cross-entropy and the margin for long;
    6. come from outside: descend the margin to each rival class in a ball three times as large, then in one twice as
       large, then within the budget, where this path often ends in another basin than one that starts there;
    7. where squares got much further than gradients, which is the mark of masked gradients, change squares for long.

    In L0 changed values are exchanged for others instead (:func:`attacks.standard_in_l0.fool`): along the gradient,
    also towards rival classes, at random as in :class:`attacks.SparseRS` but closer together, and both after random
    kicks; then come both forms of :class:`attacks.SPGD`. There an image that is left out early costs 880 passes, one
    that nearly falls up to 9,700.

    An image that is left out early costs 530 passes (in L2 630, in L1 840), one that nearly falls up to 6,200
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
        adversarial attacks on image classifiers <https://arxiv.org/abs/2103.01208>, 2021: budgets that shrink.

    Deviations:
        It is none of these: the short descents are APGD's, on the margin alone, and hops take the place of FAB and of
        long descents. Whether an image is left out depends on that image alone. In L1, and on images with more than
        three dimensions, there are no squares.

    Example:
        >>> import torch
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
    """Random squares of step 3; a tenth as many after each hop, twenty times as many where gradients are masked."""
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
        best, seeds = Lowest(active), (derive(seed, i) for i in count(1))
        if self.norm.grain:
            return fool(active, best, seeds, self)
        clean = best.margin.clone()
        best.look(active, descend(active, active.x, margin, self.steps))
        if (steps := BOUNDARY.get(self.norm.name)) and len(active):
            best.look(active, FMN(norm=self.norm, steps=steps)(active.model, active.x, active.goal, eps=active.eps))
        if sparse := self.norm.sparse:
            for loss in (cross_entropy, margin):
                _descend(active, best, next(seeds), loss, _from_outside(LONG))
        legs = _from_outside(self.steps + self.steps // 3) if sparse else [(1, self.steps)]
        self._towards_rivals(active, best, seeds, legs)
        by_gradients = clean - best.margin
        self._square(active, best, self.queries, seeds)
        self._by_decisions(active, best, best.margin >= clean, derive(seed, 0))
        masked = clean - best.margin > LEAD * by_gradients
        active.precision = "exact"  # a rounded gradient decides nothing among those left
        for i in range(self.rounds):
            hopeless = (best.margin > clean / (2 + 0.2 * i)) & ~masked
            active.give_up(hopeless[active.rows], best.of(active))
            if not sparse:
                hop(active, best, next(seeds))
            elif i % RESTART == 0:
                _descend(active, best, next(seeds), margin if i % (2 * RESTART) else cross_entropy, _from_outside(LONG))
            self._square(active, best, self.queries // 10, seeds, around_best=True)
        for loss in (cross_entropy, margin):
            _descend(active, best, next(seeds), loss, [(1, LONG)])
        self._towards_rivals(active, best, seeds, _from_outside(4 * self.steps))
        active.give_up(~masked[active.rows], best.of(active))
        self._square(active, best, LONGER * self.queries, seeds)
        return active.finish(best.of(active))

    def _without_gradients(self, model: Model, x: Tensor, goal: Goal, eps: float | Tensor, seed: int) -> Tensor:
        """The attack on a model that gives scores or decisions alone."""
        active = Survivors.of(self, model, x, goal, eps, seed)
        best, seeds = Lowest(active), (derive(seed, i) for i in count(1))
        clean = best.margin.clone()
        self._square(active, best, self.queries, seeds)
        mute = best.margin >= clean
        self._by_decisions(active, best, mute, next(seeds))
        active.give_up(mute[active.rows], best.of(active))
        for around_best in (False, True):
            self._square(active, best, LONGER * self.queries // 2, seeds, around_best=around_best)
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

    def _towards_rivals(self, active: Survivors, best: Lowest, seeds: Iterator[int], legs: _Legs) -> None:
        """A descent to each rival class."""
        for _ in towards_rivals(active, best, self.targets):
            _descend(active, best, next(seeds), margin, legs)

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

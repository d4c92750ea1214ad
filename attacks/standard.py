"""The standard verdict: a worst case at small cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor

from attacks import standard_in_l0, standard_in_l1
from attacks.apgd import descend
from attacks.fmn import FMN
from attacks.goals import Goal
from attacks.losses import cross_entropy, margin, probability_margin
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.answers import ProbabilitiesError, log_probabilities
from attacks.queries.derivatives import NoGradientError
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.draws import derive
from attacks.searches.hopping import hop, rounds
from attacks.searches.lowest import Lowest, leave
from attacks.searches.track import Survivors
from attacks.standard_by_answers import by_answers, by_decisions, change_squares, change_squares_for_long, mute
from attacks.standard_descents import LONG, Rivals, descend_from_random, from_outside

BOUNDARY = {"l2": 50}
"""Norm -> steps along the boundary; in the others there are none."""
STRAIGHT = 2
"""A margin is straight if it falls by between a half and this many times as much as the gradient at the image says."""
FEW = 3
"""Rivals that are tried one after the other; the rest of them side by side."""
SURE = 0.75
"""Share of the clean margin above which an image leaves after the first rival, or counts as on a plateau."""
PATIENCE = 5
"""Hops that an image gets, however high its margin, where that is not straight."""
HOP, LATER, LONGER = 10, 28, 2
"""Gradient steps of a hop, hops after which they are more, and how many times as many."""
POLISH, FINE = 20, 0.25
"""Hops after which squares and short steps follow, and the first of these steps, as a fraction of the budget."""
LEAD = 2
"""Gradients count as masked where squares lowered the margin by more than this many times as much."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """A parameter-free worst case: what AutoAttack finds, for a fraction of its cost.

    Every step works on the images that the steps before did not fool, and an image is done the moment it is fooled:

    1. descend the margin from the image itself; in L2 also follow the boundary from beyond, as FMN does;
    2. change a few random squares, without gradients;
    3. descend the margin to the nearest rival classes, one after the other, from a random point. An image where the
       first descent and a later one end at the lowest margin leaves if after the first rival this is above 3/4 of the
       clean image's, after the next ones 1/2, 1/3: where descents from different points agree there is little else to
       be found; after three rivals every image leaves that is above 1/2. But none whose margin hardly fell, or by
       less than half or more than twice of what the gradient at the image says: there the network is not nearly
       linear, and another point may tell otherwise. Nor one where squares got further than gradients. Then descend,
       for fewer steps, to all other rivals at once, and where the margin is still above 3/4, as on a plateau, to all
       of them from outside;
    4. change more squares where a few did nearly as much as gradients, or gradients hardly anything;
    5. hop from basin to basin: kick the best point, walk down again, at first once, later many times side by side and
       twice as far; after twenty hops also change squares of the best point and descend from there in short steps. An
       image takes part as long as its margin is below 1/2, after two hops 1/3, after four 1/4 ... of the clean
       image's: hopeless ones leave at once (after five hops where the network is not nearly linear), those that
       nearly fall stay to the end;
    6. descend the cross-entropy and the margin of probabilities for long;
    7. come from outside: descend the margin to each rival class, all at once, in a ball three times as large, then in
       one twice as large, then within the budget, where this path often ends in another basin than one that starts
       there;
    8. where squares got much further than gradients, which is the mark of masked gradients, change squares for long.

    In L1, where few steps do not find the few values that count, descents come from outside, and later ones are long
    (:func:`attacks.standard_in_l1.fool`): an image that is left out early costs 510 passes, one that nearly falls up
    to 6,200. In L0 changed values are exchanged for others (:func:`attacks.standard_in_l0.fool`): along the gradient,
    also towards rival classes, at random as in :class:`attacks.SparseRS` but closer together, and both after random
    kicks; then come both forms of :class:`attacks.SPGD`. There an image that is left out early costs 880 passes, one
    that nearly falls up to 9,700.

    Where there are more than ten classes, the nearest rivals are those that a linear model of the network has nearest,
    which takes up to 100 passes more.

    An image that is left out early costs 84 passes (in L2 187), most of those that it does not fool fewer than 500 (in
    L2 1,300), one that nearly falls up to 5,700 (AutoAttack: about 9,900 each), one with masked gradients 4,000 more.

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
        Xie et al., Towards million-scale adversarial robustness evaluation with stronger individual attacks
        <https://arxiv.org/abs/2411.15210>, 2024: the margin of probabilities.
        Boender and Rinnooy Kan, Bayesian stopping rules for multistart global optimization methods
        <https://doi.org/10.1007/BF02591684>, 1987: to stop once the same minimum is found again.

    Deviations:
        It is none of these: the short descents are APGD's, on the margin alone, and hops take the place of FAB and of
        long descents. Whether an image is left out depends on that image alone, and the rule is simpler than the
        Bayesian one: the lowest margin, to a tenth, at first and again. In L1 values are changed in place of squares
        (:func:`attacks.standard_in_l0.explore`), and on images with more than three dimensions there are none.

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
    """Rival classes that are aimed at."""
    queries: int = 200
    """Squares of step 4; an eighth of them in step 2, twenty times as many where gradients are masked or missing."""
    rounds: int = 150
    """Hops of ten gradient steps each; later ones of twenty count twice."""

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
            return standard_in_l0.fool(active, best, seeds, self)
        if self.norm.sparse:
            return standard_in_l1.fool(active, best, seeds, self)
        straight = self._descend(active, best)
        rivals, masked = self._try_rivals(active, best, seeds, straight)
        active.precision = "exact"  # a rounded gradient decides nothing among those left
        for done, kicks in rounds(self.rounds):
            leave(active, best, 1 / (2 + done / 2), ~masked & (straight | (done >= PATIENCE)))
            longer = LONGER if done >= LATER else 1
            hop(active, best, next(seeds), kicks=max(kicks // longer, 1), steps=HOP * longer)
            if done + kicks >= POLISH:
                self._polish(active, best, seeds)
        for loss in (cross_entropy, probability_margin):
            descend_from_random(active, best, next(seeds), loss, [(1, LONG)])
        rivals.descend_at_once(active, best, next(seeds), from_outside(4 * self.steps), range(self.targets))
        active.give_up(~masked[active.rows], best.of(active))
        change_squares_for_long(active, best, self.queries, seeds)
        return active.finish(best.of(active))

    def _without_gradients(self, model: Model, x: Tensor, goal: Goal, eps: float | Tensor, seed: int) -> Tensor:
        """The attack on a model that gives scores or decisions alone."""
        active = Survivors.of(self, model, x, goal, eps, seed)
        return by_answers(active, Lowest(active), self.queries, (derive(seed, i) for i in count(1)))

    def _descend(self, active: Survivors, best: Lowest) -> Tensor:
        """Step 1. Gives where the network is nearly linear within the budget, bool (N,)."""
        best.look(active, descend(active, active.x, margin, self.steps))
        promise, fall = torch.minimum(_promise(active), best.clean), best.clean - best.margin
        if (steps := BOUNDARY.get(self.norm.name)) and len(active):
            best.look(active, FMN(norm=self.norm, steps=steps)(active.model, active.x, active.goal, eps=active.eps))
        return (fall > promise / STRAIGHT) & (fall < promise * STRAIGHT)

    def _try_rivals(
        self, active: Survivors, best: Lowest, seeds: Iterator[int], straight: Tensor
    ) -> tuple[Rivals, Tensor]:
        """Steps 2 to 4. Gives the rivals, and where gradients are masked, bool (N,)."""
        squares, rivals = Lowest(active), Rivals(active, best, self.targets)
        change_squares(active, squares, self.queries // 8, seeds)
        legs, first, others = [(1, 2 * self.steps // 3)], range(min(FEW, self.targets)), range(FEW, self.targets)
        for tried, _ in enumerate(rivals.descend(active, best, seeds, legs, first), 1):
            leave(active, best, min(1 / tried, SURE), best.settled & straight & (best.margin <= squares.margin))
        leave(active, best, 1 / 2, best.moved & straight & (best.margin <= squares.margin))
        rivals.descend_at_once(active, best, next(seeds), [(1, self.steps // 2)], others)
        with active.only((best.margin > SURE * best.clean)[active.rows]) as flat:
            rivals.descend_at_once(flat, best, next(seeds), from_outside(2 * self.steps), range(self.targets))
        near = (LEAD * (best.clean - squares.margin) > best.clean - best.margin) | ~best.moved
        with active.only(near[active.rows]) as some:
            change_squares(some, squares, self.queries, seeds)
        masked = squares.moved & (best.clean - squares.margin > LEAD * (best.clean - best.margin))
        best.look(active, squares.of(active))
        by_decisions(active, best, mute(active, best), self.queries, next(seeds))
        return rivals, masked

    def _polish(self, active: Survivors, best: Lowest, seeds: Iterator[int]) -> None:
        """Change squares of the best points, and descend from there in short steps."""
        change_squares(active, best, self.queries // 4, seeds, around_best=True)
        best.look(active, descend(active, best.of(active), margin, 2 * self.steps, first_step=FINE))


def _promise(active: Survivors) -> Tensor:
    """By how much the margin of each image would fall within its budget if it went on as at the image (N,)."""
    promise = torch.zeros_like(active.found.flatten(1)[:, 0])
    if len(active):
        promise[active.rows] = active.eps * active.norm.dual(active.slope(active.x, margin).gradient)
    return promise

"""The standard verdict: a worst case at low cost."""

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
"""Norm -> number of steps along the boundary; other norms have none."""
STRAIGHT = 2
"""A margin counts as straight if it falls by between half and this many times the amount that the gradient at the image
predicts."""
FEW = 3
"""Number of rivals tried one after another; the rest are tried side by side."""
SURE = 0.75
"""Fraction of the clean margin above which an image leaves after the first rival, or counts as on a plateau."""
PATIENCE = 5
"""Number of hops an image gets, however high its margin, if that is not straight."""
HOP, LATER, LONGER = 10, 28, 2
"""Gradient steps per hop, number of hops after which they increase, and by what factor."""
POLISH, FINE = 20, 0.25
"""Number of hops after which squares and short steps follow, and length of the first of these steps, as a fraction of
the budget."""
LEAD = 2
"""Gradients count as masked where squares lowered the margin by more than this factor of what gradients did."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """A parameter-free worst case: finds what AutoAttack finds, at a fraction of its cost.

    Every step works on the images that the previous steps did not fool, and an image is done as soon as it is fooled:

    1. descend the margin from the image itself; in L2 also follow the boundary, as FMN does;
    2. change a few random squares, without gradients;
    3. descend the margin to the nearest rival classes, one after another, from a random point. If the first descent and
       a later one end at the same lowest margin, there is little else to find, so the image leaves if that margin is
       above 3/4 of the clean image's after the first rival, above 1/2 or 1/3 after the next ones; after three rivals,
       every image above 1/2 leaves. Images are kept if their margin hardly fell, or fell by less than half or more than
       twice what the gradient at the image predicts: there the network is far from linear, and another point may show
       otherwise. They are also kept if squares got further than gradients. Then descend, for fewer steps, to all other
       rivals at once, and where the margin is still above 3/4, as on a plateau, to all of them from outside;
    4. change more squares where a few did nearly as much as gradients, or where gradients did hardly anything;
    5. hop from basin to basin: kick the best point and descend again, once at first, later many times side by side and
       twice as far; after twenty hops also change squares of the best point and descend from there in short steps. An
       image takes part as long as its margin is below 1/2, after two hops 1/3, after four 1/4 ... of the clean image's:
       images far from fooled leave at once (after five hops where the network is far from linear), those that are
       nearly fooled stay to the end;
    6. run long descents of the cross-entropy and of the margin of probabilities;
    7. come from outside: descend the margin to each rival class, all at once, in a ball three times as large, then in
       one twice as large, then within the budget. This path often ends in a different basin than one that starts within
       the budget;
    8. where squares got much further than gradients, the sign of masked gradients, run a long random search over
       squares.

    In L1, where a few steps do not find the few values that matter, descents come from outside, and later ones are long
    (:func:`attacks.standard_in_l1.fool`): an image that leaves early costs 510 passes, one that is nearly fooled up to
    6,200. In L0 changed values are exchanged for others (:func:`attacks.standard_in_l0.fool`): along the gradient, also
    towards rival classes; at random as in :class:`attacks.SparseRS` but closer together; and both after random kicks.
    Both forms of :class:`attacks.SPGD` follow. There an image that leaves early costs 880 passes, one that is nearly
    fooled up to 9,700.

    With more than ten classes, the nearest rivals are those nearest in a linear model of the network, which takes up to
    100 more passes.

    An image that leaves early costs 84 passes (in L2 187), most images that are not fooled fewer than 500 (in L2
    1,300), one that is nearly fooled up to 5,700 (AutoAttack: about 9,900 each), one with masked gradients 4,000 more.

    Models that mask gradients or logits are attacked too. Probabilities are replaced by their logarithms. Without a
    gradient, the attack runs a long random search over squares, and where no square changes the margin, as with a model
    that returns only its top class, it is decision-based (random noise and :class:`attacks.HopSkipJump`, up to 13,000
    passes). Such a verdict is weaker than a gradient-based one: the trust flags M4 and M6 say so, and
    :class:`attacks.Adaptive` looks for a way around what masks the gradient.

    References:
        Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks <https://arxiv.org/abs/2003.01690>, 2020 (AutoAttack). Liu et al., Practical evaluation of adversarial
        robustness via adaptive auto attack <https://arxiv.org/abs/2203.05154>, 2022: leaving out images that are
        unlikely to be fooled. Gao et al., Fast and reliable evaluation of adversarial robustness with minimum-margin
        attack <https://arxiv.org/abs/2206.07314>, 2022: the order of targets. Croce and Hein, Mind the box: l1-APGD for
        sparse adversarial attacks on image classifiers <https://arxiv.org/abs/2103.01208>, 2021: shrinking budgets.
        Melamed et al., MALT powers up adversarial attacks <https://arxiv.org/abs/2407.02240>, 2024: rivals among many
        classes. Xie et al., Towards million-scale adversarial robustness evaluation with stronger individual attacks
        <https://arxiv.org/abs/2411.15210>, 2024: the margin of probabilities. Boender and Rinnooy Kan, Bayesian
        stopping rules for multistart global optimization methods <https://doi.org/10.1007/BF02591684>, 1987: stopping
        once the same minimum is found again.

    Deviations:
        A combination, identical to none of these: the short descents are APGD's, on the margin alone, and hops replace
        FAB and long descents. Whether an image is left out depends only on that image, and the rule is simpler than the
        Bayesian one: the same lowest margin, to within a tenth, found twice. In L1 single values are changed instead of
        squares (:func:`attacks.standard_in_l0.explore`), and images with more than three dimensions get no squares.

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
    """Number of gradient steps of each descent."""
    targets: int = 9
    """Number of rival classes to aim at."""
    queries: int = 200
    """Number of squares in step 4; an eighth of that in step 2, twenty times as many if gradients are masked or
    missing."""
    rounds: int = 150
    """Number of hops of ten gradient steps each; later ones of twenty count twice."""

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
        active.precision = "exact"  # a rounded gradient would not decide between those left
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
        """The attack on a model that gives only scores or decisions."""
        active = Survivors.of(self, model, x, goal, eps, seed)
        return by_answers(active, Lowest(active), self.queries, (derive(seed, i) for i in count(1)))

    def _descend(self, active: Survivors, best: Lowest) -> Tensor:
        """Run step 1; return where the network is nearly linear within the budget, bool (N,)."""
        best.look(active, descend(active, active.x, margin, self.steps))
        promise, fall = torch.minimum(_promise(active), best.clean), best.clean - best.margin
        if (steps := BOUNDARY.get(self.norm.name)) and len(active):
            best.look(active, FMN(norm=self.norm, steps=steps)(active.model, active.x, active.goal, eps=active.eps))
        return (fall > promise / STRAIGHT) & (fall < promise * STRAIGHT)

    def _try_rivals(
        self, active: Survivors, best: Lowest, seeds: Iterator[int], straight: Tensor
    ) -> tuple[Rivals, Tensor]:
        """Run steps 2 to 4; return the rivals, and where gradients are masked, bool (N,)."""
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
    """Amount by which a linear model at each image predicts its margin to fall within the budget (N,)."""
    promise = torch.zeros_like(active.found.flatten(1)[:, 0])
    if len(active):
        promise[active.rows] = active.eps * active.norm.dual(active.slope(active.x, margin).gradient)
    return promise

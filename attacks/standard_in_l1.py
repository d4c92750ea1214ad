"""The standard verdict in L1, where few values matter: long descents from outside, and random changes of values."""

from collections.abc import Iterator

from torch import Tensor

from attacks.apgd import descend
from attacks.losses import cross_entropy, margin, probability_margin
from attacks.searches.hopping import rounds
from attacks.searches.lowest import Lowest, leave
from attacks.searches.track import Survivors
from attacks.standard_by_answers import by_decisions, change_squares, mute
from attacks.standard_descents import LONG, Rivals, descend_from_copies, descend_from_random, from_outside
from attacks.standard_in_l0 import Parameters

BRIEF = 40
"""Number of gradient steps of the first descents from outside."""
FEW = 3
"""Number of rivals to aim at."""
STAGES = ((0.25, 0), (1, 0.5), (4, 1))
"""Number of random changes, as multiples of ``queries``, and the fraction of the gradients' progress that the previous
ones must reach."""
RESTART = 10
"""Number of hops in other norms that cost as much as a long descent."""


def fool(active: Survivors, best: Lowest, seeds: Iterator[int], attack: Parameters) -> Tensor:
    """Run the steps of :class:`attacks.Standard` in L1.

    1. Descend the margin from the image itself; then the cross-entropy from outside: a few steps within the budget do
       not find the few values that matter;
    2. change values at random, as many as the budget allows however far they move: a few times at first, more often
       where that lowers the margin by half as much as gradients do, and even more where it does as much as they do;
    3. descend the margin from outside, then to the nearest rival classes, one after another;
    4. run long descents from new points, later many side by side, and in short steps from the best point. An
       image takes part as long as its margin is below 1/2, then 1/7, 1/17, 1/47 of the clean image's;
    5. run a long descent of the margin of probabilities, and one from outside to all rivals at once.

    An image that leaves early costs 510 passes, one that is nearly fooled up to 6,200.

    Arguments and return value are those of :func:`attacks.standard_in_l0.fool`.
    """
    best.look(active, descend(active, active.x, margin, attack.steps))
    descend_from_random(active, best, next(seeds), cross_entropy, from_outside(BRIEF))
    _change_values(active, best, attack.queries, seeds)
    descend_from_random(active, best, next(seeds), margin, from_outside(BRIEF))
    by_decisions(active, best, mute(active, best), attack.queries, next(seeds))
    rivals = Rivals(active, best, attack.targets)
    for _ in rivals.descend(active, best, seeds, from_outside(BRIEF), range(min(FEW, attack.targets))):
        pass
    active.precision = "exact"  # a rounded gradient would not decide between those left
    for done, copies in rounds(attack.rounds // RESTART, growth=2):
        leave(active, best, 1 / (2 + RESTART * done / 2))
        _descend_again(active, best, seeds, done, copies)
        best.look(active, descend(active, best.of(active), margin, 2 * attack.steps))
    descend_from_random(active, best, next(seeds), probability_margin, [(1, LONG)])
    rivals.descend_at_once(active, best, next(seeds), from_outside(4 * attack.steps), range(attack.targets))
    return active.finish(best.of(active))


def _change_values(active: Survivors, best: Lowest, queries: int, seeds: Iterator[int]) -> None:
    """Step 2."""
    changed = Lowest(active)
    for times, share in STAGES:
        worth = best.clean - changed.margin >= share * (best.clean - best.margin)
        with active.only(worth[active.rows]) as some:
            change_squares(some, changed, int(times * queries), seeds)
    best.look(active, changed.of(active))


def _descend_again(active: Survivors, best: Lowest, seeds: Iterator[int], done: int, copies: int) -> None:
    """Run ``copies`` long descents side by side; every second one, counted from the first, on the cross-entropy."""
    for loss, first in ((cross_entropy, 0), (margin, 1)):
        count = len([i for i in range(done, done + copies) if i % 2 == first])
        descend_from_copies(active, best, next(seeds), loss, from_outside(LONG), count)

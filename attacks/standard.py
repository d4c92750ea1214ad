"""The standard verdict: the attacks that together miss little, each where it has a chance."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor

from attacks.apgd import descend
from attacks.draws import derive
from attacks.goals import Goal
from attacks.gradients import forward
from attacks.hopping import hop
from attacks.inputs import check_parameters
from attacks.losses import margin
from attacks.norms import Linf, Norm
from attacks.protocols import Kind, Model
from attacks.rivals import aims
from attacks.square import Square, scatter, schedule, search
from attacks.track import Lowest, Survivors

WIDE, NARROW = 0.8, 0.1
"""Share of the image that the first squares cover: those that start anew, and those around a good point."""
LEAD = 2
"""Gradients count as masked where squares lowered the margin by so many times as much."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """A parameter-free worst case: what AutoAttack finds, for a fraction of its cost.

    Every step works on the images that the steps before did not fool, and an image is done the moment it is fooled:

    1. descend the margin from the image itself;
    2. descend the margin to each rival class, the nearest first, from a random point;
    3. change random squares, without gradients;
    4. hop from basin to basin: kick the best point, walk down again, change small squares there. An image takes part
       as long as its margin is below 1/2, in later rounds 1/3, 1/4, ... of the clean image's: hopeless ones leave at
       once, those that nearly fall stay to the end;
    5. where squares got much further than gradients, which is the mark of masked gradients, change squares for long.

    An image that is left out early costs 530 passes, one that nearly falls up to 4,700 (AutoAttack: about 9,900 each),
    one with masked gradients 4,000 more.

    References:
        Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks <https://arxiv.org/abs/2003.01690>, 2020 (AutoAttack). Liu et al., Practical evaluation of adversarial
        robustness via adaptive auto attack <https://arxiv.org/abs/2203.05154>, 2022: leaving out hopeless images.
        Gao et al., Fast and reliable evaluation of adversarial robustness with minimum-margin attack
        <https://arxiv.org/abs/2206.07314>, 2022: the order of targets.

    Deviations:
        It is none of these: the short descents are APGD's, on the margin alone, and hops take the place of FAB and of
        long descents. Whether an image is left out depends on that image alone. In L1, and on images with more than
        three dimensions, there are no squares.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = Standard()(lambda x: x, x, goal, eps=0.0625)
        >>> bool(goal.margin(x_adv) < 0)
        True
    """

    kind: ClassVar[Kind] = "budget"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    norm: Norm = Linf()
    """In which ``eps`` is measured."""
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
        left = Survivors(model, x, goal, self.norm, eps)
        best, seeds = Lowest(left), (derive(seed, i) for i in count(1))
        clean = best.margin.clone()
        self._descend(left, best, seeds)
        by_gradients = clean - best.margin
        self._square(left, best, self.queries, seeds)
        masked = clean - best.margin > LEAD * by_gradients
        for i in range(self.rounds):
            hopeless = (best.margin > clean / (2 + 0.2 * i)) & ~masked
            left.give_up(hopeless[left.rows], best.of(left))
            hop(left, best, next(seeds))
            self._square(left, best, self.queries // 10, seeds, around_best=True)
        left.give_up(~masked[left.rows], best.of(left))
        self._square(left, best, 20 * self.queries, seeds)
        return left.finish(best.of(left))

    def _descend(self, left: Survivors, best: Lowest, seeds: Iterator[int]) -> None:
        """Steps 1 and 2."""
        best.look(left, descend(left, left.x, margin, self.steps))
        if not len(left):
            return
        rows, logits = left.rows, forward(left.model, best.of(left), left.goal)
        for aim in aims(left.goal, logits, self.targets):
            left.aim = aim.select(torch.searchsorted(rows, left.rows))
            random = left.norm.random(left.x.shape[1:], left.eps, next(seeds), left.goal.ids, draw=0)
            start = (left.x + random.to(left.x)).clamp_(0, 1)
            best.look(left, descend(left, start, margin, self.steps))
        left.aim = left.goal

    def _square(
        self, left: Survivors, best: Lowest, queries: int, seeds: Iterator[int], *, around_best: bool = False
    ) -> None:
        """Random squares, from afresh or around the best points."""
        if self.norm.name not in Square.norms or left.x.ndim > 4:
            return
        start = best.of(left) if around_best else scatter(left, next(seeds))
        found, _ = search(left, start, schedule(queries, NARROW if around_best else WIDE), next(seeds))
        best.look(left, found)

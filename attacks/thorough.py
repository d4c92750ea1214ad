"""The thorough verdict: slow, finds what AutoAttack misses."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.norms import Linf, Norm
from attacks.objectives.rivals import ways_to
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.derivatives import NoGradientError
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.draws import derive
from attacks.searches.lowest import Lowest
from attacks.searches.track import Survivors
from attacks.searches.walkers import FAR, Walkers, corners
from attacks.standard import Standard

SCOUTS = 4
"""Number of walkers sent towards each rival class to see which is near."""
SECOND = 8
"""One walker in ``SECOND`` tries the second nearest rival; the others try the nearest."""
PACE = 10
"""Number of generations after which walkers are polished, and an image's progress is checked."""
FINE = (0.02, 0.00005)
"""Lengths of the first and the last step of a polish, as fractions of ``eps``: coarser ones miss the minimum."""
EARLY, AHEAD = 100, 50
"""Generations, from the start and later from now, within which an image must be expected to be fooled."""
NEAR = 0.1
"""An image is nearly fooled if the margin is below this fraction of the clean image's."""


@dataclass(frozen=True, kw_only=True)
class Thorough:
    """Runs many descents (walkers) per image, and starts new ones from mixtures of two of them.

    The images that :class:`attacks.Standard` does not fool go through a memetic search:

    1. Scouts descend from random corners of the budget towards each of the nearest rival classes.
    2. A population descends from other corners, most of it towards the rival that a scout came nearest to.
    3. In each generation every walker has a child: a random subset of its values comes from the better of two random
       walkers, and a few values mutate to another corner. The child descends, with momentum, in ever shorter steps, and
       replaces its parent if it ends lower.
    4. Every ten generations all walkers are polished: they descend in very short steps.
    5. A population ends when, at the rate of its last generations, it would not fool the image soon. If it came near,
       another one starts from other corners.

    The margin of a network has very many local minima at the corners of the budget. A single walker ends in any of
    them; combining what several walkers found leads to deeper ones.

    References:
        Moscato, On evolution, search, optimization, genetic algorithms and martial arts: towards memetic algorithms,
        Caltech Concurrent Computation Program, report 826, 1989. Syswerda, Uniform crossover in genetic algorithms,
        ICGA 1989. Dong et al., Boosting adversarial attacks with momentum <https://arxiv.org/abs/1710.06081>, 2018.
        Gowal et al., An alternative surrogate loss for PGD-based adversarial testing
        <https://arxiv.org/abs/1910.09338>, 2019, for trying several rivals.

    Deviations:
        Genetic attacks in the literature use only scores; here every child follows gradients.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = Thorough()(lambda x: x, x, goal, eps=0.0625)
        >>> bool(goal.margin(x_adv) < 0)
        True
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    besides: ClassVar[tuple[Access, ...]] = ("scores",)
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    first: Standard = field(default_factory=Standard)
    """The attack to try first, in this attack's norm."""
    walkers: int = 64
    """Number of walkers for each image."""
    generations: int = 300
    """Largest number of generations; few images take more than 100."""
    steps: int = 20
    """Number of gradient steps of a child or a scout; the first walkers take twice as many."""
    targets: int = 9
    """Number of rival classes considered."""
    populations: int = 6
    """Largest number of populations; a further one runs only on images that the previous one nearly fooled."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        best = Lowest(active)
        near = NEAR * best.margin
        if len(active):
            first = replace(self.first, norm=self.norm)
            best.look(active, first(active.model, active.x, active.goal, eps=active.eps, seed=seed))
            active.precision = "exact"  # a rounded gradient would not decide between those left
        with suppress(NoGradientError):  # walkers have nowhere to go; the first attack then uses scores or decisions
            self._populate(active, best, near, seed)
        return active.finish(best.of(active))

    def _populate(self, active: Survivors, best: Lowest, near: Tensor, seed: int) -> None:
        """Run all populations, as long as there are images that are nearly fooled."""
        for population in range(self.populations):
            if not len(active):
                return
            for part in active.parts(self.walkers):
                best.look(part, self._search(part, best.of(part), derive(seed, population)))
            active.give_up(best.margin[active.rows] > near[active.rows], best.of(active))

    def _search(self, part: Survivors, best: Tensor, seed: int) -> Tensor:
        """Run one population for each of some images from their best points (n, ...); return the best of each."""
        active = Survivors(part.model, part.x, part.goal, self.norm, part.eps)
        walkers = self._settle(active, best, seed)
        before = active.x.new_full((len(active.found),), torch.inf)
        before[active.rows] = walkers.mean()
        for generation in range(1, self.generations + 1):
            if not len(active):
                break
            walkers.walk(walkers.children(derive(seed, generation + 2)), self.steps)
            if generation % PACE == 0:
                walkers.walk(walkers.x_adv, 2 * self.steps, *FINE)
                ahead = min(max(EARLY - generation, AHEAD), self.generations - generation)
                gain = before[active.rows] - walkers.mean()
                walkers.leave(walkers.lowest() > gain * ahead / PACE)
                before[active.rows] = walkers.mean()
        return active.finish(walkers.best())

    def _settle(self, active: Survivors, best: Tensor, seed: int) -> Walkers:
        """The first walkers of each image, one of them at the best point so far."""
        ways = ways_to(active.goal, forward(active.model, active.x, active.goal), self.targets)
        towards = torch.arange(len(ways), device=active.x.device).repeat_interleave(SCOUTS)
        scouts = Walkers(active, ways, towards.expand(len(active), -1))
        scouts.walk(corners(active, len(towards), derive(seed, 1)), self.steps, FAR)
        nearest = scouts.margin.view(len(active), len(ways), SCOUTS).amin(2).argsort(dim=1, stable=True)
        place = (torch.arange(self.walkers, device=active.x.device) < self.walkers // SECOND).long()
        walkers = Walkers(active, scouts.ways, nearest[:, place.clamp_max(len(ways) - 1)])
        start = corners(active, self.walkers, derive(seed, 2))
        start[:, -1] = best[active.rows]
        walkers.walk(start, 2 * self.steps, FAR)
        return walkers

"""The lowest candidates found for a batch, and searches from several copies of each image side by side."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from attacks.geometry.rows import column
from attacks.goals import Goal
from attacks.objectives.ranking import fooling
from attacks.objectives.rivals import Ways, ways_to
from attacks.queries.gradients import forward
from attacks.searches.track import Survivors

AGAIN = 0.1
"""Two searches count as ending at the same margin if these differ by less than this fraction of the margin and of its
fall; and a margin counts as hardly changed if it fell by less than this fraction."""


class Lowest:
    """The candidate with the lowest margin so far for each image of a batch, initially the clean image.

    Args:
        active: The images to be fooled.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x = torch.tensor([[0.9, 0.3], [0.2, 0.8]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0, 0])), Linf(), eps=0.5)
        >>> best = Lowest(active)
        >>> better = torch.tensor([[0.8, 0.4]])
        >>> rest = best.offer(active, better, logits=better)
        >>> best.margin
        tensor([0.4000,    inf])
    """

    x_adv: Tensor
    """The best candidates of the whole batch (N, ...)."""
    margin: Tensor
    """The goal's margin at these candidates (N,); infinite where the clean image met the goal."""
    clean: Tensor
    """The goal's margin at the clean image (N,); infinite where it met the goal."""
    times: Tensor
    """Number of searches that ended at about this margin (N,)."""
    restless: Tensor
    """Whether a search ended clearly lower than an earlier one, bool (N,)."""

    def __init__(self, active: Survivors) -> None:
        self.x_adv = active.found.clone()
        self.margin = active.found.new_full((len(active.found),), torch.inf)
        self.times = torch.zeros_like(self.margin)
        self.restless = torch.zeros_like(self.margin, dtype=torch.bool)
        if len(active):
            self.offer(active, active.x, active.logits[active.rows])
        self.clean = self.margin.clone()

    @property
    def settled(self) -> Tensor:
        """Where the first search and a later one ended at the lowest margin, bool (N,): others hardly get lower.

        Never where the margin hardly fell: that is a plateau without a gradient, on which all searches end at the same
        margin.
        """
        return (self.times > 1) & ~self.restless & self.moved

    @property
    def moved(self) -> Tensor:
        """Where the margin fell noticeably, bool (N,)."""
        return self.margin < (1 - AGAIN) * self.clean

    def of(self, active: Survivors) -> Tensor:
        """The candidates of the active images (n, ...)."""
        return self.x_adv[active.rows]

    def look(self, active: Survivors, x_adv: Tensor) -> None:
        """Evaluate the end points of a search for the survivors (n, ...), and keep those that are better."""
        if len(active):
            logits = forward(active.model, x_adv, active.goal)
            self._count(active.rows, active.goal.margin(logits))
            self.offer(active, x_adv, logits)

    def offer(self, active: Survivors, x_adv: Tensor, logits: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Keep the candidates (n, ...) that are better; then retire fooled images as :meth:`Survivors.retire` does."""
        margin = active.goal.margin(logits)
        self._keep(active.rows, x_adv, margin)
        return active.retire(x_adv, fooling(margin, logits), *state)

    def gather(self, active: Survivors, crowd: Survivors, found: "Lowest") -> None:
        """Keep the best point ``found`` by the copies of each active image; fooled images leave.

        Args:
            active: The images whose copies these are.
            crowd: Their remaining copies, see :meth:`Survivors.copies`.
            found: The best point of each copy.
        """
        if not len(active):
            return
        lowest = torch.where(crowd.fooled, -torch.inf, found.margin).view(len(active), -1)
        places = torch.arange(len(active), device=lowest.device)
        which = places * lowest.shape[1] + lowest.argmin(1)
        fooled = crowd.fooled[which]
        x_adv = torch.where(column(fooled, found.x_adv), crowd.found[which], found.x_adv[which])
        self._keep(active.rows, x_adv, found.margin[which])
        active.retire(x_adv, fooled)

    def _keep(self, rows: Tensor, x_adv: Tensor, margin: Tensor) -> None:
        """Keep the candidates (n, ...) of some rows where their margins (n,) are lower."""
        better = margin < self.margin[rows]
        rows = rows[better]
        self.x_adv[rows], self.margin[rows] = x_adv[better], margin[better].to(self.margin)

    def _count(self, rows: Tensor, margin: Tensor) -> None:
        """Count the end points of a search, with margins (n,), that are as low as the best so far."""
        lowest = self.margin[rows]
        hair = AGAIN * torch.minimum(lowest, self.clean[rows] - lowest)
        lower = margin < lowest - hair
        self.restless[rows] |= lower & (self.times[rows] > 0)
        self.times[rows] = torch.where(lower, 1, self.times[rows] + (margin < lowest + hair))


def side_by_side(active: Survivors, best: Lowest, count: int) -> Iterator[tuple[Survivors, Survivors, Lowest]]:
    """Search from several copies of each image at once, and keep the best points they find.

    Args:
        active: The images; those with a fooled copy leave.
        best: Best points of the images so far.
        count: Number of copies of each image.

    Yields:
        Some of the images, their copies (:meth:`Survivors.copies`), and the store for the best point of each copy.
    """
    for part in active.parts(count) if count else ():
        crowd = part.copies(count)
        found = Lowest(crowd)
        yield part, crowd, found
        best.gather(part, crowd, found)


def leave(active: Survivors, best: Lowest, share: float, may: Tensor | None = None) -> None:
    """Leave out images whose margin is above a share of the clean one, among those that ``may`` leave, bool (N,)."""
    hopeless = best.margin > share * best.clean
    hopeless = hopeless if may is None else hopeless & may
    active.give_up(hopeless[active.rows], best.of(active))


def nearest_ways(active: Survivors, best: Lowest, count: int) -> Ways:
    """Ways to meet the active images' goal, nearest first, measured at their best points."""
    logits = forward(active.model, best.of(active), active.goal) if len(active) else active.logits[:0]
    return ways_to(active.goal, logits, count)


def towards(active: Survivors, ways: Iterable[Goal]) -> Iterator[None]:
    """Aim the active images along each way to meet their goal in turn, then at the goal itself again.

    Args:
        active: The images; before each turn the aim is set for those still left.
        ways: Aims for the images that are active at the start.

    Yields:
        Nothing, once for each way.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x = torch.tensor([[0.6, 0.5, 0.3]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), Linf(), eps=0.01)
        >>> [active.aim.new.tolist() for _ in towards(active, nearest_ways(active, Lowest(active), 2))]
        [[[1]], [[2]]]
    """
    rows = active.rows
    for aim in ways:
        active.aim = aim.select(torch.searchsorted(rows, active.rows))
        yield
    active.aim = active.goal

"""Populations of candidates that descend side by side, several per image, and are recombined."""

import torch
from torch import Tensor

from attacks.losses import margin
from attacks.objectives.rivals import Ways
from attacks.queries.gradients import slope
from attacks.searches.draws import derive, scaled, uniform
from attacks.searches.momentum import accumulate
from attacks.searches.track import Survivors

FAR, NEAR, LAST = 0.6, 0.1, 0.002
"""Step lengths as fractions of ``eps``: first step of a walk from anywhere, first step of a child, last step."""
DECAY = 0.75
"""Weight of the earlier gradients in the direction of a step."""
LEAST, MOST = 0.001, 0.05
"""Range of the fraction of a child's values that mutate, log-uniform."""
REACH = 4
"""Largest distance between partners in the ring of an image's walkers."""
PARTNERED = 0.9
"""Fraction of the children that have two parents."""


class Walkers:
    """Candidates of the active images, W for each, and the aim that each of them descends.

    If one of an image's walkers meets the goal, the image leaves with all of its walkers.

    Args:
        active: The images to be fooled.
        ways: Ways to meet the goal.
        which: Index in ``ways`` of the way that each walker tries, int64 (n, W).

    Example:
        >>> from attacks import Linf, Untargeted
        >>> from attacks.objectives.rivals import ways_to
        >>> x, goal = torch.tensor([[0.9, 0.3]]), Untargeted(torch.tensor([0]))
        >>> active = Survivors(lambda x: x, x, goal, Linf(), eps=0.25)
        >>> walkers = Walkers(active, ways_to(goal, x, 1), torch.zeros(1, 4, dtype=torch.int64))
        >>> walkers.walk(corners(active, 4, seed=0), steps=20)
        >>> walkers.best(), walkers.lowest()
        (tensor([[0.6500, 0.5500]]), tensor([0.1000]))
    """

    ways: Ways
    """Ways to meet the goal, one row per image."""
    x_adv: Tensor
    """The best point of each walker (n, W, ...)."""
    margin: Tensor
    """The margin of each walker's aim at its best point (n, W)."""

    def __init__(self, active: Survivors, ways: Ways, which: Tensor) -> None:
        self.ways, self._active, self._which = ways, active, which
        self.x_adv = active.x.unsqueeze(1).repeat_interleave(which.shape[1], 1)
        self.margin = self.x_adv.new_full(which.shape, torch.inf)

    def best(self) -> Tensor:
        """The point of the best walker of each image (n, ...)."""
        return self._points(self.margin.argmin(1, keepdim=True)).squeeze(1)

    def lowest(self) -> Tensor:
        """The margin of the best walker of each image (n,)."""
        return self.margin.amin(1)

    def mean(self) -> Tensor:
        """Mean margin of each image's walkers (n,)."""
        return self.margin.mean(1)

    def walk(self, start: Tensor, steps: int, first: float = NEAR, last: float = LAST) -> None:
        """Descend from ``start`` (n, W, ...); walkers that find better points move there, fooled images leave."""
        if not len(start):
            return
        x_adv, lowest = self._descend(start.flatten(0, 1), steps, first, last)
        lowest = lowest.view_as(self.margin)
        better = lowest < self.margin
        self.x_adv = torch.where(_like(better, self.x_adv), x_adv.view_as(self.x_adv), self.x_adv)
        self.margin = torch.where(better, lowest, self.margin)
        self.leave(self.lowest() == -torch.inf)

    def leave(self, done: Tensor) -> None:
        """Remove the images that are ``done``, bool (n,), keeping the best point found for each."""
        if bool(done.any()):
            self._active.give_up(done, self.best())
            rows = (~done).nonzero().squeeze(1)
            self.ways = self.ways.select(rows)
            self._which, self.x_adv, self.margin = self._which[rows], self.x_adv[rows], self.margin[rows]

    def children(self, seed: int) -> Tensor:
        """A child of each walker (n, W, ...), which takes a random subset of its values from a partner.

        The partner is the better of two random walkers that are near in the ring, so that what one has found spreads
        slowly while the others keep exploring. Then a few values mutate: they take those of a random corner of the
        budget.
        """
        active, (count, *shape) = self._active, self.x_adv.shape[1:]
        numbers = uniform(seed, active.goal.ids, 0, (5, count)).to(self.x_adv)
        place = torch.arange(count, device=numbers.device)
        one, other = ((place + (numbers[:, :2] - 0.5) * (2 * REACH + 1)).round().long() % count).unbind(1)
        partner = torch.where(self.margin.gather(1, one) < self.margin.gather(1, other), one, other)
        share = numbers[:, 2] * (numbers[:, 3] < PARTNERED)
        rate = scaled(numbers[:, 4], LEAST, MOST)
        taken, mutated = uniform(seed, active.goal.ids, 1, (2, count, *shape)).to(self.x_adv).unbind(1)
        child = torch.where(taken < _like(share, taken), self._points(partner), self.x_adv)
        return torch.where(mutated < _like(rate, mutated), corners(active, count, derive(seed, 1)), child)

    def _points(self, which: Tensor) -> Tensor:
        """The points of some walkers of each image (n, K) -> (n, K, ...)."""
        return self.x_adv[torch.arange(len(which), device=which.device).unsqueeze(1), which]

    def _descend(self, x_adv: Tensor, steps: int, first: float, last: float) -> tuple[Tensor, Tensor]:
        """Descend from ``x_adv`` (n * W, ...) to the lowest points; their margins are -inf where the goal is met."""
        active = self._active
        # The image row of each walker.
        owner = torch.arange(len(active), device=x_adv.device).repeat_interleave(self._which.shape[1])
        x, goal, eps = active.x[owner], active.goal.select(owner), active.eps[owner]
        aim = self.ways.of(owner, self._which.flatten())
        best, lowest, sum_ = x_adv, x_adv.new_full((len(x_adv),), torch.inf), torch.zeros_like(x_adv)
        for step in range(steps):
            x_adv = active.norm.within(x, x_adv, eps)
            at = slope(active.model, x_adv, goal, margin, aim=aim, precision=active.precision)
            value = at.loss.masked_fill(at.fooled, -torch.inf)
            better = value < lowest
            best, lowest = torch.where(_like(better, x_adv), x_adv, best), torch.minimum(value, lowest)
            sum_ = accumulate(sum_, at.gradient, DECAY)
            length = first * (last / first) ** (step / steps) * eps
            x_adv = x_adv + active.norm.step(x_adv, sum_, length)
        return best, lowest


def corners(active: Survivors, count: int, seed: int) -> Tensor:
    """Random extreme points of the budgets of the active images, ``count`` for each (n, count, ...).

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x = torch.full((1, 3), 0.5)
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), Linf(), eps=0.25)
        >>> corners(active, 10, seed=0).unique()
        tensor([0.2500, 0.7500])
    """
    shape = active.x.shape[1:]
    direction = uniform(seed, active.goal.ids, 0, (count, *shape)).to(active.x).flatten(0, 1) - 0.5
    x, eps = active.x.repeat_interleave(count, 0), active.eps.repeat_interleave(count)
    return active.norm.within(x, x + active.norm.steepest(direction, eps), eps).view(len(active), count, *shape)


def _like(value: Tensor, points: Tensor) -> Tensor:
    """A number for each walker, (n, W) or (n * W,), shaped to broadcast against its point."""
    return value.view(*value.shape, *[1] * (points.ndim - value.ndim))

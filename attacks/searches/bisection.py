"""Bisection over a number, image by image."""

import torch
from torch import Tensor

from attacks.geometry.rows import column
from attacks.goals import met
from attacks.queries.gradients import forward
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


class Bisection:
    """Searches for the smallest value that succeeds, separately for each image.

    Until something succeeds the value grows by a factor; from then on the interval is halved.

    Args:
        first: The first values to try (n,), positive.
        high: Values known to succeed (n,); None if there are none.
        factor: Growth factor of a value that fails.

    Example:
        >>> search = Bisection(torch.tensor([1.0]))
        >>> tried = []
        >>> for _ in range(6):  # everything above 5 succeeds
        ...     tried.append(search.value.item())
        ...     search.tell(search.value > 5)
        >>> tried
        [1.0, 2.0, 4.0, 8.0, 6.0, 5.0]
    """

    value: Tensor
    """The value to try next (n,)."""
    low: Tensor
    """The largest value that failed (n,); 0 if none did."""
    high: Tensor
    """The smallest value that succeeded (n,); infinite if none did."""

    def __init__(self, first: Tensor, *, high: Tensor | None = None, factor: float = 2.0) -> None:
        self.value, self.low = first, torch.zeros_like(first)
        self.high = torch.full_like(first, torch.inf) if high is None else high
        self._factor = factor

    def tell(self, success: Tensor, reached: Tensor | None = None) -> None:
        """Record the outcome, and move on to the next value.

        Args:
            success: Whether ``value`` succeeded, bool (n,).
            reached: Values that turned out to be enough where it succeeded (n,); None: ``value`` itself.
        """
        enough = self.value if reached is None else torch.minimum(reached, self.value)
        self.high = torch.where(success, torch.minimum(enough, self.high), self.high)
        low = torch.where(success, self.low, torch.maximum(self.value, self.low))
        # A success below a failed value shows that the failure was due to chance.
        self.low = torch.where(low < self.high, low, 0)
        middle = (self.low + self.high) / 2
        self.value = torch.where(self.high.isfinite(), middle, self.value * self._factor)

    def select(self, index: Tensor) -> None:
        """Continue with some of the images only: a mask or positions."""
        self.value, self.low, self.high = self.value[index], self.low[index], self.high[index]


def pull_back(active: Survivors, best: Nearest, steps: int) -> None:
    """Move the images found straight towards the clean ones, as far as they still fool, by ``steps`` bisections.

    Args:
        active: The images under attack.
        best: The nearest adversarial images so far; nearer ones are added.
        steps: Number of forward passes.

    Example:
        >>> from attacks import L2, Untargeted
        >>> x = torch.tensor([[0.6, 0.5]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), L2(), eps=None)
        >>> best = Nearest(active.x, active.norm)
        >>> better = best.offer(torch.tensor([[0.5, 0.75]]), torch.tensor([True]))
        >>> pull_back(active, best, steps=10)
        >>> (best.x_adv - x).mul(100).round()  # 0.1 / 0.35 of the way
        tensor([[-3.,  7.]])
    """
    rows = best.found.nonzero().squeeze(1)
    if not len(rows):
        return
    clean, far, goal = active.x[rows], best.x_adv[rows], active.goal.select(rows)
    search = Bisection(torch.full_like(active.eps[rows], 0.5), high=torch.ones_like(active.eps[rows]))
    for _ in range(steps):
        between = clean.lerp(far, column(search.value, clean)).clamp_(0, 1)
        fooled = met(goal, forward(active.model, between, goal))
        best.offer_for(rows, between, fooled)
        search.tell(fooled)

"""Bisection image by image: over any number, and over ``eps`` to make a minimum-norm attack of a budget attack."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.norms import Norm, column
from attacks.protocols import Access, BudgetAttack, Kind, Model, Search
from attacks.queries.classified import access_of, search_of
from attacks.queries.failures import Failures
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call
from attacks.searches.draws import derive
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


class Bisection:
    """Searches, for each image by itself, for the smallest value that succeeds.

    As long as nothing has succeeded the value grows by a factor; from then on the interval is halved.

    Args:
        first: The first values to try (n,), positive.
        high: Values known to succeed (n,); None: not known.
        factor: By which a value that fails grows.

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
    """What to try next (n,)."""
    low: Tensor
    """The largest value that failed (n,); 0 if none did."""
    high: Tensor
    """The smallest value that succeeded (n,); infinite if none did."""

    def __init__(self, first: Tensor, *, high: Tensor | None = None, factor: float = 2.0) -> None:
        self.value, self.low = first, torch.zeros_like(first)
        self.high = torch.full_like(first, torch.inf) if high is None else high
        self._factor = factor

    def tell(self, success: Tensor, reached: Tensor | None = None) -> None:
        """Say how it went, and move on to the next value.

        Args:
            success: Whether ``value`` succeeded, bool (n,).
            reached: Values that turned out to be enough where it did (n,); None: ``value`` itself.
        """
        enough = self.value if reached is None else torch.minimum(reached, self.value)
        self.high = torch.where(success, torch.minimum(enough, self.high), self.high)
        low = torch.where(success, self.low, torch.maximum(self.value, self.low))
        # A success below a failure shows that the failure was bad luck.
        self.low = torch.where(low < self.high, low, 0)
        middle = (self.low + self.high) / 2
        self.value = torch.where(self.high.isfinite(), middle, self.value * self._factor)

    def select(self, index: Tensor) -> None:
        """Go on with some of the images only: a mask or positions."""
        self.value, self.low, self.high = self.value[index], self.low[index], self.high[index]


def pull_back(active: Survivors, best: Nearest, steps: int) -> None:
    """Draw the images found straight towards the clean ones, as far as they still fool, by so many halvings.

    Args:
        active: The images that are attacked.
        best: What was found for them, and will be.
        steps: Forward passes.

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


@dataclass(frozen=True)
class EpsSearch:
    """A budget attack, asked again and again with another ``eps``; see :func:`binary_search_eps`.

    Example:
        >>> from attacks import PGD
        >>> EpsSearch(PGD()).kind
        'minimum norm'
    """

    kind: ClassVar[Kind] = "minimum norm"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    attack: BudgetAttack
    """Is given an ``eps`` for each image."""
    steps: int = 10
    """Calls of the attack."""

    def __post_init__(self) -> None:
        if self.attack.kind != "budget":
            raise ValueError(f"expected a budget attack, got {type(self.attack).__name__} ({self.attack.kind})")
        if self.steps < 1:
            raise ValueError(f"expected steps >= 1, got {self.steps}")

    @property
    def norm(self) -> Norm:
        """That of its attack."""
        return self.attack.norm

    @property
    def access(self) -> Access | None:
        """That of its attack; None where that does not say."""
        return access_of([self.attack])

    @property
    def search(self) -> Search | None:
        """That of its attack; None where that does not say."""
        return search_of([self.attack])

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`; the ``i``-th call draws with a seed derived from ``seed``."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        best = Nearest(active.x, self.norm, active.eps)
        farthest = active.farthest
        least = self._whole(farthest / 64)
        search = Bisection(torch.minimum(least, farthest))
        rows, failed = torch.arange(len(active), device=x.device), Failures()
        for step in range(self.steps):
            if not len(rows):
                break
            clean, some, radius, places = active.x[rows], active.goal.select(rows), search.value, active.rows[rows]
            x_adv = failed.catch(self.attack, model, clean, some, eps=radius, seed=derive(seed, step), rows=places)
            fooled = met(some, forward(model, x_adv, some))
            best.offer_for(rows, x_adv, fooled)
            search.tell(fooled, self.norm.measure(x_adv - clean))
            search.value = torch.minimum(self._whole(search.value), farthest[rows])
            open_ = (search.value > search.low) & (search.value < search.high)
            search.select(open_)
            rows = rows[open_]
        x_adv = active.finish(best)
        found = torch.ones(len(x), dtype=torch.bool, device=x.device).index_copy(0, active.rows, best.found)
        return failed.report(x_adv, found)

    def _whole(self, radius: Tensor) -> Tensor:
        """For L0, which counts, a whole number."""
        return radius.floor().clamp_min(1) if self.norm.name == "l0" else radius


def binary_search_eps(attack: BudgetAttack, steps: int = 10) -> EpsSearch:
    """A minimum-norm attack made of a budget attack: bisection over ``eps``, for each image by itself.

    The first ``eps`` is 1/64 of the largest perturbation that [0, 1] allows, and is doubled until the image is
    fooled; then the interval between the largest ``eps`` that failed and the size of the smallest perturbation found
    is halved. An image that stays unfooled at its largest ``eps`` is not tried again.

    Args:
        attack: A budget attack.
        steps: Calls of the attack, doublings included.

    Raises:
        ValueError: If the attack is a minimum-norm attack already, or ``steps`` is below 1.

    Example:
        >>> from attacks import PGD, Linf, Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = binary_search_eps(PGD(), steps=12)(lambda x: x, x, goal)
        >>> bool(Linf().measure(x_adv - x) < 0.051)  # the boundary is 0.05 away
        True
    """
    return EpsSearch(attack, steps)

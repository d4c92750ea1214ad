"""A minimum-norm attack built from a budget attack: bisection over ``eps``, image by image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.goals import Goal, met
from attacks.protocols import BudgetAttack, Kind, Model
from attacks.queries.classified import MadeOfOne
from attacks.queries.failures import Failures
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call
from attacks.queries.plain import whole_number
from attacks.searches.bisection import Bisection
from attacks.searches.draws import derive
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


@dataclass(frozen=True)
class EpsSearch(MadeOfOne):
    """A budget attack called repeatedly with different ``eps``; see :func:`binary_search_eps`.

    Example:
        >>> from attacks import PGD
        >>> EpsSearch(PGD()).kind
        'minimum norm'
    """

    attack: BudgetAttack
    """The attack, which is given an ``eps`` for each image."""
    steps: int = 10
    """Number of calls of the attack."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attack.kind != "budget":
            raise ValueError(f"expected a budget attack, got {type(self.attack).__name__} ({self.attack.kind})")
        object.__setattr__(self, "steps", whole_number("steps", self.steps))

    @property
    def kind(self) -> Kind:
        """Minimum norm: it looks for the smallest ``eps``."""
        return "minimum norm"

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`; the ``i``-th call draws with a seed derived from ``seed``."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        best = Nearest(active.x, self.norm, active.eps)
        farthest = active.farthest
        least = self.norm.round_radius(farthest / 64)
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
            search.value = torch.minimum(self.norm.round_radius(search.value), farthest[rows])
            open_ = (search.value > search.low) & (search.value < search.high)
            search.select(open_)
            rows = rows[open_]
        x_adv = active.finish(best)
        found = torch.ones(len(x), dtype=torch.bool, device=x.device).index_copy(0, active.rows, best.found)
        return failed.report(x_adv, found)


def binary_search_eps(attack: BudgetAttack, steps: int = 10) -> EpsSearch:
    """Build a minimum-norm attack from a budget attack: bisection over ``eps``, separately for each image.

    The first ``eps`` is 1/64 of the largest perturbation that [0, 1] allows, and is doubled until the image is
    fooled; then the interval between the largest ``eps`` that failed and the size of the smallest perturbation found
    is halved. An image that stays unfooled at its largest ``eps`` is not tried again.

    Args:
        attack: A budget attack.
        steps: Number of calls of the attack, including doublings.

    Raises:
        ValueError: If the attack is a minimum-norm attack already, or ``steps`` is not a whole number of at least 1.

    Example:
        >>> from attacks import PGD, Linf, Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = binary_search_eps(PGD(), steps=12)(lambda x: x, x, goal)
        >>> bool(Linf().measure(x_adv - x) < 0.051)  # the boundary is 0.05 away
        True
    """
    return EpsSearch(attack, steps)

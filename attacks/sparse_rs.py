"""Sparse-RS: random search over sets of values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.losses import LOSSES, Loss, margin
from attacks.norms import L0, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.inputs import check_call, check_parameters
from attacks.searches.random_search import random_search
from attacks.searches.swaps import replaced, values_and_ends
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class SparseRS:
    """Swaps some of the changed values for others and keeps swaps that lower the loss. Needs no gradient.

    Changed values are black or white at random, and the values to swap are random too. Fewer and fewer are swapped at a
    time.

    References:
        Croce et al., Sparse-RS: a versatile framework for query-efficient sparse black-box adversarial attacks
        <https://arxiv.org/abs/2006.12834>, AAAI 2022.

    Deviations:
        Single values of one channel are swapped and counted, as in :class:`attacks.L0`; in the paper, whole pixels with
        all their channels. Each image draws its own swaps. A value that is black already becomes white, and the other
        way round. The margin is the default loss for every goal; the paper uses ``loss="ce"`` for targeted ones.

    Example:
        >>> from attacks import Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5, 0.4]]), Untargeted(torch.tensor([0]))
        >>> x_adv = SparseRS(steps=30)(lambda x: x, x, goal, eps=1)
        >>> L0().measure(x_adv - x), bool(goal.margin(x_adv) < 0)
        (tensor([1.]), True)
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "scores"
    search: ClassVar[Search] = "many steps"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    norm: Norm = L0()
    """The norm in which ``eps`` is measured."""
    steps: int = 5000
    """Number of queries, not counting the one for the clean image."""
    initial_fraction: float = 0.8
    """Fraction of the changed values swapped at first, at most 1."""
    loss: str = "margin"
    """Name of the loss in :data:`attacks.losses.LOSSES`."""

    def __post_init__(self) -> None:
        check_parameters(self)
        if self.initial_fraction > 1:
            raise ValueError(f"expected initial_fraction of SparseRS <= 1, got {self.initial_fraction}")

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        shares = schedule(self.steps, self.initial_fraction)
        return active.finish(search(active, scatter(active, seed), shares, seed, LOSSES[self.loss]))


def scatter(active: Survivors, seed: int) -> Tensor:
    """Starting points of the search (n, ...): ``eps`` random values, black or white.

    Example:
        >>> from attacks import Untargeted
        >>> x = torch.tensor([[0.5, 0.25, 0.75]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([2])), L0(), eps=2)
        >>> (scatter(active, seed=0) != x).sum()
        tensor(2)
    """
    random, ends = values_and_ends(active.x, seed, active.goal.ids, 0)
    return torch.where(active.norm.project(random, active.eps) > 0, ends, active.x)


def schedule(steps: int, initial_fraction: float) -> list[float]:
    """Fraction of the changed values swapped in each query: it falls at fixed parts of the search.

    Args:
        steps: Number of queries, including the one for the start.
        initial_fraction: The initial fraction.

    Example:
        >>> schedule(5, 0.6)
        [0.075, 0.06, 0.049999999999999996, 0.04]
    """
    return [initial_fraction / next(parts for end, parts in _PARTS if step <= end * steps) for step in range(1, steps)]


def search(
    active: Survivors,
    x_adv: Tensor,
    shares: Sequence[float],
    seed: int,
    loss: Loss = margin,
    *,
    reach: int = 0,
) -> Tensor:
    """Run the queries of the attack on the active images; those that are fooled leave.

    Args:
        active: The images and their budgets.
        x_adv: Starting points (n, ...), within the budgets; queried first.
        shares: Fraction of each budget that is swapped in each query.
        seed: The seed of all random draws.
        loss: The loss of the goal.
        reach: Pixels; every second swap changes only values no further than this from changed ones, along either axis.
            0: no such swaps, as in the paper.

    Returns:
        The points with the lowest loss, for the images still active.
    """

    def propose(x_best: Tensor, step: int) -> Tensor:
        random, ends = values_and_ends(active.x, seed, active.goal.ids, step)
        if reach and step % 2 == 0:
            random = random + _near(x_best != active.x, reach)
        return replaced(active, x_best, random, ends, (shares[step - 1] * active.eps).floor().clamp_min(1))

    return random_search(active, x_adv, propose, len(shares), loss)


_PARTS = (
    (0.005, 2),
    (0.02, 4),
    (0.05, 5),
    (0.1, 6),
    (0.2, 8),
    (0.4, 10),
    (0.6, 12),
    (0.8, 15),
    (1.0, 20),
)
"""Up to this part of the search, swaps take the initial fraction divided by this."""


def _near(changed: Tensor, reach: int) -> Tensor:
    """Whether the pixel of each value is within ``reach`` of a changed one, bool (n, ...)."""
    if changed.ndim > 4:  # undefined for volumes
        return torch.zeros_like(changed)
    pixels = changed.reshape(len(changed), *[1] * (4 - changed.ndim), *changed.shape[1:]).any(1, keepdim=True)
    near = _spread(_spread(pixels, reach, 2), reach, 3)
    return near.expand(-1, changed.numel() // pixels.numel(), -1, -1).reshape(changed.shape)


def _spread(mask: Tensor, reach: int, axis: int) -> Tensor:
    """Dilate a mask by ``reach`` places along an axis, in a tenth of the time of pooling."""
    spread, places = mask.clone(), mask.shape[axis]
    for shift in range(1, min(reach, places - 1) + 1):
        rest = places - shift
        spread.narrow(axis, shift, rest).logical_or_(mask.narrow(axis, 0, rest))
        spread.narrow(axis, 0, rest).logical_or_(mask.narrow(axis, shift, rest))
    return spread

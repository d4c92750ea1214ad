"""Spatial attack: rotations and shifts; needs no gradient."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.warp import warp
from attacks.goals import Goal, met
from attacks.norms import Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters, check_planes
from attacks.searches.draws import uniform
from attacks.searches.nearest import Nearest
from attacks.searches.track import Survivors


@dataclass(frozen=True, kw_only=True)
class Spatial:
    """Tries rotations and shifts, and returns the one that fools with the smallest change of values.

    The change is bounded by an angle and a length, not by a norm: a shift by one pixel is hardly visible and yet far
    away in every norm. So this is a minimum-norm attack in form only. Without an ``eps`` it tells whether any of the
    rotations and shifts fools the model; do not compare the sizes of its perturbations with those of other attacks.
    With an ``eps`` it returns no image further away than that. Needs no gradient.

    References:
        Engstrom et al., Exploring the landscape of spatial robustness <https://arxiv.org/abs/1712.02779>, 2019.

    Deviations:
        The nearest success in the norm is returned; the paper takes the one with the highest loss.

    Example:
        >>> from attacks import Untargeted
        >>> model = lambda x: 9 * x[:, 0, 0, :2]  # compares two neighbours
        >>> x = torch.zeros(1, 1, 8, 8).index_fill(3, torch.tensor([0]), 1.0)
        >>> goal = Untargeted(torch.tensor([0]))
        >>> x_adv = Spatial(max_translation=0.125, rotations=1, translations=3)(model, x, goal)
        >>> model(x_adv).argmax(1)
        tensor([1])
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "decisions"
    search: ClassVar[Search] = "blind"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    norm: Norm = Linf()
    """The norm in which the nearest image is chosen and ``eps``, if given, is measured."""
    max_rotation: float = 30.0
    """Largest rotation angle either way, degrees."""
    max_translation: float = 0.1
    """Largest shift in each direction, as a fraction of the image's side."""
    rotations: int = 31
    """Number of angles tried, evenly spaced; 1: only zero."""
    translations: int = 5
    """Number of shifts tried in each of the two directions, evenly spaced; 1: only zero."""
    grid: bool = True
    """Whether to try all combinations, or the same number of random ones."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`. Images are (N, C, H, W)."""
        check_call(self, eps, seed)
        check_planes(self, x)
        active = Survivors.of(self, model, x, goal, eps, seed)
        if not len(active):
            return active.found
        best = Nearest(active.x, self.norm, active.eps)
        for move in self._moves(seed, active.goal.ids):
            angle, shift = move[:, 0] * self.max_rotation, move[:, 1:] * self.max_translation
            x_adv = warp(active.x, angle.to(x), torch.ones_like(active.eps), shift.to(x)).clamp_(0, 1)
            best.offer(x_adv, met(active.goal, forward(active.model, x_adv, active.goal)))
        return active.finish(best)

    def _moves(self, seed: int, ids: Tensor) -> Iterator[Tensor]:
        """Yield rotation, shift down, shift right, as fractions of the largest: (n, 3) in [-1, 1]."""
        turns, shifts = _evenly(self.rotations), _evenly(self.translations)
        for draw, move in enumerate(torch.cartesian_prod(turns, shifts, shifts)):
            if self.grid:
                yield move.to(ids.device).expand(len(ids), 3)
            else:
                yield 2 * uniform(seed, ids, draw, (3,)) - 1


def _evenly(count: int) -> Tensor:
    """``count`` evenly spaced numbers from -1 to 1; 0 alone if ``count`` is 1."""
    return torch.linspace(-1, 1, count, dtype=torch.float32) if count > 1 else torch.zeros(1, dtype=torch.float32)

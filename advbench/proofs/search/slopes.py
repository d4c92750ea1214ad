"""alpha-CROWN: choose the slopes of the lower lines, and the multipliers of splits, by gradient ascent.

After Xu et al. (2021) and, for the multipliers, Wang et al. (2021). Ascent is in float32; a bound counts only once it
has been recomputed in float64 with the choice that was found, so that rounding on the way does not matter.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.proofs.bounding.backward import Functions, Relaxed, lower_bound
from advbench.proofs.bounding.crown import Bounder
from advbench.proofs.bounding.intervals import Interval
from advbench.proofs.search.space import Choice, Space
from attacks.searches.adam import Adam

SLOPE_RATE, MULTIPLIER_RATE, DECAY = 0.25, 0.1, 0.9
"""Learning rates of Adam for slopes and for multipliers, and the factor of both after each step."""
INNER_RATE = 0.5
"""Learning rate for the slopes of intermediate bounds, which get only a few steps, from halfway."""


class Ascended(NamedTuple):
    """The result of the ascent.

    Attributes:
        value: Bounds in float32, as guidance, not as proofs (K,).
        choice: Slopes and multipliers that gave them.
    """

    value: Tensor
    choice: Choice


def ascend(space: Space, functions: Functions, choice: Choice, steps: int, *, rate: float = SLOPE_RATE) -> Ascended:
    """Improve the bounds of K functions.

    Args:
        space: The space in float32.
        functions: The K functions, float32.
        choice: Where to start.
        steps: Number of Adam steps; the best point on the way is kept for each function.
        rate: Learning rate of Adam for slopes.
    """
    slopes = choice.slopes.clone().requires_grad_(True)
    multipliers = choice.multipliers.clone().requires_grad_(True)
    split = bool(choice.signs.any())
    movers = [_Mover(slopes, rate), *([_Mover(multipliers, MULTIPLIER_RATE)] if split else [])]
    best = Ascended(torch.full_like(functions.constant, -torch.inf), choice)
    least, lines = space.least_slopes(), space.lines(choice)
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            here = choice._replace(slopes=slopes, multipliers=multipliers)
            value = lower_bound(space.chosen(here, lines), functions).value
        best = _better(best, value.detach(), here)
        if step < steps and value.requires_grad:
            gradients = torch.autograd.grad(value.sum(), [each.point for each in movers], allow_unused=True)
            with torch.no_grad():  # clamped before every evaluation: outside, the lines would be invalid
                for mover, gradient in zip(movers, gradients, strict=True):
                    mover.rise(gradient, step)
                slopes.copy_(torch.maximum(slopes.clamp(max=1), least))
                multipliers.clamp_(min=0)
    return best


class _Mover:
    """Ascent with Adam, whose steps do not depend on how large the bounds are, row by row."""

    def __init__(self, point: Tensor, rate: float) -> None:
        self.point, self._rate, self._adam = point, rate, Adam(point.detach())

    def rise(self, gradient: Tensor | None, step: int) -> None:
        """Move the point upwards; ``step`` counts from 0."""
        if gradient is not None:
            self.point.add_(self._adam.step(gradient), alpha=self._rate * DECAY**step)


def _better(best: Ascended, value: Tensor, here: Choice) -> Ascended:
    """The better of two points, row by row."""
    rose = value > best.value
    keep = rose.unsqueeze(1)
    slopes = torch.where(keep, here.slopes.detach(), best.choice.slopes)
    multipliers = torch.where(keep, here.multipliers.detach(), best.choice.multipliers)
    return Ascended(torch.where(rose, value, best.value), here._replace(slopes=slopes, multipliers=multipliers))


def exactly(space: Space, functions: Functions, choice: Choice) -> Tensor:
    """Bounds for a choice, in the dtype of the space: in float64 they are proofs."""
    with torch.no_grad():
        return lower_bound(space.chosen(choice), functions).value


def by_ascent(steps: int) -> Bounder:
    """A bounder for :func:`advbench.proofs.bounding.crown.tightened` that chooses slopes for each function."""

    def bound(relaxed: Relaxed, known: Mapping[int, Interval], functions: Functions) -> Tensor:
        space = Space.of(relaxed, known)
        choice = space.parallel(len(functions.constant))
        if space.size:
            single = functions.to(torch.float32)
            choice = ascend(space.to(torch.float32), single, choice, steps, rate=INNER_RATE).choice
        return exactly(space, functions, choice)

    return bound

"""Tighter bounds of late activations in a domain, from the conditions that a counterexample would have to meet.

In a domain, the function lies above a linear function of the image. Only where that is at most ``enough`` can the
function be so, too: a half-space, whose intersection with the box shrinks as the domain gets closer to being closed.
The inputs of late activations depend on the whole image, and are bounded again on that part of the box (Zhou et al.,
*Clip-and-Verify*, 2025; Kotha et al., *INVPROP*, 2023), by a Lagrange multiplier for the half-space: each value gives a
bound, the best is kept.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from advbench.proofs.bounding.backward import Bound, lower_bound
from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.crown import signed_values
from advbench.proofs.search.slopes import INNER_RATE, ascend
from advbench.proofs.search.space import Choice, Space

MOST_ENTRIES = 250_000
"""Maximum number of coefficients of the functions that are bounded again in each domain, from the last layers."""
STEPS = 4
"""Number of ascent steps for the slopes of each of their bounds."""
REACH = 0.3
"""How far a domain's bound may be below the target, relative to the range of its linear function."""
MULTIPLIERS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Multipliers to try, relative to the ratio of the sizes of the bounded functions and the half-space's."""
_ROUNDING = 1e-9
"""Relative amount by which bounds are widened, far more than float64 rounding errors."""


@dataclass(frozen=True)
class Clipper:
    """Linear functions of the image below some activations' inputs, and below these times -1.

    Attributes:
        ball: The images, a box, float64.
        places: Positions of the activations in the vector of all that bend, int64 (V,).
        rows: Coefficients, each times half the width of the box (2 V, n).
        middle: The functions' values in the middle of the box (2 V,).
    """

    ball: BallInBox
    places: Tensor
    rows: Tensor
    middle: Tensor

    @classmethod
    def of(cls, space: Space) -> Self | None:
        """The functions that can be bounded again in a float64 space, if any; only on boxes."""
        layers, count = list[tuple[int, Tensor, slice]](), 0
        for part in reversed(list(space.parts())):
            count += len(part[1]) * space.relaxed.ball.x.numel()
            if count > MOST_ENTRIES:
                break
            layers.append(part)
        if not layers or not space.relaxed.ball.is_box:
            return None
        parts = [_below(space, i, found) for i, found, _ in layers]
        places = [torch.arange(place.start, place.stop) for _, _, place in layers]
        halves = [torch.cat([each[half] for each in parts]) for half in (0, 1, 2, 3)]
        rows, middle = torch.cat(halves[:2]), torch.cat(halves[2:])
        return cls(space.relaxed.ball, torch.cat(places), rows, middle)

    def clip(self, choice: Choice, below: Bound, most: float) -> Choice:
        """The domains, with bounds that are valid where a function is at most ``most``.

        Args:
            choice: Domains (K, U).
            below: Linear functions below the function in each of them, float64.
            most: A value of the function.
        """
        centre, radius = _centre_and_radius(self.ball)
        cuts = below.coefficients.flatten(1) * radius
        at_centre = below.constant + (below.coefficients.flatten(1) * centre).sum(1) - most
        width = 2 * cuts.abs().sum(1)
        near = ((width > 0) & (most - below.value < REACH * width)).nonzero().squeeze(1)
        if not len(near):
            return choice
        # slightly weaker than known, by far more than rounding errors, which large multipliers would amplify
        at_centre -= _ROUNDING * (1 + at_centre.abs() + width)
        values = self._values(cuts[near], at_centre[near])
        lowest, highest = values.chunk(2, 1)
        lower, upper = choice.lower.clone(), choice.upper.clone()
        places = near[:, None], self.places
        lower[places] = torch.maximum(lower[places], lowest)
        upper[places] = torch.minimum(upper[places], -highest)
        return choice._replace(lower=lower, upper=upper)

    def _values(self, cuts: Tensor, at_centre: Tensor) -> Tensor:
        """Minima of the functions where cuts * z + at_centre <= 0, with all of z from -1 to 1 (K, 2 V)."""
        size = (self.rows.abs().sum(1).mean() / cuts.abs().sum(1)).clamp(max=1e9)
        values = self.middle - self.rows.abs().sum(1)
        for share in MULTIPLIERS:
            multiplier = (share * size).unsqueeze(1)
            reach = torch.cdist(-multiplier * cuts, self.rows, p=1)
            values = torch.maximum(values, self.middle + multiplier * at_centre.unsqueeze(1) - reach)
        return values - _ROUNDING * (1 + values.abs())


def _centre_and_radius(ball: BallInBox) -> tuple[Tensor, Tensor]:
    lower, upper = ball.lower.flatten(1), ball.upper.flatten(1)
    return (lower + upper) / 2, (upper - lower) / 2


def _below(space: Space, i: int, found: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Linear functions below the inputs of an activation, and below these times -1: rows of both, then middles."""
    network = space.relaxed.network
    signs = torch.ones(2 * len(found), dtype=torch.float64)
    signs[len(found) :] = -1
    functions = signed_values(network, network.nodes[i].inputs[0], found.repeat(2), signs)
    start = space.parallel(2 * len(found))
    choice = ascend(space.to(torch.float32), functions.to(torch.float32), start, STEPS, rate=INNER_RATE).choice
    with torch.no_grad():
        bound = lower_bound(space.chosen(choice), functions)
    centre, radius = _centre_and_radius(space.relaxed.ball)
    flat = bound.coefficients.flatten(1)
    rows, negatives = (flat * radius).chunk(2)
    middle, middle_of_negatives = (bound.constant + (flat * centre).sum(1)).chunk(2)
    return rows, negatives, middle, middle_of_negatives

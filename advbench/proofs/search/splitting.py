"""Branch and bound over the sides of zero of activations, with multipliers for the sides (beta-CROWN).

After Wang et al. (2021). A domain fixes the sides of some activations; its bound is that of CROWN with the lines of
the whole ball, and the constraints of its sides come in through multipliers. The worst domains are split first, each
at the activation whose two halves look best one step ahead (Bunel et al., 2020; De Palma et al., 2021).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.proofs.bounding.backward import Bound, Functions, lower_bound
from advbench.proofs.search.slopes import ascend, exactly
from advbench.proofs.search.space import Choice, Space

AT_ONCE = 64
"""Domains that are split at once."""
STEPS = 5
"""Steps of ascent for each new domain."""
CANDIDATES = 3
"""Activations that are looked at one step ahead."""

GIVE_UP_FROM = 256
"""Domains after which a function may be given up."""
HOPE = 1.25
"""How much faster than so far bounds may rise, at the most, before a function is given up."""

Probe = Callable[[Tensor], Tensor | None]
"""Images (K, ...) that may meet the goal -> one that does (1, ...), if any."""


class Outcome(NamedTuple):
    """What splitting came to for one function.

    Attributes:
        value: Lower bound of the function on the ball, proved in float64.
        domains: Number of domains that were bounded.
        counterexample: An image that meets the goal (1, ...), if one turned up.
    """

    value: float
    domains: int
    counterexample: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Splitter:
    """Branch and bound with what it may cost.

    Attributes:
        exact: The space in float64.
        enough: A domain whose bound is above this is closed.
        domains: Most domains to bound.
        in_time: Whether there is time left.
        probe: Looks for counterexamples among the points that bounds lead to.
    """

    exact: Space
    enough: float
    domains: int
    in_time: Callable[[], bool]
    probe: Probe

    def split(self, coefficients: Tensor, value: float, choice: Choice) -> Outcome:
        """Split until the function is proved to be above ``enough``, or domains or time run out.

        Args:
            coefficients: The function, float64 (1, classes).
            value: A lower bound of it that is proved already.
            choice: Slopes that gave it (1, U).
        """
        fast = self.exact.to(torch.float32)
        frontier, bounds, count = choice, torch.tensor([value], dtype=torch.float64), 0
        closed = torch.inf
        while len(bounds) and count < self.domains and self.in_time():
            order = bounds.argsort(stable=True)
            worst, rest = order[:AT_ONCE], order[AT_ONCE:]
            parents = frontier.rows(worst)
            bound = _bound(fast, coefficients, parents)
            if (found := self.probe(fast.relaxed.ball.minimiser(bound.coefficients))) is not None:
                return Outcome(value, count, found)
            if _is_hopeless(value, float(bounds.min()), self.enough, count, self.domains):
                break
            if not bool((parents.signs == 0).any(1).all()):  # all sides fixed, and still open
                break
            children = _children(fast, coefficients, parents, bound)
            count += len(children.slopes)
            found_choice, found_bounds = self._bounded(fast, coefficients, children, bounds[worst].repeat(2))
            left = found_bounds <= self.enough
            closed = min([closed, *found_bounds[~left].tolist()])
            frontier = _joined(frontier.rows(rest), found_choice.rows(left))
            bounds = torch.cat([bounds[rest], found_bounds[left]])
        return Outcome(min([closed, *bounds.tolist()]), count, None)

    def _bounded(self, fast: Space, coefficients: Tensor, children: Choice, at_least: Tensor) -> tuple[Choice, Tensor]:
        """Choices and float64 bounds of new domains; only those that look closed are computed in float64."""
        rows = coefficients.expand(len(children.slopes), -1)
        found = ascend(fast, Functions.of(fast.last, rows.float()), children, STEPS)
        bounds = at_least.clone()
        likely = (found.value > self.enough).nonzero().squeeze(1)
        if len(likely):
            exact = exactly(self.exact, Functions.of(fast.last, rows[likely]), found.choice.rows(likely))
            bounds[likely] = torch.maximum(bounds[likely], exact)
        return found.choice, bounds


def _is_hopeless(start: float, now: float, enough: float, count: int, limit: int) -> bool:
    """Whether bounds, which rise about with the depth of the tree, will not have risen far enough at the limit."""
    if count < GIVE_UP_FROM or limit <= count:
        return False
    depth_left = math.log2(limit) / math.log2(count)
    return start + HOPE * depth_left * (now - start) < enough


def _bound(space: Space, coefficients: Tensor, choice: Choice) -> Bound:
    """Float32 bounds of domains, with the coefficients that they pass."""
    rows = coefficients.float().expand(len(choice.slopes), -1)
    with torch.no_grad():
        return lower_bound(space.chosen(choice), Functions.of(space.last, rows), keep=True)


def _children(space: Space, coefficients: Tensor, parents: Choice, bound: Bound) -> Choice:
    """Both halves of every domain, first all positive ones: at the candidate whose worse half is best."""
    scores = torch.where(parents.signs == 0, _scores(space, parents, bound), -1.0)
    candidates = scores.topk(min(CANDIDATES, scores.shape[1]), dim=1).indices
    ahead = [_halves(parents, candidates[:, j]) for j in range(candidates.shape[1])]
    values = _bound(space, coefficients, _joined(*ahead)).value.view(len(ahead), 2, -1)
    allowed = scores.gather(1, candidates).T >= 0
    worse = torch.where(allowed, values.amin(1) + 1e-3 * values.amax(1).clamp(max=1e3), -torch.inf)
    best = worse.argmax(0)
    return _halves(parents, candidates.gather(1, best[:, None]).squeeze(1))


def _halves(parents: Choice, at: Tensor) -> Choice:
    """Both sides of one activation of each domain."""
    halves = []
    for side in (1, -1):
        signs = parents.signs.clone()
        signs[torch.arange(len(at)), at] = side
        halves.append(Choice(parents.slopes, signs, parents.multipliers))
    return _joined(*halves)


def _scores(space: Space, choice: Choice, bound: Bound) -> Tensor:
    """How much the lines of each activation may cost (K, U): where they are exact the score is zero."""
    scores = []
    for i, found, place in space.parts():
        passed = bound.passed[i].flatten(1)[:, found]
        lines = space.relaxed.lines[i]
        offset, slope = (each.flatten(1)[:, found] for each in (lines.upper_offset, lines.upper_slope))
        upper = offset / (1 - slope).clamp_min(1e-6)  # the upper end of the input's bounds
        lower = -offset / slope.clamp_min(1e-6)
        slopes = choice.slopes[:, place]
        below = torch.maximum(-slopes * lower, (1 - slopes) * upper)
        scores.append(torch.maximum(-passed.clamp(max=0) * offset, POSITIVE * passed.clamp(min=0) * below))
    return torch.cat(scores, 1)


POSITIVE = 0.2
"""Weight of what a lower line may cost, beside what an upper line does."""


def _joined(*choices: Choice) -> Choice:
    return Choice(*(torch.cat(each) for each in zip(*choices, strict=True)))

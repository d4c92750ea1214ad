"""Branch and bound over the signs of activations, with multipliers for the sign constraints (beta-CROWN).

After Wang et al. (2021). A domain fixes the signs of some activations; its bound is that of CROWN with the lines of the
whole ball, and its sign constraints are added through multipliers. The worst domains are split first, each at the
activation whose two halves look best one step ahead (Bunel et al., 2020; De Palma et al., 2021). On boxes, each domain
is first cut down to where a counterexample could still be (``clipping``).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.proofs.bounding.backward import Bound, Functions, lower_bound
from advbench.proofs.search.clipping import Clipper
from advbench.proofs.search.slopes import ascend, exactly
from advbench.proofs.search.space import Choice, Space, joined

AT_ONCE = 64
"""Number of domains that are split at once."""
STEPS = 5
"""Number of ascent steps for each new domain."""
CANDIDATES = 3
"""Number of activations that are examined one step ahead."""

GIVE_UP_FROM = 256
"""Number of domains after which a function may be abandoned."""
HOPE = 1.25
"""Maximum speed-up of the rise of bounds that is considered possible before a function is abandoned."""

Probe = Callable[[Tensor], Tensor | None]
"""Function from images (K, ...) that may meet the goal to one that does (1, ...), if any."""


class Outcome(NamedTuple):
    """The result of splitting for one function.

    Attributes:
        value: Lower bound on the function on the ball, proved in float64.
        domains: Number of domains that were bounded.
        counterexample: An image that meets the goal (1, ...), if one was found.
    """

    value: float
    domains: int
    counterexample: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Splitter:
    """Branch and bound with limits on its cost.

    Attributes:
        exact: The space in float64.
        enough: A domain whose bound is above this is closed. With a clipper, it is only proved that the function is not
            below this.
        domains: Maximum number of domains to bound.
        in_time: Function that says whether there is time left.
        probe: Function that looks for counterexamples among the minimisers of the bounds.
        clipper: Optional clipper, which tightens bounds in domains.
    """

    exact: Space
    enough: float
    domains: int
    in_time: Callable[[], bool]
    probe: Probe
    clipper: Clipper | None = None

    def split(self, coefficients: Tensor, value: float, choice: Choice) -> Outcome:
        """Split until the function is proved to be above ``enough``, or the limit on domains or time is reached.

        Args:
            coefficients: The function, float64 (1, classes).
            value: A lower bound on it that is already proved.
            choice: Slopes that gave it (1, U).
        """
        fast = self.exact.to(torch.float32)
        frontier, guide, count = choice, torch.tensor([value], dtype=torch.float64), 0
        closed = torch.inf if self.clipper is None else self.enough
        while len(guide) and count < self.domains and self.in_time():
            order = guide.argsort(stable=True)
            worst, rest = order[:AT_ONCE], order[AT_ONCE:]
            parents = frontier.rows(worst)
            bound = _bound(fast, coefficients, parents)
            if (found := self.probe(fast.relaxed.ball.minimiser(bound.coefficients))) is not None:
                return Outcome(value, count, found)
            if _is_hopeless(value, float(guide.min()), self.enough, count, self.domains):
                break
            if not bool(parents.bent.any(1).all()):  # all signs fixed, and still open
                break
            children = self._children(fast, coefficients, parents)
            count += len(children.slopes)
            found_choice, found_guide, least = self._bounded(fast, coefficients, children)
            left = ~(found_guide > self.enough)  # NaN does not count as closed
            closed = min(closed, least)
            frontier = joined(frontier.rows(rest), found_choice.rows(left))
            guide = torch.cat([guide[rest], found_guide[left]])
        return Outcome(value if len(guide) else max(value, closed), count, None)

    def _children(self, fast: Space, coefficients: Tensor, parents: Choice) -> Choice:
        """Both halves of every non-empty domain, and the domains in which clipping left nothing to split."""
        if self.clipper is not None:
            rows = coefficients.expand(len(parents.slopes), -1)
            with torch.no_grad():
                below = lower_bound(self.exact.chosen(parents), Functions.of(self.exact.last, rows))
            parents = self.clipper.clip(parents, below, self.enough)
            parents = parents.rows((parents.lower <= parents.upper).all(1))
        bent = parents.bent.any(1)
        return joined(_halves(fast, coefficients, parents.rows(bent)), parents.rows(~bent))

    def _bounded(self, fast: Space, coefficients: Tensor, children: Choice) -> tuple[Choice, Tensor, float]:
        """Choices of new domains, guiding bounds, and the least float64 bound of those that are closed.

        Insufficient bounds are in float32; those that look sufficient are recomputed in float64.
        """
        if not len(children.slopes):
            return children, torch.zeros(0, dtype=torch.float64), torch.inf
        rows = coefficients.expand(len(children.slopes), -1)
        found = ascend(fast, Functions.of(fast.last, rows.float()), children, STEPS)
        guide, closed = found.value.double(), torch.inf
        likely = (guide > self.enough).nonzero().squeeze(1)
        if len(likely):
            exact = exactly(self.exact, Functions.of(fast.last, rows[likely]), found.choice.rows(likely))
            guide[likely] = exact
            closed = float(torch.where(exact > self.enough, exact, torch.inf).min())
        return found.choice, guide, closed


def _is_hopeless(start: float, now: float, enough: float, count: int, limit: int) -> bool:
    """Whether bounds, which rise roughly with the depth of the tree, will still be too low at the limit."""
    if count < GIVE_UP_FROM or limit <= count:
        return False
    depth_left = math.log2(limit) / math.log2(count)
    return start + HOPE * depth_left * (now - start) < enough


def _bound(space: Space, coefficients: Tensor, choice: Choice) -> Bound:
    """Float32 bounds of domains, with the coefficients of the activations' outputs."""
    rows = coefficients.float().expand(len(choice.slopes), -1)
    with torch.no_grad():
        return lower_bound(space.chosen(choice), Functions.of(space.last, rows), keep=True)


def _halves(space: Space, coefficients: Tensor, parents: Choice) -> Choice:
    """Both halves of every domain, all positive ones first, split at the candidate whose worse half is best."""
    if not len(parents.slopes):
        return parents
    scores = _scores(space, parents, _bound(space, coefficients, parents))
    candidates = scores.topk(min(CANDIDATES, scores.shape[1]), dim=1).indices
    ahead = [parents.halves(candidates[:, j]) for j in range(candidates.shape[1])]
    values = _bound(space, coefficients, joined(*ahead)).value.view(len(ahead), 2, -1)
    allowed = scores.gather(1, candidates).T >= 0
    worse = torch.where(allowed, values.amin(1) + 1e-3 * values.amax(1).clamp(max=1e3), -torch.inf)
    best = worse.argmax(0)
    return parents.halves(candidates.gather(1, best[:, None]).squeeze(1))


def _scores(space: Space, choice: Choice, bound: Bound) -> Tensor:
    """Estimated loss from the lines of each activation (K, U): -1 where they are exact."""
    scores = []
    lines = space.chosen(choice).bends
    for i, found, place in space.parts():
        passed = bound.passed[i].flatten(1)[:, found]
        lower, upper = (each[:, place].to(passed.dtype) for each in (choice.lower, choice.upper))
        slopes = choice.slopes[:, place]
        below = torch.maximum(-slopes * lower, (1 - slopes) * upper)
        above = -passed.clamp(max=0) * lines[i].upper_offset
        scores.append(torch.maximum(above, POSITIVE * passed.clamp(min=0) * below))
    return torch.where(choice.bent, torch.cat(scores, 1), -1.0)


POSITIVE = 0.2
"""Weight of the loss from a lower line, relative to that from an upper line."""

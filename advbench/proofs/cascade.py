"""Try methods on one image, from the cheapest bound to branch and bound."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from advbench.proofs.bounding.backward import Functions, Relaxed, lower_bound
from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.crown import MOST_COEFFICIENTS, lines_of, tightened
from advbench.proofs.bounding.intervals import Interval, intervals
from advbench.proofs.bounding.specifications import Specification
from advbench.proofs.network.graph import Network
from advbench.proofs.search.clipping import Clipper
from advbench.proofs.search.slopes import ascend, by_ascent, exactly
from advbench.proofs.search.space import Choice, Space
from advbench.proofs.search.splitting import Probe, Splitter

METHODS = ("interval", "crown-ibp", "crown", "alpha-crown", "split")
"""The methods, cheapest first; each is tried on what the previous ones leave open."""
SLOPE_STEPS = 20
"""Number of ascent steps for the slopes of a difference."""
_ABOVE = 1.001
"""Multiple of the required bound that splitting aims for, because it can prove no more than its aim."""
INNER_STEPS = 2
"""Number of ascent steps for the slopes of intermediate bounds."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a proof may cost for one image.

    Attributes:
        domains: Maximum number of branch-and-bound domains.
        seconds: Seconds after which nothing new is started.
        upto: Last method to try, one of :data:`METHODS`.
    """

    domains: int = 2000
    seconds: float = 60.0
    upto: str = "split"


@dataclass(kw_only=True)
class Case:
    """One image, with everything known about it so far.

    Attributes:
        network: The network, float64.
        ball: The images around it, float64.
        wanted: The differences that have to be bounded.
        enough: Smallest bound of the margin that counts as proved.
        limits: Limits on the cost.
        probe: Function that looks for counterexamples.
        lower: Best lower bound of each difference, float64 (K,).
        method: Method that gave the bound.
        domains: Number of domains that were bounded.
        counterexample: An image that meets the goal, if one was found.
        started: Clock time at the start.
    """

    network: Network
    ball: BallInBox
    wanted: Specification
    enough: float
    limits: Limits
    probe: Probe
    lower: Tensor
    method: str = "interval"
    domains: int = 0
    counterexample: Tensor | None = None
    started: float = 0.0

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.network.nodes[-1].shape[0]

    @property
    def margin(self) -> float:
        """Lower bound on the goal's margin."""
        return float(self.wanted.margin(self.lower))

    @property
    def proved(self) -> bool:
        """Whether the bound is sufficient."""
        return self.margin > self.enough

    @property
    def done(self) -> bool:
        """Whether nothing is left to prove."""
        return self.proved or self.counterexample is not None

    def in_time(self) -> bool:
        """Whether there is time left."""
        return time.perf_counter() - self.started < self.limits.seconds

    def learn(self, values: Tensor, method: str) -> None:
        """Record new bounds on all differences."""
        before = self.margin
        self.lower = torch.maximum(self.lower, values)
        if self.margin > before:
            self.method = method


def run(case: Case) -> None:
    """Try one method after another until the image is proved, or the last allowed one has been tried.

    Args:
        case: The image; results are written into it.
    """
    case.started = time.perf_counter()
    allowed = METHODS[: METHODS.index(case.limits.upto) + 1]
    differences = case.wanted.coefficients(case.classes)
    known = intervals(case.network, case.ball)
    case.learn(_by_intervals(differences, known[len(case.network.nodes) - 1]), "interval")
    for method, bounds in (("crown-ibp", None), ("crown", tightened)):
        if case.done or method not in allowed or not case.in_time():
            return
        known = known if bounds is None else bounds(case.network, case.ball, known)
        case.learn(_backward(case, known, differences), method)
    if case.done or "alpha-crown" not in allowed or not case.in_time():
        return
    space, choice = _with_slopes(case, known, differences)
    if not case.proved and "split" in allowed and case.in_time():
        _split(case, space, choice, differences)


def _by_intervals(differences: Tensor, logits: Interval) -> Tensor:
    positive = differences.clamp(min=0)
    return positive @ logits.lower[0] + (differences - positive) @ logits.upper[0]


def _backward(case: Case, known: dict[int, Interval], differences: Tensor) -> Tensor:
    relaxed = Relaxed(case.network, case.ball, lines_of(case.network, known))
    bound = lower_bound(relaxed, Functions.of(len(case.network.nodes) - 1, differences))
    case.counterexample = case.probe(case.ball.minimiser(bound.coefficients).float())
    return bound.value


def _with_slopes(case: Case, known: dict[int, Interval], differences: Tensor) -> tuple[Space, Choice]:
    """Optimise slopes of the open differences, then of intermediate bounds, then of the open differences again."""
    space, choice = _ascended(case, known, differences)
    if case.proved or not case.in_time():
        return space, choice
    # each step has a forward and a backward pass, so a function costs about five times as much
    known = tightened(case.network, case.ball, known, by_ascent(INNER_STEPS), MOST_COEFFICIENTS // 5)
    return _ascended(case, known, differences)


def _ascended(case: Case, known: dict[int, Interval], differences: Tensor) -> tuple[Space, Choice]:
    relaxed = Relaxed(case.network, case.ball, lines_of(case.network, known))
    space = Space.of(relaxed, known)
    choice = space.plain(len(differences))
    todo = (case.lower <= case.enough).nonzero().squeeze(1)
    functions = Functions.of(space.last, differences[todo])
    found = ascend(space.to(torch.float32), functions.to(torch.float32), choice.rows(todo), SLOPE_STEPS)
    values = torch.full_like(case.lower, -torch.inf)
    values[todo] = exactly(space, functions, found.choice)
    case.learn(values, "alpha-crown")
    choice.slopes[todo] = found.choice.slopes
    return space, choice


def _split(case: Case, space: Space, choice: Choice, differences: Tensor) -> None:
    """Split each open difference separately: the worst first if all must hold, else the best first."""
    order = case.lower.argsort(descending=not case.wanted.all_must_hold, stable=True)
    clipper = Clipper.of(space)
    hope = torch.full_like(case.lower, torch.inf)
    for j in order.tolist():
        if case.lower[j] > case.enough:
            continue
        splitter = Splitter(
            exact=space,
            enough=case.enough * _ABOVE,
            domains=case.limits.domains - case.domains,
            in_time=case.in_time,
            probe=case.probe,
            clipper=clipper,
        )
        row = torch.tensor([j], device=differences.device)
        outcome = splitter.split(differences[row], float(case.lower[j]), choice.rows(row))
        case.domains += outcome.domains
        values = case.lower.clone()
        values[j] = outcome.value
        case.learn(values, "split")
        hope[j] = case.lower[j]
        case.counterexample = outcome.counterexample
        hopeless = float(case.wanted.margin(hope)) <= case.enough
        if case.proved or hopeless or outcome.counterexample is not None or not case.in_time():
            return

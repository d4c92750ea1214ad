"""The adaptive verdict: reads the defence, then attacks."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from attacks.apgd import APGD
from attacks.cap import behind_limit, limited
from attacks.geometry.ball import radii
from attacks.goals import Goal, Spared, met
from attacks.goals.protocol import ALL_LOGITS
from attacks.norms import Linf, Norm
from attacks.objectives.rivals import ways_to
from attacks.protocols import Access, Kind, Model, Precision, Search
from attacks.queries.answers import ProbabilitiesError, ask, log_probabilities
from attacks.queries.derivatives import NoGradientError
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_call, check_parameters, clean_logits
from attacks.searches.draws import derive, seeded
from attacks.standard import Standard
from attacks.standins.cautious import Cautious, spread, wavers
from attacks.standins.defences import expectation
from attacks.standins.inside import Inside, inside

BRIEF = 30
"""Gradient steps on the unmodified model, once its defence has been bypassed."""
MEAN = 40
"""Gradient steps on the mean of several passes of a random model."""
ODDS = math.log(9)
"""Margin, in logits, by which that mean must meet the goal: odds of nine to one. A mean that only just meets it is
fooled in half of the passes."""
SPREAD = 2.0
"""Standard deviation to which the logits of a random model are scaled, image by image."""
ROUNDS, QUERIES = 10, 100
"""Most hops on the inner network, and random squares: what a defence hides is found early, and defences can be slow."""


_Search = Callable[..., Tensor]
"""Images, goal, and by keyword eps and seed -> candidates."""


class Tried(NamedTuple):
    """One remedy, and how many images it fooled.

    Example:
        >>> print(Tried("the model as it is", 10, 7, 1.25))
        the model as it is: 7 of 10 images fooled in 1.2 s
    """

    remedy: str
    """What was attacked."""
    images: int
    """Number of images that were still left."""
    gained: int
    """Number of those that it fooled."""
    seconds: float
    """Wall time in seconds."""

    def __str__(self) -> str:
        return f"{self.remedy}: {self.gained} of {self.images} images fooled in {self.seconds:.1f} s"


class AdaptiveReport(NamedTuple):
    """The result of :class:`Adaptive`, and what was found and tried.

    Example:
        >>> print(AdaptiveReport(torch.zeros(1, 2), torch.ones(1), ("the answers are labels",), (), ("decisions",)))
        found: the answers are labels
        not tried: decisions
    """

    x_adv: Tensor
    """The candidates (N, ...)."""
    met_share: Tensor
    """Share of the passes of the model in which each candidate meets the goal (N,): 0 or 1 unless the model is
    random."""
    findings: tuple[str, ...]
    """What was found out about the model, one sentence each."""
    tried: tuple[Tried, ...]
    """What was tried, in order."""
    not_tried: tuple[str, ...]
    """What was not tried but might help."""

    def __str__(self) -> str:
        lines = [f"found: {each}" for each in self.findings] + [f"tried: {each}" for each in self.tried]
        return "\n".join(lines + [f"not tried: {each}" for each in self.not_tried])


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Finds what masks a model's gradient, bypasses it, and keeps the worst case.

    The model is probed with a few random images, the same for all batches. Several passes reveal whether it is random,
    and :func:`attacks.inside` finds where its gradient is masked. Two attacks follow, each on the images that are left:

    1. :class:`attacks.Standard` with fewer hops on the inner network, if there is anything to bypass;
    2. the unmodified model: the full attack where nothing was found, else a short descent.

    A random model is queried several times for each answer. Two descents minimise the mean of its probabilities, which
    is how often it is right, until the odds are nine to one: one from the image, and one towards its nearest rival
    class. Where there is no gradient, :class:`attacks.Standard` attacks the worst of the answers.

    Every candidate is judged by the model itself. On a model that hides nothing this is :class:`attacks.Standard`.
    Probing takes about a hundred passes per batch, however large. It uses random images, so that under
    :func:`attacks.capped` no image pays for it.

    References:
        Tramer et al., On adaptive attacks to adversarial example defenses <https://arxiv.org/abs/2002.08347>, 2020.
        Athalye et al., Obfuscated gradients give a false sense of security <https://arxiv.org/abs/1802.00420>, 2018.
        Athalye et al., Synthesizing robust adversarial examples <https://arxiv.org/abs/1707.07397>, 2018: the mean.

    Deviations:
        A person adapts an attack to a defence by reading its code; this attack reads the operations that torch is asked
        to compute.

    Example:
        >>> from attacks import Untargeted
        >>> rounded = lambda x: (4 * x).round() @ torch.eye(2)
        >>> x, goal = torch.tensor([[0.6, 0.35]]), Untargeted(torch.tensor([0]))
        >>> report = Adaptive().report(rounded, x, goal, eps=0.3)
        >>> bool(goal.margin(rounded(report.x_adv)) < 0)
        True
        >>> print(report.findings[0])
        the image reaches the first layer without a useful gradient: its gradient goes straight through to it
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "gradients"
    besides: ClassVar[tuple[Access, ...]] = ("scores",)
    search: ClassVar[Search] = "many steps"
    precision: ClassVar[Precision] = "bfloat16"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    first: Standard = field(default_factory=Standard)
    """The attack that is run with each remedy, in this attack's norm."""
    draws: int = 8
    """Number of passes of a random model per answer."""
    judge_draws: int = 20
    """Number of passes of a random model used to judge a candidate."""

    def __post_init__(self) -> None:
        check_parameters(self)

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`."""
        return self.report(model, x, goal, eps=eps, seed=seed).x_adv

    def report(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> AdaptiveReport:
        """Run the attack, and also report what was found and tried. Arguments and errors are those of a call."""
        check_call(self, eps, seed)
        with suppress(ProbabilitiesError):
            clean_logits(model, x, goal, self.norm, eps)
        x, budget = x.detach(), radii(eps, x)
        drawn = torch.full_like(x[:1], 0.5)
        bare = behind_limit(model)
        core = inside(bare, drawn)
        # Labels hide that a model is random, except at its boundary; the logits inside do not.
        random = wavers(bare, drawn) or (core.answers == "labels" and wavers(core, drawn))
        best, share = x.clone(), x.new_zeros(len(x))
        rows, tried = torch.arange(len(x), device=x.device), list[Tried]()
        scale = SPREAD / spread(core, drawn) if random else None
        for i, (name, search) in enumerate(self._remedies(model, core, scale)):
            start, some = perf_counter(), goal.select(rows)
            try:
                x_adv = search(x[rows], some, eps=budget[rows], seed=derive(seed, i) if i else seed)
            except NoGradientError:  # of the unmodified model; its scores and the inner network remain
                continue
            shares = self._judged(model, x_adv, some, seed=seed, draws=self.judge_draws if random else 1)
            # A candidate that fails is still better than none, until something succeeds.
            better = (shares > share[rows]) | ((shares == 0) & (share[rows] == 0))
            best[rows[better]], share[rows[better]] = x_adv[better], shares[better]
            left = share[rows] < (1 if random else 0.5)
            tried.append(Tried(name, len(rows), int((~left).sum()), perf_counter() - start))
            rows = rows[left]
            if not len(rows):
                break
        return AdaptiveReport(
            best, share, _findings(core, random=random), tuple(tried), _not_tried(core, random=random)
        )

    def _remedies(self, model: Model, core: Inside, scale: float | None) -> Iterator[tuple[str, _Search]]:
        """What is tried, in words and as a search; ``scale`` is the factor for a random model's logits."""
        first = replace(self.first, norm=self.norm)
        shorter = replace(first, rounds=min(first.rounds, ROUNDS), queries=min(first.queries, QUERIES))
        around = limited(model, core) if core.changes else model
        if scale is not None:
            yield "the mean of several passes", partial(self._from_image, around, shorter, scale)
            yield "the same towards the nearest class", partial(self._towards_rival, around, scale)
            return
        if not core.changes:
            yield "the model as it is", partial(first, model)
            return
        yield "the network inside", partial(shorter, around)
        if core.answers == "labels":
            return
        openly = log_probabilities(model) if core.answers == "probabilities" else model
        yield "the model as it is", partial(APGD(norm=self.norm, loss="margin", steps=BRIEF), openly)

    def _from_image(
        self, model: Model, otherwise: Standard, scale: float, x: Tensor, goal: Goal, **given: Any
    ) -> Tensor:
        """Descend the mean of several passes of a random model; without a gradient, the worst of them."""
        seed = given["seed"]
        try:
            return self._descend(self._mean(model, scale, goal, seed), x, goal, **given)
        except NoGradientError:
            return otherwise(Cautious(model, goal, self.draws, seed), x, goal, **given)

    def _towards_rival(self, model: Model, scale: float, x: Tensor, goal: Goal, **given: Any) -> Tensor:
        mean = self._mean(model, scale, goal, given["seed"])
        (aim,) = ways_to(goal, forward(mean, x, goal), 1)
        return self._descend(mean, x, aim, **given)

    def _mean(self, model: Model, scale: float, goal: Goal, seed: int) -> Model:
        if goal.contested == ALL_LOGITS:
            return expectation(model, self.draws, seed)
        # Where all logits are nearly equal, or all probabilities 0 or 1, their mean does not say how often it is right.
        return expectation(lambda x: scale * ask(model, x), self.draws, seed, "probabilities")

    def _descend(self, mean: Model, x: Tensor, goal: Goal, **given: Any) -> Tensor:
        return APGD(norm=self.norm, loss="margin", steps=MEAN)(mean, x, Spared(goal, ODDS), **given)

    def _judged(self, model: Model, x_adv: Tensor, goal: Goal, *, seed: int, draws: int) -> Tensor:
        """Share of the model's own passes in which the goal is met (n,)."""
        with seeded(derive(seed, -1) % 2**63, x_adv.device):
            passes = [met(goal, forward(model, x_adv, goal)) for _ in range(draws)]
        return torch.stack(passes).to(x_adv).mean(0)


def _findings(core: Inside, *, random: bool) -> tuple[str, ...]:
    wavering = ("the answers are random: each query takes several passes",) if random else ()
    return core.findings + wavering


def _not_tried(core: Inside, *, random: bool) -> tuple[str, ...]:
    """What a person might try next."""
    left = ["gradients of another network of the same task (attacks.with_gradients_of)"] if core.changes else []
    if random and core.changes:
        left.append("the model without its defence")
    if core.answers == "labels":
        left.append("a decision-based attack (attacks.HopSkipJump)")
    return tuple(left)

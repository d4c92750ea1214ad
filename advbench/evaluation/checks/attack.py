"""Trust flags for an attack, tried in other ways on a few images: longer, from another start, without a bound.

The rules follow N. Carlini et al., On Evaluating Adversarial Robustness, 2019 <https://arxiv.org/abs/1902.06705>, and
M. Pintor et al., Indicators of Attack Failure, 2022 <https://arxiv.org/abs/2106.09947>.
"""

from collections.abc import Iterator
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.evaluation.checks import active
from advbench.evaluation.checks.blind import hit_by_chance
from advbench.evaluation.checks.recorder import LAST, SHARE, Recorder
from advbench.evaluation.judge import judge
from advbench.evaluation.memory import out_of_memory
from advbench.intervals import wilson
from advbench.records.flag import Finding, Severity
from attacks.goals import Goal, Untargeted
from attacks.protocols import Attack, AttackError, Model
from attacks.queries.answers import ask
from attacks.searches.draws import derive, seeded

LOOKED_AT = 16
"""Number of images on which a run tries its attacks in other ways."""
DRAWS = 1000
"""Number of random points of the budget, half of them corners, tried on each image that was not fooled."""
TOLERANCE = 0.005
"""Share of the images by which more steps or another start may change a result; up to that, the flag is only "I"."""
_TIMES = 5
"""Bound on the attack's runs, in multiples of its passes: as is, twice as long, from another start, without a bound."""
_JUDGED = 30
"""Number of passes that judge an image each time, for a random model."""


class Trial(NamedTuple):
    """An attack on a few images, with the settings of the run."""

    model: Model
    """Images in [0, 1] -> logits."""
    attack: Attack
    """The attack, of the fixed-budget kind."""
    longer: Attack | None
    """The same with twice as many steps; None if it has no number of steps."""
    x: Tensor
    """Images (N, ...)."""
    goal: Goal
    """What counts as fooled, for these images."""
    eps: float
    """Budget, image units."""
    seed: int
    """Seed of the run's own attack."""


def check_attack(trial: Trial) -> list[Finding]:
    """Look for signs that an attack misses perturbations that exist.

    Args:
        trial: The attack and some images.

    Returns:
        Findings A4, A5, A6, A9, A11 and A15. There are none if the attack cannot be run, such as a gradient-based one
        on a model without gradients.

    Example:
        >>> from attacks import PGD
        >>> x = torch.rand(8, 1, 2, 5, generator=torch.Generator().manual_seed(0))
        >>> model = lambda x: 9 * x.flatten(1)
        >>> goal = Untargeted(model(x).argmax(1))
        >>> short = PGD(steps=1, relative_step=0.01, random_start=False)
        >>> found = check_attack(Trial(model, short, PGD(), x, goal, eps=0.5, seed=0))
        >>> "A5" in {finding.id for finding in found}
        True
    """
    try:
        with seeded(trial.seed, trial.x.device):
            return list(_findings(trial))
    except Exception as error:  # of the attack or the model: the rows of the attack itself are unknown, and say why
        if out_of_memory(error):
            raise
        return []


def most_passes(passes: float, count: int) -> float:
    """Most passes that :func:`check_attack` takes over some images; a backward pass counts as two.

    Args:
        passes: Passes of the attack on an image that it cannot fool.
        count: Number of images.

    Example:
        >>> most_passes(100, 16) > 16 * 1500
        True
    """
    return count * (_TIMES * (passes + _JUDGED) + DRAWS) + active.most_passes(passes, count)


def _findings(trial: Trial) -> Iterator[Finding]:
    recorder = Recorder(trial.model, trial.x, trial.goal, trial.attack.norm, trial.eps)
    x_adv = _attacked(trial, trial.attack, recorder)
    met = _met(trial, x_adv)
    left = (~met).nonzero().squeeze(1)
    if len(left):
        yield from _silent(trial, recorder, left)
        yield from _unfinished(trial, recorder, left)
        yield from _again(trial, left)
        yield from _blind(trial, left)
    yield from _unbounded(trial)
    yield from active.check(trial.model, trial.attack, trial.x, trial.goal, eps=trial.eps, seed=trial.seed)


def _silent(trial: Trial, recorder: Recorder, left: Tensor) -> Iterator[Finding]:
    """A4: the attack queried a candidate that meets the goal, but returned another."""
    passed = left[recorder.margin[left] < 0]
    if len(passed) and (count := int(_met(trial, recorder.best[passed], passed).sum())):
        yield _finding(
            "A4", count, len(trial.x), f"passes over a candidate that fools the model on {_of(count, trial)}",
            "it should return its best candidate: attacks.capped(attack, max_passes) keeps that",
        )  # fmt: skip


def _unfinished(trial: Trial, recorder: Recorder, left: Tensor) -> Iterator[Finding]:
    """A5: the loss is still falling at the end, or twice as many steps fool more images."""
    falling = int(recorder.falling()[left].sum())
    if trial.longer is not None:
        count = _gained(trial, trial.longer, left, trial.seed)
        if count:
            yield _finding(
                "A5", count, len(trial.x), f"with twice as many steps it fools {_of(count, trial)} more", _LONGER
            )
            return
    if 2 * falling > len(left) > 1:
        what = f"the loss falls by more than {SHARE:.0%} in the last {LAST} of its gradients"
        yield Finding("A5", "F", f"{what} on {falling} of {len(left)} images that it does not fool", _LONGER, 1.0)


def _again(trial: Trial, left: Tensor) -> Iterator[Finding]:
    """A6: another start fools more images."""
    if count := _gained(trial, trial.attack, left, derive(trial.seed, 1)):
        yield _finding(
            "A6", count, len(trial.x), f"from another start it fools {_of(count, trial)} more",
            "restart it several times, or use attacks.Standard",
        )  # fmt: skip


def _blind(trial: Trial, left: Tensor) -> Iterator[Finding]:
    """A9: random points within the budget fool images that the attack missed."""
    given = trial.goal.select(left), trial.attack.norm
    count = hit_by_chance(trial.model, trial.x[left], *given, eps=trial.eps, seed=trial.seed, draws=DRAWS)
    if count:
        yield _finding(
            "A9", count, len(trial.x), f"{DRAWS:,} random points fool {_of(count, trial)} that it misses",
            "gradients are masked, or it is too weak: try attacks.Adaptive, or search without gradients",
        )  # fmt: skip


def _unbounded(trial: Trial) -> Iterator[Finding]:
    """A11: the attack fails even with no bound other than [0, 1]."""
    if not isinstance(trial.goal, Untargeted):
        return
    values = trial.x[0].numel()
    widest = {"linf": 1.0, "l2": sqrt(values)}.get(trial.attack.norm.name, float(values))
    x_adv = _attacked(trial, trial.attack, trial.model, eps=widest)
    robust = int((~judge(trial.model, trial.x, x_adv, trial.goal, trial.attack.norm, widest).met).sum())
    with torch.no_grad():
        chance = 1 / ask(trial.model, trial.x[:1]).shape[1]
    if wilson(robust, len(trial.x)).low > chance:
        share = robust / len(trial.x)
        yield Finding(
            "A11", "F", f"{robust} of {len(trial.x)} images survive without a bound, more than chance ({chance:.1%})",
            "the attack does not work on this model: check its gradients, and try gradient-free attacks", share,
        )  # fmt: skip


def _attacked(
    trial: Trial, attack: Attack, model: Model, *, eps: float | None = None, seed: int | None = None
) -> Tensor:
    """Candidates that an attack returns for all images; the images themselves where it fails."""
    bound, drawn = trial.eps if eps is None else eps, trial.seed if seed is None else seed
    try:
        x_adv: Tensor = attack(model, trial.x.clone(), trial.goal, eps=bound, seed=drawn)
    except AttackError as error:
        x_adv = error.x_adv
    return x_adv.detach()


def _gained(trial: Trial, attack: Attack, left: Tensor, seed: int) -> int:
    """Number of the remaining images that another attack fools."""
    some = trial._replace(x=trial.x[left], goal=trial.goal.select(left))
    return int(_met(some, _attacked(some, attack, trial.model, seed=seed)).sum())


def _met(trial: Trial, x_adv: Tensor, rows: Tensor | None = None) -> Tensor:
    """The judge's verdict on candidates, bool (n,)."""
    x, goal = (trial.x, trial.goal) if rows is None else (trial.x[rows], trial.goal.select(rows))
    return judge(trial.model, x, x_adv, goal, trial.attack.norm, trial.eps).met


def _finding(name: str, count: int, of: int, message: str, advice: str) -> Finding:
    severity: Severity = "I" if count <= max(1, TOLERANCE * of) else "F"
    return Finding(name, severity, message, advice, count / of)


def _of(count: int, trial: Trial) -> str:
    return f"{count} of {len(trial.x)} images"


_LONGER = "use more steps or another step size, or attacks.Standard"

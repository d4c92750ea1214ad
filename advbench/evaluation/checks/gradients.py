"""Trust flags about gradients that are there and mislead: compared with differences, and followed through the model.

The rules follow M. Pintor et al., Indicators of Attack Failure, 2022 <https://arxiv.org/abs/2106.09947>, and A. Athalye
et al., Obfuscated Gradients Give a False Sense of Security, 2018 <https://arxiv.org/abs/1802.00420>.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advbench.evaluation.checks.truth import mistake
from attacks.objectives.ranking import scale
from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.derivatives import NoGradientError, differentiate
from attacks.searches.draws import uniform
from attacks.standins.inside import Inside, inside
from attacks.standins.looking import PROBED, TRIALS

STEP = 0.25 / 255
"""Length of the step along the gradient's signs, each way, after which margins are compared."""
OFF = 3.0
"""Most times by which the change that the gradient foretells may be larger or smaller than the one that is seen."""
SHARE = 0.5
"""Share of the images on which it may be."""
NEAR, JUMPS = 4 / 255, 0.1
"""How far images are moved at random to see whether the margin jumps, and the share by which it may change there."""
CLOSER, REMAINS = 16, 0.5
"""How many times nearer they are moved after that, and the share of the change that should be gone then."""
REACH, CARRIED = 8 / 255, 0.5
"""Length of a step along the signs of a twin's gradient, and the share of those fooled that the model should be of."""
_DRAWS = 4
_FEW = 4
_ROUNDING = 1e-5
_ADVICE = "attack with attacks.Adaptive, which looks for a way around it"


class Doubt(NamedTuple):
    """A doubt about the gradients of a model, as a flag will say it.

    Example:
        >>> Doubt("M8", "rounding inside", 1.0).id
        'M8'
    """

    id: str
    """A key of :data:`advbench.records.flag.CHECKS`."""
    message: str
    """What was found."""
    value: float
    """What was measured."""
    advice: str = _ADVICE
    """What to do next."""


def doubts(model: Model, x: Tensor, labels: Tensor) -> Iterator[Doubt]:
    """Doubts about the gradients of a deterministic model that has some.

    Args:
        model: Images in [0, 1] -> logits.
        x: A few images (N, ...).
        labels: Classes (N,) whose margins are looked at, or which labels apply, bool (N, C).

    Yields:
        M7 where gradients do not agree with differences, M8 where steps inside have no gradient or the answers are not
        the logits inside, A13 where the margin jumps.

    Example:
        >>> ripples = lambda x: x + 0.01 * torch.sin(9000 * x)
        >>> [doubt.id for doubt in doubts(ripples, torch.rand(16, 5), torch.zeros(16, dtype=torch.long))][0]
        'M7'
    """
    core = inside(model, x)
    yield from _misleading(core, model, x, labels)
    yield from _hidden(core)
    yield from _jumping(model, x, labels)


def _misleading(core: Inside, model: Model, x: Tensor, labels: Tensor) -> Iterator[Doubt]:
    """M7: the gradient does not reach the image as it should, or margins change otherwise than it foretells."""
    off = misled(model, x, labels)
    if core.fronts:
        yield Doubt("M7", core.findings[0].partition(":")[0], off)
    elif off > SHARE:
        yield Doubt("M7", f"on {off:.0%} of the images margins do not change as the gradient says", off)


def _hidden(core: Inside) -> Iterator[Doubt]:
    """M8: a step behind the first layer has no gradient or a made one, or the answers are not the logits inside."""
    if core.leaks or core.honest or core.end is not None:
        rest = core.findings[bool(core.fronts) :]
        yield Doubt("M8", "; ".join(finding.partition(":")[0] for finding in rest), 1.0)


def _jumping(model: Model, x: Tensor, labels: Tensor) -> Iterator[Doubt]:
    """A13: margins change when images are moved a little at random, and as much when they are moved much less."""
    if (change := jumps(model, x, labels)) is not None:
        yield Doubt("A13", f"margins change by {change:.0%} however little images are moved", change)


def most_passes(count: int) -> int:
    """Most passes that :func:`doubts` takes over some images; a backward pass counts as two.

    Example:
        >>> most_passes(32) > 20 * 32
        True
    """
    watched = 3 + TRIALS  # with and without bridges, once more where layers are not seen, and the images moved a little
    return 3 * watched * (count + PROBED) + 5 * count + 1 + (1 + 2 * _DRAWS) * count


def asks_for_gradients(model: Model, x: Tensor) -> bool:
    """Whether a model asks torch for gradients while it answers, as one that purifies its images by descent does.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).

    Example:
        >>> asks_for_gradients(lambda x: x, torch.rand(2, 3))
        False
    """
    asked, engine = [], torch.autograd.graph._engine_run_backward

    def noted(*arguments: Any, **options: Any) -> Any:
        asked.append(1)
        return engine(*arguments, **options)

    doors = (torch.autograd, torch.autograd.graph)
    try:
        for door in doors:
            door._engine_run_backward = noted  # type: ignore[attr-defined]
        with torch.no_grad():
            ask(model, x)
    finally:
        for door in doors:
            door._engine_run_backward = engine  # type: ignore[attr-defined]
    return bool(asked)


def misled(model: Model, x: Tensor, labels: Tensor) -> float:
    """Share of the images whose margin changes otherwise, along the signs of its gradient, than that foretells.

    Images whose margin does not change at all, neither by the gradient's word nor in fact, do not count.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        labels: Classes (N,) whose margins are looked at, or which labels apply, bool (N, C).

    Example:
        >>> misled(lambda x: 2 * x, torch.rand(8, 5), torch.zeros(8, dtype=torch.long))
        0.0
    """
    margin = mistake(model, labels).margin
    with torch.enable_grad():
        try:
            logits, _, (gradient,) = differentiate(model, x.detach().clone().requires_grad_(), margin)
        except (RuntimeError, NoGradientError):
            return 1.0
    step = STEP * gradient.sign()
    up, down = (x + step).clamp(0, 1), (x - step).clamp(0, 1)  # a model may refuse other values, or clip them
    with torch.no_grad():
        seen = margin(ask(model, up)) - margin(ask(model, down))
    told = (gradient * (up - down)).flatten(1).sum(1)
    moves = torch.maximum(told, seen.abs()) > _ROUNDING * scale(logits)
    right = (seen > told / OFF) & (seen < told * OFF)
    return float((moves & ~right).sum() / moves.sum().clamp_min(1))


def jumps(model: Model, x: Tensor, labels: Tensor) -> float | None:
    """By what share margins change when images are moved a little at random, if they change as much when moved less.

    The second of Pintor's indicators asks for the first alone, which honest networks fail on images near a boundary.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        labels: Classes (N,) whose margins are looked at, or which labels apply, bool (N, C).

    Returns:
        The share; None where it is small, or falls as the images are moved less.

    Example:
        >>> x, labels = torch.rand(8, 5), torch.zeros(8, dtype=torch.long)
        >>> print(jumps(lambda x: 2 * x, x, labels), jumps(lambda x: (9999 * x).sin(), x, labels) > JUMPS)
        None True
    """
    margin, ids = mistake(model, labels).margin, torch.arange(len(x), device=x.device)
    changes = []
    with torch.no_grad():
        before = margin(ask(model, x))
        for reach in (NEAR, NEAR / CLOSER):
            moved = (ask(model, (x + reach * _draw(x, ids, i)).clamp(0, 1)) for i in range(_DRAWS))
            apart = torch.stack([(margin(logits) - before).abs() for logits in moved])
            changes.append(float((apart / before.abs().clamp_min(1e-30)).clamp(max=1).mean()))
    far, near = changes
    return far if far > JUMPS and near > REMAINS * far else None


def _draw(x: Tensor, ids: Tensor, draw: int) -> Tensor:
    """Uniform numbers in [-1, 1), shaped like the images."""
    return 2 * uniform(0, ids, draw, tuple(x.shape[1:])).to(x) - 1


def carries_over(model: Model, twin: Model, x: Tensor, labels: Tensor) -> Doubt | None:
    """A14: steps along the gradient of a twin fool the twin and not the model.

    Args:
        model: The model that is attacked.
        twin: The one whose gradients stand in for its own.
        x: Images (N, ...).
        labels: True classes (N,), or which labels apply, bool (N, C).

    Example:
        >>> x, labels = torch.rand(16, 2), torch.zeros(16, dtype=torch.long)
        >>> print(carries_over(lambda x: x, lambda x: 2 * x, x, labels))
        None
    """
    goal = mistake(model, labels)
    with torch.enable_grad():
        try:
            logits, _, (gradient,) = differentiate(twin, x.detach().clone().requires_grad_(), goal.margin)
        except (RuntimeError, NoGradientError):
            return None
    moved = (x - REACH * gradient.sign()).clamp(0, 1)
    with torch.no_grad():
        before, own, other = (goal.margin(found) for found in (ask(model, x), ask(model, moved), ask(twin, moved)))
    both = (goal.margin(logits) >= 0) & (before >= 0) & (other < 0)
    count, followed = int(both.sum()), int((both & (own < 0)).sum())
    if count < _FEW or followed >= CARRIED * count:
        return None
    message = f"of {count} images that a step along its twin's gradient fools the twin on, {followed} fool the model"
    return Doubt("A14", message, 1 - followed / count, "name a nearer twin, or attack without gradients")


def passes_with_twin(count: int) -> int:
    """Passes that :func:`carries_over` takes over some images; a backward pass counts as two.

    Example:
        >>> passes_with_twin(32)
        192
    """
    return 6 * count

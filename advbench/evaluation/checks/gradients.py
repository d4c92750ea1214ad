"""Trust flags for gradients that exist but mislead: compared with differences, and traced through the model.

The rules follow M. Pintor et al., Indicators of Attack Failure, 2022 <https://arxiv.org/abs/2106.09947>, and A. Athalye
et al., Obfuscated Gradients Give a False Sense of Security, 2018 <https://arxiv.org/abs/1802.00420>.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from advbench.evaluation.checks.truth import mistake
from advbench.records.flag import Finding
from attacks.objectives.ranking import scale
from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.derivatives import NoGradientError, differentiate
from attacks.searches.draws import uniform
from attacks.standins.inside import Inside, inside
from attacks.standins.probing import PROBED, TRIALS

STEP = 0.25 / 255
"""Length of the step along the gradient's signs, in both directions, after which margins are compared."""
OFF = 3.0
"""Largest factor, either way, between the change that the gradient predicts and the observed one."""
SHARE = 0.5
"""Largest share of the images on which the two may differ by more."""
NEAR, JUMPS = 4 / 255, 0.1
"""Distance by which images are moved at random to see whether the margin jumps, and share by which it may change."""
CLOSER, REMAINS = 16, 0.5
"""Factor by which the second move is shorter, and share of the change that may remain after it."""
REACH, CARRIED = 8 / 255, 0.5
"""Length of a step along the signs of a twin's gradient, and share of the fooling steps that must carry over."""
_DRAWS = 4
_FEW = 4
_ROUNDING = 1e-5
_ADVICE = "attack with attacks.Adaptive, which looks for a way around it"


def doubts(model: Model, x: Tensor, labels: Tensor) -> Iterator[Finding]:
    """Doubts about the gradients of a deterministic, differentiable model.

    Args:
        model: Images in [0, 1] -> logits.
        x: A few images (N, ...).
        labels: Classes (N,) whose margins are examined, or which labels apply, bool (N, C).

    Yields:
        M7 if gradients do not agree with differences, M8 if steps inside have no gradient or the outputs are not the
        logits inside, A13 if the margin jumps.

    Example:
        >>> ripples = lambda x: x + 0.01 * torch.sin(9000 * x)
        >>> [doubt.id for doubt in doubts(ripples, torch.rand(16, 5), torch.zeros(16, dtype=torch.long))][0]
        'M7'
    """
    core = inside(model, x)
    yield from _misleading(core, model, x, labels)
    yield from _hidden(core)
    yield from _jumping(model, x, labels)


def _misleading(core: Inside, model: Model, x: Tensor, labels: Tensor) -> Iterator[Finding]:
    """M7: the gradient does not reach the image as it should, or margins change differently from its prediction."""
    off = misled(model, x, labels)
    if core.fronts:
        yield Finding("M7", "F", core.findings[0].partition(":")[0], _ADVICE, off)
    elif off > SHARE:
        yield Finding("M7", "F", f"on {off:.0%} of the images margins do not change as the gradient says", _ADVICE, off)


def _hidden(core: Inside) -> Iterator[Finding]:
    """M8: a step after the first layer has no gradient or a fake one, or the outputs are not the logits inside."""
    if core.leaks or core.honest or core.end is not None:
        rest = core.findings[bool(core.fronts) :]
        yield Finding("M8", "F", "; ".join(finding.partition(":")[0] for finding in rest), _ADVICE, 1.0)


def _jumping(model: Model, x: Tensor, labels: Tensor) -> Iterator[Finding]:
    """A13: margins change when images are moved slightly at random, and just as much when they are moved far less."""
    if (change := jumps(model, x, labels)) is not None:
        yield Finding("A13", "F", f"margins change by {change:.0%} however little images are moved", _ADVICE, change)


def most_passes(count: int) -> int:
    """Most passes that :func:`doubts` takes over some images; a backward pass counts as two.

    Example:
        >>> most_passes(32) > 20 * 32
        True
    """
    # with and without bridges, again where layers are not seen, with other values in steps without a gradient, and with
    # images moved slightly
    watched = 4 + TRIALS
    return 3 * watched * (count + PROBED) + 5 * count + 1 + (1 + 2 * _DRAWS) * count


def asks_for_gradients(model: Model, x: Tensor) -> bool:
    """Whether a model computes gradients in its forward pass, as one that purifies images by gradient descent does.

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
    """Share of the images whose margin, along the signs of its gradient, changes differently from the prediction.

    Images whose margin does not change at all, neither by prediction nor in fact, do not count.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        labels: Classes (N,) whose margins are examined, or which labels apply, bool (N, C).

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
    up, down = (x + step).clamp(0, 1), (x - step).clamp(0, 1)  # a model may reject other values, or clip them
    with torch.no_grad():
        seen = margin(ask(model, up)) - margin(ask(model, down))
    told = (gradient * (up - down)).flatten(1).sum(1)
    moves = torch.maximum(told, seen.abs()) > _ROUNDING * scale(logits)
    right = (seen > told / OFF) & (seen < told * OFF)
    return float((moves & ~right).sum() / moves.sum().clamp_min(1))


def jumps(model: Model, x: Tensor, labels: Tensor) -> float | None:
    """Share by which margins change when images are moved slightly at random, if they change as much when moved less.

    The second of Pintor's indicators tests only the first, which honest networks fail on images near a boundary.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...).
        labels: Classes (N,) whose margins are examined, or which labels apply, bool (N, C).

    Returns:
        The share; None if it is small, or falls as the images are moved less.

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


def carries_over(model: Model, twin: Model, x: Tensor, labels: Tensor) -> Iterator[Finding]:
    """A14: steps along the gradient of a twin fool the twin and not the model.

    Args:
        model: The model that is attacked.
        twin: The model whose gradients replace its own.
        x: Images (N, ...).
        labels: True classes (N,), or which labels apply, bool (N, C).

    Example:
        >>> x, labels = torch.rand(16, 2), torch.zeros(16, dtype=torch.long)
        >>> list(carries_over(lambda x: x, lambda x: 2 * x, x, labels))
        []
    """
    goal = mistake(model, labels)
    with torch.enable_grad():
        try:
            logits, _, (gradient,) = differentiate(twin, x.detach().clone().requires_grad_(), goal.margin)
        except (RuntimeError, NoGradientError):
            return
    moved = (x - REACH * gradient.sign()).clamp(0, 1)
    with torch.no_grad():
        before, own, other = (goal.margin(found) for found in (ask(model, x), ask(model, moved), ask(twin, moved)))
    both = (goal.margin(logits) >= 0) & (before >= 0) & (other < 0)
    count, followed = int(both.sum()), int((both & (own < 0)).sum())
    if count >= _FEW and followed < CARRIED * count:
        message = f"of {count} images whose step along the twin's gradient fools the twin, {followed} fool the model"
        yield Finding("A14", "F", message, "use a closer twin, or attack without gradients", 1 - followed / count)


def passes_with_twin(count: int) -> int:
    """Passes that :func:`carries_over` takes over some images; a backward pass counts as two.

    Example:
        >>> passes_with_twin(32)
        192
    """
    return 6 * count

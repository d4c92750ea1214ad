"""Trust flags about gradients that are there and mislead: compared with differences, and followed through the model.

The rules follow M. Pintor et al., Indicators of Attack Failure, 2022 <https://arxiv.org/abs/2106.09947>, and A. Athalye
et al., Obfuscated Gradients Give a False Sense of Security, 2018 <https://arxiv.org/abs/1802.00420>.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attacks.goals import Untargeted
from attacks.objectives.ranking import scale
from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.derivatives import NoGradientError, differentiate
from attacks.standins.inside import Inside, inside
from attacks.standins.looking import PROBED, TRIALS

STEP = 0.25 / 255
"""Length of the step along the gradient's signs, each way, after which margins are compared."""
OFF = 3.0
"""Most times by which the change that the gradient foretells may be larger or smaller than the one that is seen."""
SHARE = 0.5
"""Share of the images on which it may be."""
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
        labels: Classes (N,) whose margins are looked at.

    Yields:
        M7 where gradients do not agree with differences, M8 where steps inside have no gradient or the answers are not
        the logits inside.

    Example:
        >>> ripples = lambda x: x + 0.01 * torch.sin(9000 * x)
        >>> [doubt.id for doubt in doubts(ripples, torch.rand(16, 5), torch.zeros(16, dtype=torch.long))]
        ['M7']
    """
    core = inside(model, x)
    yield from _misleading(core, model, x, labels)
    yield from _hidden(core)


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


def most_passes(count: int) -> int:
    """Most passes that :func:`doubts` takes over some images; a backward pass counts as two.

    Example:
        >>> most_passes(32) > 20 * 32
        True
    """
    watched = 3 + TRIALS  # with and without bridges, once more where layers are not seen, and the images moved a little
    return 3 * watched * (count + PROBED) + 5 * count + 1


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
        labels: Classes (N,) whose margins are looked at.

    Example:
        >>> misled(lambda x: 2 * x, torch.rand(8, 5), torch.zeros(8, dtype=torch.long))
        0.0
    """
    margin = Untargeted(labels).margin
    with torch.enable_grad():
        try:
            logits, _, (gradient,) = differentiate(model, x.detach().clone().requires_grad_(), margin)
        except (RuntimeError, NoGradientError):
            return 1.0
    step = STEP * gradient.sign()
    with torch.no_grad():
        seen = margin(ask(model, x + step)) - margin(ask(model, x - step))
    told = 2 * STEP * gradient.abs().flatten(1).sum(1)
    moves = torch.maximum(told, seen.abs()) > _ROUNDING * scale(logits)
    right = (seen > told / OFF) & (seen < told * OFF)
    return float((moves & ~right).sum() / moves.sum().clamp_min(1))

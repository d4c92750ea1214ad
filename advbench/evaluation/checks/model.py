"""Trust flags for a model, checked on a few images before any attack: reasons why its numbers would mislead.

The rules follow AutoAttack's own checks (F. Croce and M. Hein, Reliable Evaluation of Adversarial Robustness with an
Ensemble of Diverse Parameter-free Attacks, 2020 <https://arxiv.org/abs/2003.01690>) and M. Pintor et al., Indicators of
Attack Failure, 2022 <https://arxiv.org/abs/2106.09947>.
"""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from advbench.evaluation.checks import gradients, squashed
from advbench.evaluation.checks.truth import correct, cross_entropy, mistake, predictions
from advbench.models.readings import SQUASHED, AsLogits
from advbench.models.twins import BORROW
from advbench.records.flag import Finding, Flag
from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.derivatives import NoGradientError, differentiate
from attacks.queries.modes import learns, parts
from attacks.queries.randomness import SPREAD, spread
from attacks.searches.draws import seeded

ASKED = 32
"""Number of images of a data set on which a run makes these checks."""
FORWARDS = 5
"""Number of times the model is run on the same images."""
_ALONE = 8
_LOSSES = 2
_FORWARD_AND_BACKWARD = 3


def check_model(
    model: Model, x: Tensor, labels: Tensor | None = None, *, dataset: str, name: str | None = None, seed: int = 0
) -> list[Flag]:
    """Look for reasons to distrust the numbers to be measured on a model.

    Args:
        model: Images -> logits; for a plain function the checks of its modules are skipped.
        x: A few images (N, ...) in [0, 1].
        labels: True classes (N,), or which labels apply, bool (N, C); None: the model's own predictions.
        dataset: Name of the images' data set, for the flags.
        name: Name of the model, for the flags; None: its attribute `name`.
        seed: Seed for a model that draws random numbers; the state of the global generators is restored.

    Returns:
        Flags M1 to M9, A13 and A14. If the model is in training mode, is changed by forward passes, or gives outputs
        that are not finite, that flag is the only one.

    Example:
        >>> flags = check_model(lambda x: x.softmax(1), torch.eye(3), dataset="toy", name="softmax left on")
        >>> [(flag.id, flag.severity) for flag in flags]
        [('M4', 'F')]
    """
    called = name or str(getattr(model, "name", type(model).__name__))
    # The caller may have switched gradients off, which says nothing about the model.
    with seeded(seed, x.device), torch.inference_mode(False), torch.enable_grad():
        return [Flag(model=called, dataset=dataset, **found._asdict()) for found in _findings(model, x, labels)]


def most_passes(count: int, *, twin: bool = False) -> int:
    """Most passes that :func:`check_model` takes over some images; a backward pass counts as two.

    Args:
        count: Number of images.
        twin: Whether the model takes its gradients from a twin.

    Example:
        >>> most_passes(32) > 12 * 32
        True
    """
    together = FORWARDS + 1 + _LOSSES * _FORWARD_AND_BACKWARD
    rest = squashed.most_passes(count) + (gradients.passes_with_twin if twin else gradients.most_passes)(count)
    return together * count + min(count, _ALONE) + rest


def _findings(model: Model, x: Tensor, labels: Tensor | None) -> Iterator[Finding]:
    modes = list(_training(model, x))
    yield from modes
    if modes:
        return
    before = dict(_state(model))
    with torch.no_grad():
        answers = torch.stack([ask(model, x) for _ in range(FORWARDS)])
    if changed := _changed(before, dict(_state(model)), drifts=spread(answers) > SPREAD):
        yield Finding("M1", "E", f"every pass changes the model ({changed})", "forward must leave the model as it is")
        return
    if not answers.isfinite().all():
        share = 1 - float(answers.isfinite().all(2).all(0).float().mean())
        yield Finding("M5", "E", f"outputs are not finite on {share:.1%} of the images", _DIVERGED, share)
        return
    truth = predictions(model, answers[0]) if labels is None else labels.to(x.device)
    randomised = list(_randomised(model, answers, truth))
    yield from randomised or _batch_dependent(model, x, answers[0])
    yield from _purifies(model, x)
    known = [*randomised, *_squashed(model, x, answers[0]), *_gradients(model, x, truth)]
    yield from known[len(randomised) :]
    twin: Model | None = getattr(model, "twin", None)
    if twin is not None:
        yield from gradients.carries_over(model, twin, x, truth)
    elif not known:
        yield from gradients.doubts(model, x, truth)


def _training(model: Model, x: Tensor) -> Iterator[Finding]:
    """M1: part of the model is in training mode, and it matters: dropout is active, or batch statistics are used."""
    training = [(name, part) for name, part in parts(model) if part.training]
    if not training or not _mode_matters(model, x, [part for _, part in training]):
        return
    known = [(name, part) for name, part in training if _depends_on_mode(part)]
    name, part = (known or training)[-1]
    more = f" and {len(training) - 1} more" if len(training) > 1 else ""
    where = f"{name or 'the model'} ({type(part).__name__}){more}"
    yield Finding("M1", "E", f"{where} in training mode", "call model.eval() first", float(len(training)))


def _state(model: Model) -> Iterator[tuple[str, tuple[bool, float]]]:
    """Name -> (whether it is a parameter, sum of its values) of every tensor that a pass should leave unchanged."""
    for name, part in parts(model):
        for key, value in (*part._parameters.items(), *part._buffers.items()):
            if value is not None and not value.is_meta and not value.is_quantized:
                total = 0.0 if value.is_complex() else float(value.detach().sum(dtype=torch.float64))
                known = 0.0 if math.isnan(total) else total  # which does not equal itself
                yield ".".join(filter(None, (name, key))), (isinstance(value, nn.Parameter), known)


def _changed(before: dict[str, tuple[bool, float]], after: dict[str, tuple[bool, float]], *, drifts: bool) -> str:
    """The first parameter that has changed, or the first buffer if the outputs drift as well; empty if there is none.

    A buffer that only counts passes is harmless.
    """
    other = (name for name, (weighs, total) in after.items() if before.get(name) != (weighs, total))
    return next((name for name in other if drifts or after[name][0]), "")


def _mode_matters(model: Model, x: Tensor, training: list[nn.Module]) -> bool:
    """Whether these parts make passes change the model, or make its outputs differ from those in evaluation mode."""
    if any(learns(part) for part in training):
        return True
    try:
        one, other = _in_both_modes(model, x)
    except Exception:  # it cannot be copied, or fails in one of its modes
        return any(_depends_on_mode(part) for part in training)
    return not float((one - other).abs().max()) <= SPREAD * (1 + float(one.abs().max()))


def _in_both_modes(model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a copy of the model, in evaluation mode and in its current mode."""
    twin = copy.deepcopy(model)
    modes = [(part, part.training) for _, part in parts(twin)]
    kept = {id(part) for _, part in parts(model)}
    if any(id(part) in kept for part, _ in modes):
        raise TypeError("expected a model that can be copied, got one that holds a function")
    answers = []
    for as_it_is in (False, True):
        for part, mode in modes:
            part.training = mode and as_it_is
        torch.manual_seed(0)  # both modes draw the same random numbers, so that only the mode differs
        with torch.no_grad():
            answers.append(ask(twin, x))
    return answers[0], answers[1]


def _depends_on_mode(part: nn.Module) -> bool:
    """Whether a layer is known to behave differently in training mode, or is not one of torch's layers."""
    if isinstance(part, _DropoutNd):
        return part.p > 0
    if isinstance(part, nn.RNNBase | nn.MultiheadAttention):
        return part.dropout > 0
    if learns(part) or isinstance(part, nn.RReLU | nn.FractionalMaxPool2d | nn.FractionalMaxPool3d):
        return True
    return not type(part).__module__.startswith("torch.")


def _randomised(model: Model, answers: Tensor, labels: Tensor) -> Iterator[Finding]:
    """M2: the same images get different outputs."""
    apart, right = spread(answers), correct(model, answers, labels).sum(1)
    if apart > SPREAD or int(right.max()) != int(right.min()):
        yield Finding(
            "M2", "F", f"{FORWARDS} passes over the same images differ by up to {apart:.2g} of the largest output",
            "attack the expectation: attacks.expectation(model, draws)", apart,
        )  # fmt: skip


def _batch_dependent(model: Model, x: Tensor, together: Tensor) -> Iterator[Finding]:
    """M3: the output for an image depends on the other images in its batch, or on its position in the batch."""
    with torch.no_grad():
        alone = torch.cat([ask(model, row) for row in x[:_ALONE].unsqueeze(1)])
        turned = ask(model, x.flip(0)).flip(0)
    allowed = SPREAD * (1 + float(together.abs().max()))
    pairs = ((alone, together[:_ALONE]), (turned, together))
    apart = max(float((one - other).abs().max()) for one, other in pairs)
    if apart > allowed:
        yield Finding(
            "M3", "E", f"logits of an image change by up to {apart:.2g} with the other images of its batch",
            "normalise with stored statistics, not with batch statistics", apart,
        )  # fmt: skip


def _purifies(model: Model, x: Tensor) -> Iterator[Finding]:
    """M9: the model computes gradients in its forward pass, as one that purifies images by gradient descent does."""
    if gradients.asks_for_gradients(model, x[:1]):
        yield Finding("M9", "F", "the model computes gradients in its forward pass", _PURIFIES, 1.0)


def _squashed(model: Model, x: Tensor, logits: Tensor) -> Iterator[Finding]:
    """M4: the outputs are not logits, but squashed values whose gradients vanish where the model is confident."""
    read = [part.reading for _, part in parts(model) if isinstance(part, AsLogits) and part.reading in SQUASHED]
    if read:
        what = "the network returns probabilities; their logarithms are attacked, which are flat where it is confident"
        yield Finding("M4", "F", what, "leave out the last softmax or sigmoid")
    elif reason := squashed.why_no_logits(model, x, logits):
        yield Finding("M4", "F", reason, "leave out the last softmax, sigmoid, tanh or clipping")


def _gradients(model: Model, x: Tensor, labels: Tensor) -> Iterator[Finding]:
    """M5: the outputs, or the gradients of two losses, are not finite.

    M6: there is no gradient, or the gradient of a loss is zero on some of the images.
    """
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "cross-entropy": partial(cross_entropy, model, truth=labels),
        "margin": mistake(model, labels).margin,
    }
    zero = {}
    for name, loss in losses.items():
        inputs = x.detach().clone().requires_grad_()
        try:
            _, _, (gradient,) = differentiate(model, inputs, loss)
        except (RuntimeError, NoGradientError) as error:
            why = str(error.__cause__ or error).splitlines()[0]
            yield Finding("M6", "F", f"there is no gradient: {why}", f"{_MASKED}; or {BORROW}", 1.0)
            return
        if not gradient.isfinite().all():
            yield Finding("M5", "E", f"gradients of the {name} are not finite", _DIVERGED)
            return
        zero[name] = float((gradient.flatten(1).abs().sum(1) == 0).float().mean())
    if max(zero.values()) > 0:
        scale = not zero["margin"]
        yield Finding(
            "M6", "F", ", ".join(f"zero {name} gradient on {share:.1%} of the images" for name, share in zero.items()),
            "the logits are so large that the softmax is saturated: use a margin loss" if scale else _MASKED,
            max(zero.values()),
        )  # fmt: skip


_PURIFIES = "differentiate through this step, or bypass it (attacks.Adaptive)"
_DIVERGED = "the model has diverged, or divides by zero; none of its numbers mean anything"
_MASKED = "gradients are masked or units dead: attack without gradients, or through the step (attacks.straight_through)"

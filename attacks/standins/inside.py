"""The differentiable core of a model wrapped in a defence, found by tracing a pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.queries.answers import are_probabilities, find_logits
from attacks.queries.inputs import check_images
from attacks.queries.modes import check_callable
from attacks.standins.agreement import agreement, falsified
from attacks.standins.bridges import Front, fit_front
from attacks.standins.inner_logits import agreeing, kind_of, same_order
from attacks.standins.probing import Looked, look, with_drawn
from attacks.standins.traced_pass import Pass


@dataclass(frozen=True)
class Inside:
    """A model whose gradients bypass its defence, with the same predictions; see :func:`inside`.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5)).eval()
        >>> print(inside(lambda x: net((x * 7).round() / 7).softmax(1), torch.rand(2, 3, 2, 2)).describe())
        the image reaches the first layer without a useful gradient: its gradient goes straight through to it
        the answers are probabilities: the logits inside are taken
    """

    model: Model
    """The original model."""
    fronts: Mapping[int, Front] = field(default_factory=dict)
    """Number of each layer whose input is the defence's output -> its bridge."""
    leaks: tuple[str, ...] = ()
    """Non-differentiable functions after the first layer."""
    end: int | None = None
    """Index of the logits among the values since the last layer; None: the model's own output."""
    findings: tuple[str, ...] = ()
    """Sentences on what was found and what is done about it."""
    answers: str = ""
    """Kind of the model's outputs ("labels", "probabilities", ...) if they are not the inner logits."""
    plain: bool = False
    """Whether the layers are functions with plain tensors as weights."""
    honest: bool = False
    """Whether functions with a custom backward pass are differentiated by what they compute."""

    @property
    def wrapped(self) -> Model:
        """The original model."""
        return self.model

    @property
    def changes(self) -> bool:
        """Whether there is anything to bypass: if not, this is the model itself."""
        return bool(self.fronts or self.leaks or self.honest or self.end is not None)

    def describe(self) -> str:
        """What was found and what is done about it, one line each."""
        return "\n".join(self.findings) or "nothing hides the gradient: the model is used as it is"

    def __call__(self, x: Tensor, /) -> Tensor:
        """The inner logits (N, C), with the model's predicted class at the top."""
        graph = torch.is_grad_enabled() and x.requires_grad
        if not self.changes or (not graph and self.end is None):
            return self.model(x)
        through = x.detach() if self.fronts and not self.leaks and not self.honest else x
        with Pass(x, self.fronts, bridged=graph, plain=self.plain, honest=self.honest) as seen:
            answer = self.model(through.clone())
        return agreeing(answer, seen.outputs, self.end, len(x))


def inside(model: Model, x: Tensor) -> Inside:
    """Give a model the gradients of its differentiable core, whatever is wrapped around it.

    One pass is traced, function by function. If the images reach the first layer with parameters without a gradient
    that agrees with finite differences, the gradient goes straight through to the layer's input, with its size and
    mixture of channels, which are fitted (BPDA). Later steps that have no gradient - rounding, signs, comparisons,
    detached tensors, parts that run without a graph - get one, unless nothing depends on them, as on a hook that logs
    activations. Custom functions (:class:`torch.autograd.Function`) and
    hooks that falsify gradients are bypassed. And if the outputs are probabilities, labels, or logits of another scale
    or precision, the inner logits are used; their top class is always the model's prediction, so that what fools this
    fools the model, unless it draws random numbers.

    Works on modules and on functions that use torch's functions inside. It cannot look into compiled networks. Combine
    it with :func:`attacks.expectation` for a model that draws random numbers.

    References:
        Athalye et al., Obfuscated gradients give a false sense of security <https://arxiv.org/abs/1802.00420>, 2018.
        Tramer et al., On adaptive attacks to adversarial example defenses <https://arxiv.org/abs/2002.08347>, 2020.

    Args:
        model: Images in [0, 1] -> logits, probabilities, or labels.
        x: A few images (N, ...) like those to be attacked.

    Raises:
        ValueError: If these are not images, or the model cannot be called or fails on them.

    Example:
        >>> from attacks import PGD, Untargeted
        >>> rounded = lambda x: (x.double() * 4).round().float() @ torch.eye(2)
        >>> x, goal = torch.tensor([[0.6, 0.35]]), Untargeted(torch.tensor([0]))
        >>> bool((PGD()(inside(rounded, x), x, goal, eps=0.2) != x).all())
        True
    """
    check_images(x)
    check_callable(model)
    devices = [x.device] if x.is_cuda else []
    with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad():
        looked = look(model, with_drawn(x.detach().clone()))
        if looked is None:
            return Inside(model)
        fronts, found = _fronts(looked)
    leaks = tuple(dict.fromkeys(name for name, layers in looked.seen.leaks if layers or not looked.seen.fresh))
    leaks = () if looked.idle else leaks
    if not looked.graph and not fronts and not leaks:
        leaks = ("no_grad",)
    if leaks:
        found.append(f"steps without a gradient inside ({', '.join(leaks)}): they get one")
    honest = falsified(looked)
    if honest:
        names = ", ".join(dict.fromkeys(looked.seen.backwards.found))
        found.append(f"gradients that are not those of what is computed ({names}): they are recomputed")
    end, what = _end(looked)
    if what:
        found.append(f"the answers are {what}" + (": the logits inside are taken" if end is not None else ""))
    return Inside(model, fronts, leaks, end, tuple(found), what, looked.plain, honest)


def _fronts(looked: Looked) -> tuple[dict[int, Front], list[str]]:
    """Bridges to the layers that the images reach without a useful gradient."""
    fronts, lost = dict[int, Front](), False
    for number, value in looked.values.items():
        if all(number in each for each in looked.moved) and agreement(looked, number):
            continue
        front = fit_front(value, looked.own.x)
        if front is not None and front.is_good:
            fronts[number] = front
        elif not number:
            lost = True
    found = []
    if fronts:
        found.append(
            "the image reaches the first layer without a useful gradient: its gradient goes straight through to it"
        )
    if lost:
        found.append(
            "the image reaches the first layer without a useful gradient, and in another form: nothing is done about it"
        )
    return fronts, found


def _end(looked: Looked) -> tuple[int | None, str]:
    """The index of the logits among the values since the last layer, and what the outputs are instead."""
    count = len(looked.own.x)
    final = find_logits(looked.answer, count)
    if not isinstance(final, Tensor):
        return None, ""
    final = final.detach()
    for place, value in enumerate(looked.seen.outputs):
        inner = value.detach()
        if (final.ndim == 2 and final.shape != inner.shape) or not bool(inner.isfinite().all()):
            continue
        if final.ndim == 2 and final.dtype == inner.dtype and torch.equal(final, inner) and value.requires_grad:
            return (None, "") if not are_probabilities(final) else (None, "probabilities")
        if same_order(inner, final):
            what = kind_of(inner, final)
            return (place, what) if what else (None, "")
    return None, ""

"""A model with a faster form of itself: attacks take gradients from that form, and verdicts from the original."""

import time
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from attacks.answers import ask
from attacks.folding import EXACT, FORMS, milder, rewritten
from attacks.modes import check_mode
from attacks.protocols import Model

TOLERANCE = {"folded": 1e-3, "channels_last": 1e-3, "bfloat16": 0.2}
"""By how much the logits of each form may differ from the original's, as a share of the largest."""
PATIENCE = 0.1
"""Seconds for which each form is tried."""
WORTHWHILE = 0.9
"""A form is only preferred to a less changed one if it takes at most so much of its time."""


class Fast:
    """A model that has a faster form of itself beside it; see :func:`fast`.

    It answers as the original does. :func:`attacks.gradients.slope` takes gradients from the faster form for attacks
    that say they can bear it, and asks the original about every image that the faster form says is fooled, or nearly.
    Attacks that can bear no more than the rounding of float32 ask a form of float32, and the original in the end.

    Args:
        model: Images in [0, 1] -> logits.
        form: One of :data:`attacks.folding.FORMS`.

    Raises:
        ValueError: If there is no such form, the model cannot be brought into it, or a batch norm is in training mode.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
        >>> Fast(net, "channels_last").form
        'channels_last'
    """

    form: str
    """One of :data:`attacks.folding.FORMS`."""

    def __init__(self, model: Model, form: str) -> None:
        if form not in FORMS:
            raise ValueError(f"expected a form out of {', '.join(FORMS)}, got {form!r}")
        check_mode(model)
        self._model, self.form = model, form
        self._made: dict[str, nn.Module] = {}
        self._state, self._parts = list[tuple[int, ...]](), list[nn.Module]()
        self._in(form)

    def __call__(self, x: Tensor, /) -> Tensor:
        """What the original says."""
        return self._model(x)

    @property
    def wrapped(self) -> Model:
        """The original."""
        return self._model

    @property
    def quick_form(self) -> Model | None:
        """The faster form; None if the original is as fast. It follows the original when that changes."""
        return self._in(self.form)

    @property
    def exact_form(self) -> Model | None:
        """The same, but of float32: its answers differ by rounding alone."""
        return self._in(milder(self.form, EXACT))

    def _in(self, form: str) -> Model | None:
        if form == FORMS[0]:
            return None
        if self._state != _state(self._parts):
            self._made.clear()
        if form not in self._made:
            self._made[form] = self._rewritten(form)
        return self._made[form]

    def _rewritten(self, form: str) -> nn.Module:
        if not isinstance(self._model, nn.Module) or not _can_change(self._model):
            raise ValueError(f"expected a network of float32 for the form {form!r}, got another model")
        check_mode(self._model)
        found = rewritten(self._model, form)
        if found is None:
            raise ValueError(f"expected a network that torch.fx can follow for the form {form!r}, got another")
        self._parts = list(self._model.modules())
        self._state = _state(self._parts)
        return found


def fast(model: Model, example: Tensor, *, form: str | None = None) -> Fast:
    """The same model for attacks, in a fraction of the time.

    Attacks within a budget take their gradients from the form of the network that is fastest here: batch norms folded
    into the layers before them, channels last in memory, bfloat16 where the processor computes in it. Whether an image
    is fooled is always the original's answer. Of those that look for the smallest perturbation FMN, DDN and TopK take
    their steps in a form of float32 and ask the original about what they found; the others ask the original alone.

    A model that cannot be rewritten is used as it is: one that is no :class:`torch.nn.Module`, is not of float32, or
    cannot be followed by :mod:`torch.fx` in any part. When the model changes the faster form is made anew.

    Args:
        model: Images in [0, 1] -> logits; in eval mode.
        example: Images (N, ...) like those to be attacked, to try the forms on.
        form: One of :data:`attacks.folding.FORMS`; None: the fastest, which may be another on another machine.

    Raises:
        ValueError: If the model does not take the example, a batch norm is in training mode, or the model cannot be
            brought into the ``form``.

    Example:
        >>> from attacks import PGD, Untargeted
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
        >>> x = torch.rand(2, 3, 2, 2)
        >>> quick = fast(net, x)
        >>> x_adv = PGD()(quick, x, Untargeted(quick(x).argmax(1)), eps=8 / 255)
        >>> quick.form in ("plain", "folded", "channels_last", "bfloat16")
        True
    """
    if form is not None:
        return Fast(model, form)
    found = {each.form: each for each in usable(model, example)}
    if len(found) == 1:  # it may have no gradient to be timed
        return found[FORMS[0]]
    return found[fastest({name: seconds(each, example) for name, each in found.items()})]


def fastest(taken: Mapping[str, float]) -> str:
    """The form to be used, of those whose times are given in the order of :data:`attacks.folding.FORMS`.

    Example:
        >>> fastest({"plain": 1.0, "folded": 0.95, "channels_last": 0.8, "bfloat16": 0.75})
        'channels_last'
    """
    chosen = FORMS[0]
    for form, time_taken in taken.items():
        if time_taken < WORTHWHILE * taken[chosen]:
            chosen = form
    return chosen


def usable(model: Model, example: Tensor) -> Iterator[Fast]:
    """The model in every form that gives its answers on the ``example`` (N, ...), the original first.

    Raises:
        ValueError: As :func:`fast` does.

    Example:
        >>> [each.form for each in usable(lambda x: x, torch.rand(1, 3))]
        ['plain']
    """
    plain = Fast(model, FORMS[0])
    logits = _answers(model, example)
    yield plain
    if not isinstance(model, nn.Module) or not _can_change(model):
        return
    if not _agree(_answers(model, example), logits, FORMS[1]):  # it draws numbers, which a form would draw once
        return
    for form in FORMS[1:]:
        if form == "bfloat16" and not computes_bfloat16(example.device):
            continue
        try:
            found = Fast(model, form)
            answers = _answers(found.quick_form or model, example)
        except Exception:  # noqa: S112 - the code of a network may do anything when it is run in another way
            continue
        if _agree(answers, logits, form):
            yield found


def seconds(model: Fast, example: Tensor) -> float:
    """How long a gradient of the example takes: the shortest of some passes.

    On the wall clock; but a single thread of a processor is timed while it runs, whatever else the machine does.
    """
    alone = example.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    taken, end = list[float](), time.perf_counter() + PATIENCE
    while len(taken) < 2 or time.perf_counter() < end:  # the first pass of all takes longer
        start = clock()
        x = example.detach().clone().requires_grad_()
        with torch.enable_grad():
            torch.autograd.grad(ask(model.quick_form or model, x).sum(), x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        taken.append(clock() - start)
    return min(taken)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16, and does not only imitate it.

    Example:
        >>> computes_bfloat16(torch.device("meta"))
        False
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = {name for name, there in torch.cpu.get_capabilities().items() if there}
    return device.type == "cpu" and bool(able & {"avx512_bf16", "amx_bf16"})


def _answers(model: Model, example: Tensor) -> Tensor:
    """Logits of the example (N, C)."""
    homes = {tensor.device for tensor in model.parameters()} if isinstance(model, nn.Module) else set()
    if homes - {example.device}:
        raise ValueError(f"expected an example on {homes.pop()}, where the model is, got one on {example.device}")
    with torch.no_grad():
        return ask(model, example)


def _agree(answers: Tensor, logits: Tensor, form: str) -> bool:
    """Whether answers are the original's, as nearly as those of a form can be."""
    return bool((answers - logits).abs().amax() <= TOLERANCE[form] * logits.abs().amax())


def _can_change(model: nn.Module) -> bool:
    """Whether a network is of float32 throughout, and nothing but its code decides what it says."""
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    return not hooked and {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def _state(parts: list[nn.Module]) -> list[tuple[int, ...]]:
    """What changes when the parts of a network, their mode or their weights change."""
    return [(part.training, *map(id, part._modules.values()), *_versions(part)) for part in parts]


def _versions(part: nn.Module) -> Iterator[int]:
    """What changes when the weights of this part alone change."""
    for tensor in (*part._parameters.values(), *part._buffers.values()):
        if tensor is not None:
            yield from (id(tensor), tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)

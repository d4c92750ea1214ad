"""Models with a faster form: attacks take gradients from that form, and verdicts from the original."""

import time
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from attacks.protocols import Model
from attacks.queries.answers import ask, read_logits
from attacks.queries.gradients import is_first_look
from attacks.queries.inputs import check_images
from attacks.queries.modes import check_mode
from attacks.speed.agreement import FEW
from attacks.speed.folding import EXACT, FORMS, milder
from attacks.speed.forms import Forms, can_change

PATIENCE = 0.1
"""Number of seconds for which each form is timed."""
WORTHWHILE = 0.9
"""A form is preferred to a less changed one only if it takes less than this fraction of its time."""


class Fast:
    """A model together with a faster form of it; see :func:`fast`.

    Its outputs are those of the original. :func:`attacks.queries.gradients.slope` takes gradients from the faster form
    for attacks that declare they tolerate it, and queries the original for every image that is fooled, or nearly,
    according to the faster form. Attacks that tolerate only float32 rounding use a float32 form, and the original at
    the end.

    Whether the form still agrees with the original is checked whenever an attack begins: its outputs for the clean
    images are compared with the original's, which costs one more forward pass of it (for a bfloat16 form the float32
    form is used for the first image). If they differ by more than :data:`attacks.speed.agreement.TOLERANCE`, it is
    rebuilt, and if that does not help, this attack runs without it. On the first images it is tested more thoroughly,
    with single images and gradients. Changes in the original that :class:`attacks.speed.watch.Watch` detects take
    effect at once, all others when the next attack begins.

    Args:
        model: Images in [0, 1] -> logits.
        form: One of :data:`attacks.speed.folding.FORMS`.
        example: Images (N, ...) to test the form on before the first attack; None: it is not tested until then.

    Raises:
        ValueError: If the form is unknown, the model cannot be converted to it, or a batch norm is in training mode.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
        >>> Fast(net, "channels_last").form
        'channels_last'
    """

    form: str
    """One of :data:`attacks.speed.folding.FORMS`."""

    def __init__(self, model: Model, form: str, example: Tensor | None = None) -> None:
        if form not in FORMS:
            raise ValueError(f"expected a form out of {', '.join(FORMS)}, got {form!r}")
        check_mode(model)
        self._model, self.form = model, form
        self._forms: Forms | None = None
        if form == FORMS[0]:
            return
        if not isinstance(model, nn.Module) or not can_change(model):
            raise ValueError(f"expected a network of float32 for the form {form!r}, got another model")
        self._forms = Forms(model)
        if self._forms.make(form) is None:
            raise ValueError(f"expected a network that torch.fx can follow for the form {form!r}, got another")
        self._forms.images = None if example is None else example.detach()[:FEW].clone()

    def __call__(self, x: Tensor, /) -> Tensor:
        """Return the original's output."""
        if self._forms is None or not is_first_look():
            return self._model(x)
        clean = x.detach().clone()  # the model may modify its images in place
        answer = self._model(x)
        self._forms.learn(clean, read_logits(answer, len(clean)).detach())
        return answer

    @property
    def wrapped(self) -> Model:
        """The original model."""
        return self._model

    @property
    def quick_form(self) -> Model | None:
        """The faster form; None if the original is as fast, or answers differently."""
        return None if self._forms is None else self._forms.get(self.form)

    @property
    def exact_form(self) -> Model | None:
        """The faster form in float32, whose outputs differ only by rounding."""
        return None if self._forms is None else self._forms.get(milder(self.form, EXACT))


def fast(model: Model, example: Tensor, *, form: str | None = None) -> Fast:
    """Make attacks on a model faster without changing their verdicts.

    Budget attacks take their gradients from the form of the network that is fastest on this machine: batch norms folded
    into the layers before them, padding done by the convolutions themselves, channels last in memory, bfloat16 if the
    processor supports it. The original always decides whether an image is fooled. Among minimum-norm attacks, FMN, DDN
    and TopK take their steps in a float32 form and confirm results with the original; the others use only the original.

    A model that cannot be rewritten is used unchanged: one that is not a :class:`torch.nn.Module`, is compiled or
    scripted, has hooks, is not float32, draws random numbers, counts its passes, or has no part that :mod:`torch.fx`
    can trace; and one whose form gives different outputs on the example. The model itself is never changed.

    When the model changes in any way, the faster form is rebuilt or dropped from the next attack call on; :class:`Fast`
    explains how changes are detected. Nothing is compared within a call.

    Args:
        model: Images in [0, 1] -> logits; in eval mode.
        example: Images (N, ...) like those to be attacked, to test the forms on.
        form: One of :data:`attacks.speed.folding.FORMS`, which is not used if its outputs differ on the example; None:
            the fastest, which may differ between machines.

    Raises:
        ValueError: If the example is not images or the model does not accept them, a batch norm is in training mode, or
            the model cannot be converted to the ``form``.

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
        _check_example(model, example)
        chosen = Fast(model, form, example)
        return chosen if chosen.quick_form is not None else Fast(model, FORMS[0])
    found = {each.form: each for each in usable(model, example)}
    if len(found) == 1:  # it may have no gradient to time
        return found[FORMS[0]]
    return found[fastest({name: seconds(each, example) for name, each in found.items()})]


def fastest(taken: Mapping[str, float]) -> str:
    """The form to use, given the times of forms in the order of :data:`attacks.speed.folding.FORMS`.

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
    """Yield the model in every form that reproduces its outputs on the ``example`` (N, ...), the original first.

    Raises:
        ValueError: As :func:`fast` does.

    Example:
        >>> [each.form for each in usable(lambda x: x, torch.rand(1, 3))]
        ['plain']
    """
    plain = Fast(model, FORMS[0])
    _check_example(model, example)
    yield plain
    for form in FORMS[1:]:
        if form == "bfloat16" and not computes_bfloat16(example.device):
            continue
        found = in_form(model, form, example)
        if found.form == form:
            yield found


def in_form(model: Model, form: str, example: Tensor) -> Fast:
    """The model in a form chosen earlier; unchanged if that form cannot be built or gives different outputs.

    Args:
        model: Images in [0, 1] -> logits.
        form: One of :data:`attacks.speed.folding.FORMS`.
        example: Images (N, ...) like those to be attacked.

    Raises:
        ValueError: If a batch norm is in training mode.

    Example:
        >>> in_form(lambda x: x, "folded", torch.rand(1, 3)).form
        'plain'
    """
    try:
        found = Fast(model, form, example)
    except ValueError:
        return Fast(model, FORMS[0])
    return found if found.quick_form is not None else Fast(model, FORMS[0])


def seconds(model: Fast, example: Tensor) -> float:
    """Time of a gradient of the example in seconds: the shortest of several passes.

    Wall-clock time; but a single CPU thread is timed by its own CPU time, whatever else the machine does.
    """
    alone = example.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    taken, end = list[float](), time.perf_counter() + PATIENCE
    while len(taken) < 2 or time.perf_counter() < end:  # the very first pass takes longer
        start = clock()
        with torch.inference_mode(False), torch.enable_grad():
            x = example.clone().detach().requires_grad_()
            torch.autograd.grad(ask(model.quick_form or model, x).sum(), x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        taken.append(clock() - start)
    return min(taken)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device supports bfloat16 natively instead of emulating it.

    Example:
        >>> computes_bfloat16(torch.device("meta"))
        False
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    told = getattr(torch.cpu, "get_capabilities", dict)  # torch 2.10 does not report this, and stays with plain float32
    able = {name for name, there in told().items() if there}
    return device.type == "cpu" and bool(able & {"avx512_bf16", "amx_bf16"})


def _check_example(model: Model, example: Tensor) -> None:
    """Check that a model accepts the example images."""
    homes = {tensor.device for tensor in model.parameters()} if isinstance(model, nn.Module) else set()
    if isinstance(example, Tensor) and homes - {example.device}:
        raise ValueError(f"expected an example on {homes.pop()}, where the model is, got one on {example.device}")
    exact = isinstance(example, Tensor) and example.is_floating_point()
    check_images(example.float() if exact else example, "example images")  # a network may be in half precision
    with torch.no_grad():
        ask(model, example)

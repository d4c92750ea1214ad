"""Any model, wrapped for the harness: logits are extracted from its outputs, and failures become clear errors."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advbench.datasets.images.pixels import channels_last
from advbench.errors import UserError, first_line
from advbench.models.classifier import Classifier
from attacks import Model
from attacks.queries.answers import ask
from attacks.queries.derivatives import NoGradientError

_HALF = (torch.float16, torch.bfloat16)


class Subject:
    """A model with what goals need; classes are identified by name if the model has names, otherwise by index.

    Args:
        model: Images (N, ...) in [0, 1] -> logits, or an output that contains them; see
            :func:`attacks.queries.answers.read_logits`.
        x: Images (N, ...); the model is tried on the first two.
        dtypes: Image types to try; the first that works is used.

    Raises:
        ValueError: ``expected ..., got ...`` if it is not a model, is on a different device than the images, fails on
            them in every type, or does not return logits of at least two classes.

    Example:
        >>> half = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).half()
        >>> subject = Subject(half, torch.rand(2, 3, 2, 2), (torch.float32, torch.float16))
        >>> subject.num_classes, subject.working, subject(torch.rand(1, 3, 2, 2)).dtype
        (5, torch.float32, torch.float32)
    """

    name: str
    """Name of the model in tables."""
    num_classes: int
    """Number of classes, one for each logit."""
    thresholds: tuple[float, ...] | None
    """The logit above which each label applies, for a multi-label model; None: one class per image."""

    def __init__(self, model: Model, x: Tensor, dtypes: Sequence[torch.dtype]) -> None:
        check_callable(model)
        self.name = str(getattr(model, "name", type(model).__name__))
        self._model = model
        self.thresholds = getattr(model, "thresholds", None)
        _check_device(model, self.name, x)
        self._dtype = dtypes[0]
        self.num_classes = self._first_answer(x[:2], dtypes).shape[1]

    @property
    def working(self) -> torch.dtype:
        """The type to attack in: the model's, or float32 if that is half precision, too coarse for small steps."""
        return torch.float32 if self._dtype in _HALF else self._dtype

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits (N, classes), of the type and on the device of the images.

        Raises:
            ValueError: The model fails on them, or does not return logits.
        """
        return ask(self._answer, x).to(x.device)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, or their numbers."""
        named: tuple[str, ...] = getattr(self._model, "classes", tuple(map(str, range(self.num_classes))))
        return named

    def named_modules(self) -> Iterable[tuple[str, nn.Module]]:
        """The modules of the network, with their names; none for other callables."""
        return self._model.named_modules() if isinstance(self._model, nn.Module) else ()

    def class_index(self, name: str) -> int:
        """The index of a class, given its name.

        Raises:
            UserError, ValueError: There is no such class.
        """
        if isinstance(self._model, Classifier):
            return self._model.class_index(name)
        if not name.isdecimal() or int(name) >= self.num_classes:
            raise ValueError(f"expected a class from 0 to {self.num_classes - 1}, got {name}")
        return int(name)

    def _first_answer(self, x: Tensor, dtypes: Sequence[torch.dtype]) -> Tensor:
        """Logits in the first type that the model accepts; if it accepts none, the first failure is raised."""
        failures = []
        for self._dtype in dtypes:
            try:
                with torch.no_grad():
                    return self(x.to(self.working))
            except ValueError as error:
                failures.append(error)
        raise failures[0]

    def _answer(self, x: Tensor) -> Any:
        try:
            return self._model(x.to(self._dtype))
        except UserError:
            raise
        except Exception as error:  # a network may raise anything
            why = first_line(error)
            took = f"images {tuple(x.shape)} of {self._dtype} on {x.device}"
            # For example a black box built on arrays: attacks that need no gradient can handle this and go on.
            no_gradient = x.requires_grad and isinstance(error, RuntimeError) and "grad" in why
            raise (NoGradientError if no_gradient else ValueError)(
                f"expected the model {self.name} to answer for {took}, got {type(error).__name__}: {why}{self._hint(x)}"
            ) from error

    def _hint(self, x: Tensor) -> str:
        """How to make the model accept such images, as the end of a sentence."""
        modules = [module for _, module in self.named_modules()]
        wanted = {p.dtype for module in modules[:1] for p in module.parameters() if p.is_floating_point()}
        if wanted and self._dtype not in wanted:
            types = ", ".join(sorted(map(str, wanted)))
            return f"; its parameters are {types}: convert the images to that, or the model to {self._dtype}"
        if channels_last(x):
            return "; do the channels come last? images.permute(0, 3, 1, 2)"
        if x.ndim == 3:
            return "; images.unsqueeze(1) for grey images without a channel axis, image.unsqueeze(0) for a single image"
        return "; call model.eval() first" if any(module.training for module in modules) else ""


def check_callable(model: Any) -> None:
    """Check that something can be used as a model.

    Raises:
        ValueError: ``expected ..., got ...`` if it is a class, or cannot be called.

    Example:
        >>> check_callable("resnet50")
        Traceback (most recent call last):
        ValueError: expected a model that takes images and returns logits, got str: advbench.load_model(name) loads one
    """
    wanted = "expected a model that takes images and returns logits"
    if isinstance(model, type):
        raise ValueError(f"{wanted}, got the class {model.__name__}: create an instance, {model.__name__}(...)")
    if not callable(model):
        hint = "advbench.load_model(name) loads one" if isinstance(model, str) else "the model comes first, then images"
        raise ValueError(f"{wanted}, got {type(model).__name__}: {hint}")


def _check_device(model: Model, name: str, x: Tensor) -> None:
    if not isinstance(model, nn.Module):
        return
    devices = {tensor.device for tensors in (model.parameters(), model.buffers()) for tensor in tensors}
    if devices and x.device not in devices:
        where = " and ".join(sorted(map(str, devices)))
        raise ValueError(f"expected images on {where}, where the model {name} is, got {x.device}: images.to({where!r})")

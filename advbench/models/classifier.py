"""The classifier interface used throughout advbench: images in [0, 1] in, logits out."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

from advbench.catalog.registry import class_numbers, near_misses
from advbench.config.image_size import Size, checked_size, height_and_width
from advbench.errors import UserError
from advbench.models.preprocess import ResizeAndCrop
from advbench.models.thresholds import checked_thresholds
from attacks.queries.answers import find_logits
from attacks.standins.twin import lend

Preprocess = Callable[[Image.Image], Tensor]
"""A picture -> an input (C, H, W), float32 in [0, 1]."""


class Classifier(nn.Module):
    """A network with its normalisation built in.

    The network is put in eval mode and its parameters are frozen (`requires_grad_(False)`): gradients flow only to the
    image. To train it, train the network itself and wrap it afterwards.

    Args:
        module: Normalised images (N, C, H, W) -> logits (N, num_classes): a network, or any other callable, which is
            neither frozen nor put in eval mode.
        num_classes: Number of classes, at least 2.
        mean: Subtracted from the images: one number, or one for each channel, in image units [0, 1].
        std: Divided by after that, greater than 0; one number, or one for each channel.
        classes: Names of the classes in order; None means "0", "1", ...
        input_size: Size of the input in pixels: side of a square, or (height, width); None if the network accepts any.
        preprocess: Picture -> input (C, H, W) in [0, 1]. None means: resize until `input_size` is covered and crop
            the centre, bilinear with antialiasing, grey if `mean` has one entry, else RGB.
        name: Name in messages and records.
        weights_sha256: SHA-256 of the weights file, if there is one.

    Raises:
        ValueError: An argument is out of range or does not fit the others.

    Example:
        >>> model = Classifier(nn.Flatten(), num_classes=4, mean=[0.5], std=[0.25])
        >>> model(torch.full((1, 1, 2, 2), 0.75))
        tensor([[1., 1., 1., 1.]])
        >>> model.classes, model.class_index("2")
        (('0', '1', '2', '3'), 2)
    """

    twin: "Classifier | None"
    """A classifier for the same task whose gradients replace those of this one; None: its own."""
    notes: tuple[str, ...]
    """Assumptions made about the network, in sentences, for the information of the user."""
    thresholds: tuple[float, ...] | None
    """The logit above which each class applies; None: each image has one class, that of the largest logit."""
    loaded_from: str | Path | None
    """Name by which :func:`advbench.load_model` loaded it, or the weights file used instead of the published weights;
    None: it was constructed directly."""
    _scale: Tensor
    _shift: Tensor

    def __init__(  # noqa: PLR0913 - keyword-only, and each says one thing about the network
        self,
        module: nn.Module | Callable[[Tensor], Tensor],
        *,
        num_classes: int,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        classes: Sequence[str] | None = None,
        input_size: Size | None = None,
        preprocess: Preprocess | None = None,
        name: str = "classifier",
        weights_sha256: str | None = None,
    ) -> None:
        super().__init__()
        if not callable(module):
            raise ValueError(f"expected module to be a torch.nn.Module or a callable, got {type(module).__name__}")
        if num_classes < 2:
            raise ValueError(f"expected num_classes >= 2, got {num_classes}{_ONE_LOGIT if num_classes == 1 else ''}")
        self.module = switchable(module) if isinstance(module, nn.Module) else _Function(module)
        self.num_classes = num_classes
        self.classes = _names(classes, num_classes)
        self.input_size = None if input_size is None else checked_size("input_size", input_size)
        self.name = name
        self.weights_sha256 = weights_sha256
        self.twin, self.notes, self.loaded_from = None, (), None
        self.thresholds = None
        self.mean, self.std = _channels("mean", mean), _channels("std", std)
        _check_normalisation(self.mean, self.std)
        # x * scale + shift is one pass over the images; (x - mean) / std would be two.
        scale, shift = _affine(self.mean, self.std)
        self.register_buffer("_scale", scale, persistent=False)
        self.register_buffer("_shift", shift, persistent=False)
        grey = not isinstance(mean, int | float) and len(self.mean) == 1
        self.preprocess = preprocess or ResizeAndCrop(size=self.input_size, mode="L" if grey else "RGB")
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Args:
            images: Shape (N, C, H, W), values in [0, 1].

        Returns:
            Logits, shape (N, num_classes), of the images' dtype, extracted from the network's output by
            :func:`attacks.queries.answers.read_logits`.

        Raises:
            ValueError: The images or the network's outputs have the wrong shape.
        """
        if self.twin is None:
            return self._own(images)
        return lend(lambda: self._own(images), lambda: self.twin(images), images)  # type: ignore[misc]

    def _own(self, images: Tensor) -> Tensor:
        """The network's logits of the images, with its own gradients."""
        logits = find_logits(self.answer(images), len(images))
        expected = (len(images), self.num_classes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"expected {self.name} to give logits of shape {expected}, got {got}")
        return logits.to(images) if logits.is_floating_point() else logits

    def answer(self, images: Tensor) -> Any:
        """The raw output of the network, in any form, for normalised images.

        Args:
            images: Shape (N, C, H, W), values in [0, 1].

        Raises:
            ValueError: The images have the wrong shape.
        """
        channels = self._scale.shape[1]
        if images.ndim != 4 or channels not in (1, images.shape[1]):
            wanted = f"(N, {channels if channels > 1 else 'C'}, H, W)"
            raise ValueError(f"expected images of shape {wanted}, got {tuple(images.shape)}")
        return self.module(torch.addcmul(self._shift, images, self._scale))

    def sides(self, otherwise: Size) -> tuple[int, int]:
        """Height and width of an input in pixels.

        Args:
            otherwise: Size to return if the network accepts any.

        Example:
            >>> Classifier(nn.Flatten(), num_classes=4, input_size=(1, 4)).sides(otherwise=64)
            (1, 4)
        """
        return height_and_width(otherwise if self.input_size is None else self.input_size)

    @property
    def several(self) -> bool:
        """Whether it is a multi-label model: an image may have several classes, or none."""
        return self.thresholds is not None

    def with_thresholds(self, thresholds: float | Sequence[float] | None) -> Self:
        """Turn this classifier into a multi-label model: an image may have several labels, or none.

        Args:
            thresholds: The logit above which each label applies, one for all or one for each; 0 is a probability of one
                half. None: each image has one class, that of the largest logit, as by default.

        Returns:
            The classifier itself.

        Raises:
            ValueError: Their number differs from that of the classes, or one is not finite.

        Example:
            >>> tags = Classifier(nn.Flatten(), num_classes=4).with_thresholds([0, 0, 1, 1])
            >>> tags.labels_on(torch.tensor([[1.0, -1.0, 0.5, 1.5]]))
            tensor([[ True, False, False,  True]])
        """
        self.thresholds = checked_thresholds(thresholds, self.num_classes)
        return self

    def labels_on(self, logits: Tensor) -> Tensor:
        """The labels that apply according to logits (N, C): bool (N, C). A logit equal to its threshold does not apply.

        Raises:
            ValueError: The model is not multi-label.
        """
        if self.thresholds is None:
            raise ValueError(f"expected a model with a threshold for each label, got {self.name}, which has none")
        return logits > torch.as_tensor(self.thresholds, dtype=logits.dtype, device=logits.device)

    def class_index(self, name: str | int) -> int:
        """Find a class by its name or its index.

        Args:
            name: A class name, ignoring case, or an index as a number or a string of digits. If class names are digits,
                names take precedence over indices.

        Returns:
            The index, from 0 to num_classes - 1.

        Raises:
            UserError: There is no such class, or several have that name; the hint lists similar names.
        """
        text = str(name)
        found = class_numbers(text, self.classes)
        if not found:
            close = [f"{each} ({self.classes.index(each)})" for each in near_misses(text, self.classes)]
            guess = f"did you mean {', '.join(close)}? " if close else ""
            hint = f"{guess}an index from 0 to {self.num_classes - 1} works as well"
            raise UserError(f"{self.name} has no class {text!r}", hint=hint)
        if len(found) > 1:
            message = f"class {text!r} is ambiguous: {self.name} has {len(found)} classes of that name"
            indices = ", ".join(f"{i} ({self.classes[i]})" for i in found)
            raise UserError(message, hint=f"give the index: {indices}")
        return found[0]

    def extra_repr(self) -> str:
        """Attributes that `repr` shows in addition to the network."""
        return f"name={self.name!r}, num_classes={self.num_classes}, input_size={self.input_size}"


_ONE_LOGIT = ": turn one logit z for two classes into two with torch.cat([torch.zeros_like(z), z], dim=1)"


def switchable(network: nn.Module) -> nn.Module:
    """Put the network in eval mode; if it refuses to switch modes, as exported programs do, remove the refusal.

    Example:
        >>> program = torch.export.export(nn.ReLU(), (torch.zeros(2),)).module()
        >>> switchable(program).eval()(torch.tensor([-1.0, 1.0]))
        tensor([0., 1.])
    """
    try:
        return network.eval()
    except NotImplementedError:
        return _Exported(network)


class _Exported(nn.Module):
    """An exported program, which stays as it was exported whatever mode is requested."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program
        self.training = False

    def train(self, mode: bool = True) -> "_Exported":
        return self

    def forward(self, x: Tensor) -> Any:
        return self.program(x)


class _Function(nn.Module):
    """A callable that is not a torch module, such as one that asks a server."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    @property
    def wrapped(self) -> Callable[[Tensor], Tensor]:
        """The callable; see :func:`attacks.queries.modes.parts`."""
        return self._function

    def forward(self, images: Tensor) -> Tensor:
        return self._function(images)


def _channels(what: str, value: float | Sequence[float]) -> tuple[float, ...]:
    numbers = (float(value),) if isinstance(value, int | float) else tuple(float(each) for each in value)
    if not numbers or not all(math.isfinite(each) for each in numbers):
        raise ValueError(f"expected {what} to be one finite number or one for each channel, got {value}")
    return numbers


def _check_normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    if min(std) <= 0:
        raise ValueError(f"expected std > 0, got {std}")
    if len(mean) != len(std) and 1 not in (len(mean), len(std)):
        raise ValueError(f"expected as many values in mean as in std, got {len(mean)} and {len(std)}")


def _affine(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """(scale, shift), each of shape (1, C, 1, 1), with x * scale + shift = (x - mean) / std."""
    stds = torch.tensor(std, dtype=torch.float64)
    scale = 1 / stds.expand(max(len(mean), len(std)))
    shift = -torch.tensor(mean, dtype=torch.float64) * scale
    return scale.float().view(1, -1, 1, 1), shift.float().view(1, -1, 1, 1)


def _names(classes: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    if classes is None:
        return tuple(str(index) for index in range(num_classes))
    if len(classes) != num_classes:
        raise ValueError(f"expected {num_classes} class names, got {len(classes)}")
    return tuple(classes)

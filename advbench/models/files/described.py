"""Wrap a network from a file as a classifier, using what the file and its description say about its input."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advbench.config.image_size import Size, height_and_width
from advbench.config.model_description import NOTHING, Description, read_description
from advbench.errors import UserError, reason
from advbench.models.answers import with_logits
from advbench.models.classifier import Classifier
from advbench.models.files.weights import sha256_of
from advbench.models.thresholds import checked_thresholds

_COLOURS = (1, 3)

Shape = Sequence[int | None]
"""Shape of the input in the file, (N, C, H, W) or (N, H, W, C); None for each dynamic size."""
UNKNOWN: Shape = (None, None, None, None)
"""Shape for a file that does not state it."""


def described(
    module: nn.Module, file: Path, name: str, shape: Shape = UNKNOWN, about: Description = NOTHING
) -> Classifier:
    """Wrap a network from a file as a classifier, using the description next to it.

    Args:
        module: Maps normalised images to logits, or to several outputs of which one is the logits.
        file: File of the network; its description has the same name and ends in .toml.
        name: Name of the classifier.
        shape: Shape of its input. If the last size can be the number of channels and the second cannot, images are
            passed channels-last.
        about: The user's further description of the network; it overrides the description in the file.

    Raises:
        UserError: The description cannot be read, the input size is not given anywhere, or the network fails or does
            not return logits.
    """
    about = about.over(read_description(file.with_suffix(".toml")))
    if shape[3] in _COLOURS and shape[1] not in _COLOURS:
        module, shape = _ChannelsLast(module), (shape[0], shape[3], shape[1], shape[2])
    size = _size(about, shape, file)
    # One value applies to all channels, if the file says how many there are.
    channels = shape[1] if shape[1] and about.channels == 1 else about.channels or shape[1] or _COLOURS[-1]
    x = torch.zeros(shape[0] or 1, channels, *height_and_width(size))
    try:
        network, width = with_logits(module.eval(), x, about.output, file)
    except UserError:
        raise
    except Exception as error:  # a network that does not fit may raise anything
        sides, more = " x ".join(map(str, x.shape[2:])), "s" if channels > 1 else ""
        raise UserError(
            f"{file} fails on an image of {sides} pixels in {channels} channel{more}: {reason(error)}",
            hint=f"describe its input in {file.with_suffix('.toml')}: input_size, mean, std; or with --input-size, ...",
        ) from None
    model = assembled(in_batches(network, shape[0]), width, about, channels=channels, size=size, name=name)
    model.weights_sha256 = sha256_of(file)
    return model


def assembled(
    network: nn.Module | Callable[[Tensor], Any],
    width: int,
    about: Description,
    *,
    channels: int,
    size: Size | None,
    name: str,
) -> Classifier:
    """Wrap a network as a classifier, according to its description.

    Args:
        network: Maps normalised images to an output with logits.
        width: Number of classes in its outputs.
        about: Description of the network.
        channels: Number of channels of its images.
        size: Size of its images in pixels; None if it accepts any.
        name: Name of the classifier.

    Raises:
        UserError: The description contradicts itself or the network.

    Example:
        >>> assembled(nn.Flatten(), 4, Description(mean=0.5), channels=1, size=2, name="net").notes
        ()
    """
    _check_width(width, about, name)
    try:
        model = Classifier(
            network,
            num_classes=width,
            mean=_of_each(about.mean or (0.0,), channels),
            std=_of_each(about.std or (1.0,), channels),
            classes=about.classes,
            input_size=size,
            name=name,
        ).with_thresholds(about.thresholds)
    except ValueError as error:
        raise UserError(f"the description of {name} is wrong: {error}") from None
    if about.mean is None and about.std is None:
        model.notes += (f"{name} has no mean and std, so images are passed unnormalised, from 0 to 1",)
    return model


def _of_each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One value for each channel, if a single one was given for all."""
    return values * channels if len(values) == 1 else values


def _check_width(width: int, about: Description, name: str) -> None:
    """Compare the number of classes in a network's outputs with the description."""
    # One number for each image means two classes, and users may state either.
    if about.num_classes not in (None, width) and not (width == 2 and about.num_classes == 1):
        raise UserError(
            f"{name} returns {width} classes, but its description says {about.num_classes}",
            hint="leave num_classes out, or name another output with --output",
        )
    if about.classes is not None and len(about.classes) != width:
        raise UserError(f"{name} has {width} classes, but its description names {len(about.classes)}")


class SaysItselfError(UserError):
    """A description was given for a model that states all of it itself."""


def refuse_description(about: Description, what: str) -> None:
    """Refuse a description of a model that states all of it itself; only `gradients_from` is allowed.

    Args:
        about: Description of the model.
        what: The model, as the beginning of a sentence.

    Raises:
        SaysItselfError: The description is not empty.

    Example:
        >>> refuse_description(Description(mean=0.5), "nets.py:net returns a Classifier, which")
        Traceback (most recent call last):
        advbench.models.files.described.SaysItselfError: nets.py:net returns a Classifier, which defines mean itself
        leave it out
    """
    if said := about.without("gradients_from").said():
        it = "it" if len(said) == 1 else "them"
        raise SaysItselfError(f"{what} defines {' and '.join(said)} itself", hint=f"leave {it} out")


def with_classes(model: Classifier, about: Description) -> Classifier:
    """The classifier, with the class names and thresholds from a description, if there are any.

    Raises:
        UserError: Their number differs from that of its classes.

    Example:
        >>> model = Classifier(nn.Flatten(), num_classes=2, name="net")
        >>> with_classes(model, Description(classes=["cat", "dog"])).classes
        ('cat', 'dog')
    """
    if about.classes is not None:
        if len(about.classes) != model.num_classes:
            raise UserError(
                f"{model.name} has {model.num_classes} classes, but its description names {len(about.classes)}"
            )
        model.classes = about.classes
    if about.thresholds is not None:
        try:
            model.thresholds = checked_thresholds(about.thresholds, model.num_classes)
        except ValueError as error:
            raise UserError(f"the description of {model.name} is wrong: {error}") from None
    return model


def _size(about: Description, shape: Shape, file: Path) -> Size:
    if about.input_size is not None:
        size: Size = about.input_size
        return size
    if shape[2] is None or shape[3] is None:
        raise UserError(
            f"{file} does not state its input size",
            hint=f"give it with --input-size 224 (and --mean, --std and --classes), or in {file.with_suffix('.toml')}: "
            "input_size = 224",
        )
    return shape[2], shape[3]


class _ChannelsLast(nn.Module):
    """A network that takes images (N, H, W, C)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> object:
        """Map images (N, C, H, W) to the network's output."""
        return self.module(x.permute(0, 2, 3, 1))


class _InBatches(nn.Module):
    """A network that takes only batches of one fixed size."""

    def __init__(self, module: nn.Module, size: int) -> None:
        super().__init__()
        self.module, self.size = module, size

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ...) to (N, ...), padding the last batch with its first image."""
        missing = -len(x) % self.size
        filled = torch.cat([x, x[:1].expand(missing, *x.shape[1:])]) if missing else x
        return torch.cat([self.module(part) for part in torch.split(filled, self.size)])[: len(x)]


def in_batches(module: nn.Module, size: int | None) -> nn.Module:
    """Make a network with a fixed batch size accept any number of images.

    Args:
        module: Network to wrap.
        size: Batch size that it takes; None for any.

    Example:
        >>> in_batches(nn.Flatten(), 4)(torch.zeros(6, 1, 2, 2)).shape
        torch.Size([6, 4])
    """
    return module if size is None else _InBatches(module, size)


def input_shape(shape: Sequence[object], file: Path, got: str) -> Shape:
    """The shape of an input as stated by a file.

    Args:
        shape: An integer for each size that is fixed; empty if the file does not state the shape.
        file: File of the network, for messages.
        got: Inputs of the network, as text.

    Raises:
        UserError: It does not have four dimensions.
    """
    if len(shape) not in (0, 4):
        raise other_inputs(file, got)
    return [size if isinstance(size, int) else None for size in shape] or UNKNOWN


def other_inputs(file: Path, got: str) -> UserError:
    """The error for a network that takes something other than images."""
    return UserError(
        f"{file} does not take one batch of images (N, C, H, W): {got}",
        hint="export it with images as its only input, or name a function that wraps it so: file.py:function",
    )


def other_type(file: Path, got: str) -> UserError:
    """The error for a network whose input type is too coarse for small changes."""
    return UserError(
        f"{file} takes images of type {got}, which has no values between 0 and 1",
        hint="export it without the conversion from integers, so that it takes floats",
    )

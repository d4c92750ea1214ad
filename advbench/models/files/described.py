"""A network from a file as a classifier, with what the file and the description beside it say of its input."""

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
"""Shape of the input in the file, (N, C, H, W) or (N, H, W, C); None for each size that it leaves open."""
UNKNOWN: Shape = (None, None, None, None)
"""Shape from a file that does not state it."""


def described(
    module: nn.Module, file: Path, name: str, shape: Shape = UNKNOWN, about: Description = NOTHING
) -> Classifier:
    """Make a classifier of a network from a file, with the description beside it.

    Args:
        module: Normalised images to an answer with logits: them alone, or several things of which one are they.
        file: File of the network; its description has the same name and ends in .toml.
        name: Name of the classifier.
        shape: Shape of its input. Where the last size can be the number of channels and the second cannot, images are
            given with their channels last.
        about: What the user says of the network beyond that; it goes before the description in the file.

    Raises:
        UserError: The description cannot be read, the input size is nowhere to be found, or the network fails or gives
            no logits.
    """
    about = about.over(read_description(file.with_suffix(".toml")))
    if shape[3] in _COLOURS and shape[1] not in _COLOURS:
        module, shape = _ChannelsLast(module), (shape[0], shape[3], shape[1], shape[2])
    size = _size(about, shape, file)
    # One value stands for all channels, where the file says how many there are.
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
    """A network as a classifier, as it is described.

    Args:
        network: Normalised images to an answer with logits.
        width: Number of classes in its answers.
        about: Description of the network.
        channels: Number of channels of its images.
        size: Size of its images in pixels; None if it takes any.
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
        model.notes += (f"{name} has no mean and std, so that images go in as they are, from 0 to 1",)
    return model


def _of_each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One value for each channel, where a single one was given for all."""
    return values * channels if len(values) == 1 else values


def _check_width(width: int, about: Description, name: str) -> None:
    """Compare the number of classes in a network's answers with the description."""
    # One number for each image stands for two classes, and people say either.
    if about.num_classes not in (None, width) and not (width == 2 and about.num_classes == 1):
        raise UserError(
            f"{name} answers with {width} classes, and was said to have {about.num_classes}",
            hint="leave num_classes out, or name another output with --output",
        )
    if about.classes is not None and len(about.classes) != width:
        raise UserError(f"{name} has {width} classes, and its description names {len(about.classes)}")


class SaysItselfError(UserError):
    """A model was described that states all of that itself."""


def refuse_description(about: Description, what: str) -> None:
    """Refuse a description of a model that states all of it itself; whose gradients stand in for its own may be said.

    Args:
        about: Description of the model.
        what: The model in words, as the beginning of a sentence.

    Raises:
        SaysItselfError: The description says something.

    Example:
        >>> refuse_description(Description(mean=0.5), "nets.py:net returns a Classifier, which")
        Traceback (most recent call last):
        advbench.models.files.described.SaysItselfError: nets.py:net returns a Classifier, which says mean itself
        leave it out
    """
    if said := about.without("gradients_from").said():
        it = "it" if len(said) == 1 else "them"
        raise SaysItselfError(f"{what} says {' and '.join(said)} itself", hint=f"leave {it} out")


def with_classes(model: Classifier, about: Description) -> Classifier:
    """The classifier with the names and thresholds that a description gives its classes, if it does.

    Raises:
        UserError: They are not as many as it has classes.

    Example:
        >>> model = Classifier(nn.Flatten(), num_classes=2, name="net")
        >>> with_classes(model, Description(classes=["cat", "dog"])).classes
        ('cat', 'dog')
    """
    if about.classes is not None:
        if len(about.classes) != model.num_classes:
            raise UserError(
                f"{model.name} has {model.num_classes} classes, and its description names {len(about.classes)}"
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
            f"{file} does not say what size of images it takes",
            hint=f"say it with --input-size 224 (and --mean, --std and --classes), or in {file.with_suffix('.toml')}: "
            "input_size = 224",
        )
    return shape[2], shape[3]


class _ChannelsLast(nn.Module):
    """A network that takes images (N, H, W, C)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> object:
        """Images (N, C, H, W) to what the network answers."""
        return self.module(x.permute(0, 2, 3, 1))


class _InBatches(nn.Module):
    """A network that takes only batches of one fixed size."""

    def __init__(self, module: nn.Module, size: int) -> None:
        super().__init__()
        self.module, self.size = module, size

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, ...), the last batch filled up with its first image."""
        missing = -len(x) % self.size
        filled = torch.cat([x, x[:1].expand(missing, *x.shape[1:])]) if missing else x
        return torch.cat([self.module(part) for part in torch.split(filled, self.size)])[: len(x)]


def in_batches(module: nn.Module, size: int | None) -> nn.Module:
    """Make a network of a fixed batch size take any number of images.

    Args:
        module: Network to be wrapped.
        size: Number of images that it takes; None for any number.

    Example:
        >>> in_batches(nn.Flatten(), 4)(torch.zeros(6, 1, 2, 2)).shape
        torch.Size([6, 4])
    """
    return module if size is None else _InBatches(module, size)


def input_shape(shape: Sequence[object], file: Path, got: str) -> Shape:
    """The shape of an input as a file says it.

    Args:
        shape: A whole number for each size that is fixed; empty if the file does not state them.
        file: File of the network, for messages.
        got: Inputs of the network in words.

    Raises:
        UserError: It has other than four sizes.
    """
    if len(shape) not in (0, 4):
        raise other_inputs(file, got)
    return [size if isinstance(size, int) else None for size in shape] or UNKNOWN


def other_inputs(file: Path, got: str) -> UserError:
    """The error for a network that takes something other than images."""
    return UserError(
        f"{file} takes other inputs than one batch of images (N, C, H, W): {got}",
        hint="export it with images alone as its input, or name a function that makes it take them: file.py:function",
    )


def other_type(file: Path, got: str) -> UserError:
    """The error for a network that takes images of a type without small changes."""
    return UserError(
        f"{file} takes images of type {got}, which have no values between 0 and 1",
        hint="export it without the conversion from whole numbers, so that it takes floats",
    )

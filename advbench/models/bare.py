"""Wrap a network from a user's own code as a classifier: what is not specified is found by running it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from advbench.config.image_size import Size, height_and_width
from advbench.config.model_description import Description
from advbench.errors import UserError, reason
from advbench.models.answers import Chosen, parts_of
from advbench.models.classifier import Classifier, switchable
from advbench.models.files.described import assembled
from advbench.models.readings import single, varied
from advbench.models.trial import InType, other_type
from attacks.queries.answers import read_logits

_SIZES = (224, 32, 28)
"""Sides of the images that are tried on a network whose input size is unknown, pixels."""
_CHANNELS = (3, 1)
_HINT = (
    "describe its input: --input-size, --mean, --std, or the same keys of the model's table in a suite; or return an "
    "advbench.Classifier, which states all of it"
)


class _Fit(NamedTuple):
    """An input that a network accepts."""

    network: nn.Module | Callable[[Tensor], Any]
    """The network, wrapped so that it gets images in the dtype that it accepts."""
    channels: int
    size: Size
    classes: int


def bare(
    network: nn.Module | Callable[[Tensor], Any], name: str, about: Description, digest: str | None = None
) -> Classifier:
    """Wrap a network, or any other callable, that a user's own code returned.

    The number of classes is that of its outputs. If the size of its input is not given, a few common sizes are tried:
    if it accepts only one of them, that is used; if several, it is taken to accept any.

    Args:
        network: Maps normalised images (N, C, H, W) to an output with logits.
        name: Name of the classifier.
        about: The user's description of it.
        digest: SHA-256 of the file with the code.

    Raises:
        UserError: The network fails on all of these images, its outputs are not logits, or they do not fit the
            description.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
        >>> model = bare(net, "nets.py:net", Description())
        >>> model.num_classes, model.input_size, len(model.notes)
        (10, 28, 2)
    """
    if isinstance(network, nn.Module):
        network = switchable(network)
    asked = network if about.output is None else _chosen(network, about.output, name)
    fits, first = list[_Fit](), None
    for channels in _channels(about):
        sizes = _SIZES if about.input_size is None else (about.input_size,)
        for size in sizes if not fits else ():
            try:
                fits.append(_tried(asked, channels, size, name))
            except UserError:
                raise
            except (Exception, SystemExit) as error:  # the user's code may raise anything
                first = first or _failed(name, channels, size, about, error)
    if not fits:
        raise first or UserError(f"{name} was not tried on any image", hint=_HINT)
    fit = fits[0]
    some = about.input_size is None and len(fits) > 1
    model = assembled(
        fit.network, fit.classes, about, channels=fit.channels, size=None if some else fit.size, name=name
    )
    model.weights_sha256 = digest
    model.notes += tuple(_guesses(fit, about, name, several=some))
    return model


def _channels(about: Description) -> tuple[int, ...]:
    """Numbers of channels to try: as many as values were given; a single value may apply to all channels."""
    if about.channels is None:
        return _CHANNELS
    return _CHANNELS[::-1] if about.channels == 1 else (about.channels,)


def _guesses(fit: _Fit, about: Description, name: str, *, several: bool) -> Iterator[str]:
    if several:
        yield f"{name} accepts images of any size, and gets pictures unscaled: input_size (--input-size) scales them"
    elif about.input_size is None:
        height, width = height_and_width(fit.size)
        colours = "grey" if fit.channels == 1 else "colour"
        found = f"{name} was found to accept {colours} images of {height} x {width} pixels"
        yield f"{found}: input_size (--input-size) overrides this"


def _chosen(network: Any, output: str | int, name: str) -> nn.Module:
    """The network reduced to one of its outputs; a missing output raises a clear error."""

    class One(Chosen):
        def forward(self, x: Tensor) -> Any:
            parts = parts_of(self.module(x))
            if self.output not in parts:
                known = ", ".join(map(str, parts))
                raise UserError(f"{name} has no output {self.output!r}", hint=f"it has: {known}")
            return super().forward(x)

    return One(network, output)


def _tried(network: Any, channels: int, size: Size, name: str) -> _Fit:
    """The network with the input that it accepts, checked on one image and on two.

    Raises:
        UserError: Its outputs are not logits.
        Exception: Whatever the network raises.
    """
    images = varied(channels, *height_and_width(size))[:2]
    if isinstance(network, nn.Module) and (home := next(network.parameters(), None)) is not None:
        images = images.to(home.device)
    try:
        answers = _answers(network, images)
    except UserError:
        raise
    except Exception:  # the user's code may raise anything
        dtype = other_type(network) if isinstance(network, nn.Module) else None
        if dtype is None:
            raise
        network = InType(network, dtype)
        answers = _answers(network, images)
    return _Fit(network, channels, size, _class_count(answers, name))


def _answers(network: Any, images: Tensor) -> tuple[Any, Any]:
    """The outputs for both images, and for the first alone."""
    devices = [images.device] if images.is_cuda else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        return network(images.clone()), network(images[:1].clone())


def _class_count(answers: tuple[Any, Any], name: str) -> int:
    both, alone = answers
    if single(both, 2):
        return 2
    try:
        count, other = read_logits(both, 2).shape[1], read_logits(alone, 1).shape[1]
    except ValueError as error:
        parts = parts_of(both)
        hint = f"it returns {', '.join(map(str, parts))}: choose one with --output" if len(parts) > 1 else ""
        raise UserError(f"{name} does not return logits: {error}", hint=hint) from None
    if count != other:
        raise UserError(f"{name} returns {count} classes for two images, but {other} for one")
    return count


def _failed(name: str, channels: int, size: Size, about: Description, error: BaseException) -> UserError:
    height, width = height_and_width(size)
    more = "s" if channels > 1 else ""
    message = f"{name} fails on images of {height} x {width} pixels in {channels} channel{more}: {reason(error)}"
    given = f"mean and std imply that it takes {channels} channel{more}" if about.channels else ""
    return UserError(message, hint=given if given and channels not in _CHANNELS else _HINT)

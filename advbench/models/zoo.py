"""The small classifiers that the project trains itself; the weights of most are carried along."""

from pathlib import Path

from torch import nn

from advbench.cards import ModelCard
from advbench.errors import UserError
from advbench.models import architectures
from advbench.models.classifier import Classifier
from advbench.models.weights import load_into, read_state_dict, sha256_of
from advbench.zoo_table import DATA, FOLDER, ZOO


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """Load a classifier of the zoo.

    Args:
        card: Its card.
        weights: A file to use instead of the weights that are carried along, such as `advbench train` writes.

    Returns:
        The classifier, on the CPU.

    Raises:
        UserError: It has no weights here, or they are damaged or do not fit.
    """
    file = weights or FOLDER / card.weights_file
    if weights is None and not card.weights_sha256:
        raise UserError(
            f"model {card.name} is not carried along: its weights are too large, or it has not been trained",
            hint=f"train it: advbench train {card.name}; then give the file: --weights FILE",
        )
    digest = sha256_of(file)
    if weights is None and digest != card.weights_sha256:
        raise UserError(
            f"weights file {file} is not the one published: its sha256 is {digest}, not {card.weights_sha256}",
            hint="install advbench again: its files have been changed",
        )
    row = ZOO[card.name]
    module = architecture(row.architecture)
    load_into(module, read_state_dict(file), file, card.name)
    return wrap(module, card.name, digest)


def wrap(module: nn.Module, name: str, digest: str | None = None) -> Classifier:
    """A network of the zoo as a classifier, with the normalisation of its data set.

    Args:
        module: Normalised images to logits.
        name: One of `advbench.zoo_table.ZOO`.
        digest: sha256 of its weights, if they came from a file.
    """
    data = DATA[ZOO[name].data]
    return Classifier(
        module,
        num_classes=len(data.classes),
        mean=data.mean,
        std=data.std,
        classes=data.classes,
        input_size=data.side,
        name=name,
        weights_sha256=digest,
    )


def architecture(name: str, *, dropout: bool = True) -> nn.Module:
    """One of `advbench.models.architectures` with fresh weights.

    Args:
        name: Of the function.
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

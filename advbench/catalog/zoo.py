"""The classifiers that the project trains itself, and their training data. Plain data; does not import torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "models" / "zoo"
"""Folder of the trained weights and their cards."""


class ZooData(NamedTuple):
    """A data set for training."""

    title: str
    """Title of the data set, as in `advbench models`."""
    folder: str
    """Name of its folder in a data root, and prefix of its npz files there."""
    classes: tuple[str, ...]
    """Names of the classes in the order of the labels."""
    side: int
    """Height and width in pixels."""
    mean: tuple[float, ...]
    """Mean of each channel of the training images, image units."""
    std: tuple[float, ...]
    """Standard deviation of each channel of the training images, image units."""
    eps: str
    """Linf eps at which robustness is measured; for digits and CIFAR-10, the one used in papers."""
    licence: str
    """Licence of its images, as far as known."""
    torchvision: str = ""
    """Name of its class in `torchvision.datasets`, if there is one."""
    shipped: bool = True
    """Whether weights trained on it are part of advbench."""
    composed: str = ""
    """Key of the data set from whose images its own are composed, several in each, so that an image has several of the
    classes, or none; empty: its images are read, and have one class each."""


_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_NO_TEXT = "none stated; published by Krizhevsky (2009) for research"

DATA = {
    "mnist": ZooData(
        title="MNIST",
        folder="mnist",
        classes=tuple("0123456789"),
        side=28,
        mean=(0.1307,),
        std=(0.3081,),
        eps="0.3",
        licence="CC BY-SA 3.0, as Keras states it",
        torchvision="MNIST",
    ),
    "fashion-mnist": ZooData(
        title="Fashion-MNIST",
        folder="fashion-mnist",
        classes=_FASHION,
        side=28,
        mean=(0.2860,),
        std=(0.3530,),
        eps="0.1",
        licence="MIT",
        torchvision="FashionMNIST",
    ),
    "cifar10": ZooData(
        title="CIFAR-10",
        folder="cifar10",
        classes=_CIFAR10,
        side=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        eps="8/255",
        licence=_NO_TEXT,
        torchvision="CIFAR10",
    ),
    "cifar10-grey": ZooData(
        title="CIFAR-10 grey",
        folder="cifar10",
        classes=_CIFAR10,
        side=32,
        mean=(0.4810,),
        std=(0.2392,),
        eps="8/255",
        licence=_NO_TEXT,
        torchvision="CIFAR10",
    ),
    "eight-digits": ZooData(
        title="eight digits",
        folder="eight-digits",
        classes=tuple("01234567"),
        side=48,
        mean=(0.1,),
        std=(0.25,),
        eps="0.1",
        licence="CC BY-SA 3.0, as Keras states it",
        composed="mnist",
    ),
    "smiles": ZooData(
        title="smiles",
        folder="smiles",
        classes=("no smile", "smile"),
        side=64,
        mean=(0.5,),
        std=(0.25,),
        eps="8/255",
        licence="none stated; they show the faces of real people",
        shipped=False,
    ),
}
"""Name -> data set."""

PHOTOGRAPHS = "4/255"
"""Linf eps at which robustness is measured on the user's own pictures: the one that papers use for photographs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ZooRow:
    """One classifier, and the claims about it."""

    name: str
    """Name of the classifier, as in `advbench models` and `advbench train`."""
    data: str
    """Key in `DATA`."""
    architecture: str
    """Name of the function in `advbench.models.networks.architectures`."""
    claimed: float | None = None
    """Test accuracy, 0 to 1, claimed by the original text; None if it claims none."""
    claim: str = ""
    """Other claims of the original text, in words."""


def _row(name: str, data: str, claimed: float | None = None, claim: str = "") -> ZooRow:
    return ZooRow(name=name, data=data, architecture=name.removesuffix("_robust"), claimed=claimed, claim=claim)


_ROWS = (
    _row("mnist_convnet", "mnist", 0.99),
    _row("mnist_convnet_robust", "mnist", claim="over 90 % within Linf 0.3"),
    _row("lenet", "mnist"),
    _row("lenet_scrambled", "mnist", claim="worse than lenet"),
    _row("mlp_mnist", "mnist"),
    _row("mlp_scrambled", "mnist", claim="equal to mlp_mnist"),
    _row("eight_digits", "eight-digits"),
    _row("cifar10_cnn", "cifar10", 0.64),
    _row("cifar10_vgg1", "cifar10", 0.721),
    _row("cifar10_vgg2", "cifar10", claim="better than cifar10_vgg1"),
    _row("cifar10_vgg3", "cifar10", claim="a little better than cifar10_vgg2"),
    _row("cifar10_vgg4", "cifar10", 0.80),
    _row("cifar10_resnet_robust", "cifar10", claim="over 65 %, and 30 % within Linf 8/255"),
    _row("gray_mlp", "cifar10-grey", 0.44),
    _row("gray_cnn", "cifar10-grey", 0.77),
    _row("gray_forest", "cifar10-grey", 0.42),
    _row("smile_cnn", "smiles", 0.88, "precision 0.98"),
    _row("smile_cnn_robust", "smiles"),
)

ZOO = {row.name: row for row in _ROWS}
"""Name -> row, in the order of `advbench models`."""


def read_card(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The card of a trained classifier, with its measurements.

    Args:
        name: Name of the classifier, a key of `ZOO`.
        folder: Folder of the card.

    Returns:
        The card as `advbench train` wrote it; empty if the classifier has not been trained.

    Example:
        >>> read_card("mnist_convnet", folder=Path("nowhere"))
        {}
    """
    file = folder / f"{name}.json"
    card: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return card

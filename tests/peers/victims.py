"""The models that are attacked, with images that each of them classifies correctly.

Misclassified images are left out, because an attack that skips them would look faster than it is. The small networks
are in the folder `shared` next to the repository; without it, only those that pip installs are left.
"""

import gzip
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from advbench.datasets.images.files import read_picture
from advbench.datasets.samples import samples
from advbench.models import load_model
from advbench.models.classifier import Classifier

SHARED = Path(__file__).parents[3] / "shared"


class Target(NamedTuple):
    """A loaded victim."""

    model: Classifier
    """With frozen parameters, so that no library spends time on gradients of weights."""
    x: Tensor
    """Images (N, C, H, W) in [0, 1]."""
    y: Tensor
    """Labels of the images (N,)."""


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A model, its images, and the budgets for them."""

    load: Callable[[], Target]
    """Gives the model and images with their labels."""
    images: int
    """Number of images that are attacked, in one batch."""
    rounds: int
    """Number of turns of each library."""
    eps: Mapping[str, float]
    """Norm -> budget, image units."""

    def target(self, most: int | None = None) -> Target:
        """The model, and the first images that it classifies correctly."""
        model, x, y = self.load()
        with torch.no_grad():
            right = (model(x).argmax(1) == y).nonzero().squeeze(1)[: most or self.images]
        return Target(model, x[right], y[right])


def cifar10(name: str, candidates: int) -> Callable[[], Target]:
    """Function that loads a network of the folder `shared` with the first test images of CIFAR-10."""
    return _cifar10(name, candidates, "test1000")


def cifar10_training(name: str, candidates: int) -> Callable[[], Target]:
    """The same with the first training images, all of which each of these networks has been trained on."""
    return _cifar10(name, candidates, "train4000")


def _cifar10(name: str, candidates: int, part: str) -> Callable[[], Target]:
    def load() -> Target:
        data = np.load(SHARED / f"data/cifar10/cifar10-original-{part}.npz")
        x = torch.from_numpy(data["images"][:candidates]).permute(0, 3, 1, 2).float() / 255
        return Target(_shared_model(name), x.contiguous(), torch.from_numpy(data["labels"][:candidates]).long())

    return load


def mnist(name: str, candidates: int) -> Callable[[], Target]:
    """Function that loads a network of the folder `shared` with the first test images of MNIST."""

    def load() -> Target:
        return Target(_shared_model(name), *mnist_images(candidates))

    return load


def mnist_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first test images of MNIST, and their labels."""
    x = torch.from_numpy(_idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)[:count]).float() / 255
    return x, torch.from_numpy(_idx("t10k-labels-idx1-ubyte.gz", 8)[:count]).long()


def _idx(name: str, header: int) -> np.ndarray:
    data = gzip.decompress((SHARED / "data/mnist" / name).read_bytes())
    return np.frombuffer(data, np.uint8, offset=header).copy()


def _shared_model(name: str) -> Classifier:
    module, mean, std = shared_module(name)
    return Classifier(module, num_classes=10, mean=mean, std=std, name=name)


def shared_module(name: str) -> tuple[torch.nn.Module, Sequence[float], Sequence[float]]:
    """A network of the folder `shared` with its mean and std."""
    spec = importlib.util.spec_from_file_location("archs", SHARED / "models/archs.py")
    archs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(archs)
    built: tuple[torch.nn.Module, Sequence[float], Sequence[float]] = archs.build(name)
    return built


def _photographs() -> Target:
    model = load_model("efficientnet_lite0")
    pictures = samples("imagenet")
    x = torch.stack([model.preprocess(read_picture(picture.path)) for picture in pictures])
    return Target(model, x, torch.tensor([picture.label for picture in pictures]))


_ALL = {
    "cifar10-cnn-a-adv": Victim(
        load=cifar10("cifar10-cnn-a-adv", 250),
        images=128,
        rounds=5,
        eps={"linf": 4 / 255, "l2": 0.5, "l1": 12.0},
    ),
    "cifar10-resnet20": Victim(
        load=cifar10("cifar10-resnet20", 60),
        images=32,
        rounds=3,
        eps={"linf": 1 / 255, "l2": 0.15, "l1": 4.0},
    ),
    "mnist-lenet5-adv-linf0.3": Victim(
        load=mnist("mnist-lenet5-adv-linf0.3", 120),
        images=64,
        rounds=3,
        eps={"linf": 0.3, "l2": 2.0, "l1": 20.0},
    ),
    "cifar10-resnet2b-adv2": Victim(
        load=cifar10("cifar10-resnet2b-adv2", 200),
        images=100,
        rounds=3,
        eps={"linf": 2 / 255, "l2": 0.25, "l1": 6.0},
    ),
    "cifar10-kw-linf8": Victim(
        load=cifar10("cifar10-kw-linf8", 450),
        images=100,
        rounds=3,
        eps={"linf": 8 / 255, "l2": 0.5, "l1": 12.0},
    ),
    "mnist-lenet5-clean": Victim(
        load=mnist("mnist-lenet5-clean", 120),
        images=100,
        rounds=3,
        eps={"linf": 0.1, "l2": 1.5, "l1": 15.0},
    ),
    "mnist-cnn-a-adv": Victim(
        load=mnist("mnist-cnn-a-adv", 120),
        images=100,
        rounds=3,
        eps={"linf": 0.3, "l2": 2.0, "l1": 20.0},
    ),
    "efficientnet_lite0": Victim(
        load=_photographs,
        images=8,
        rounds=3,
        eps={"linf": 1 / 255, "l2": 0.5, "l1": 50.0},
    ),
}

VICTIMS = {name: victim for name, victim in _ALL.items() if SHARED.is_dir() or victim.load is _photographs}
"""Name -> victim, of those that are available here."""

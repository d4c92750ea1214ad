"""An attack that only waits, and images for it, for `python -m tests.peers.cluster`."""

import os
import time

import torch
from torch import Tensor, nn

import attacks
from advbench.catalog.cards import AttackCard, DatasetCard, ModelCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.models.classifier import Classifier

SIDE = 8
SECONDS = 0.010
"""Time that a unit takes, seconds."""


def load_network(card: ModelCard, weights: None = None) -> Classifier:
    """A linear network with seeded weights."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 10))
    return Classifier(module, num_classes=10, input_size=SIDE, name=card.name)


def images(card: DatasetCard, source: DataSource) -> Dataset:
    """As many images as the environment variable says; each is generated from its number when it is read."""
    count = int(os.environ["ADVBENCH_CLUSTER_UNITS"])

    def read(number: int) -> Tensor:
        return torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(number))

    labels = tuple(number % 10 for number in range(count))
    return Dataset(name=card.name, images=tuple(f"{i:06}" for i in range(count)), labels=labels, read=read)


class Sleep(attacks.FGSM):
    """Returns the images after a pause."""

    def __call__(self, model: attacks.Model, x: Tensor, goal: attacks.Goal, *, eps: float, seed: int = 0) -> Tensor:
        """Run the model once, wait, and change nothing."""
        model(x)
        time.sleep(SECONDS)
        return x.clone()


MODELS = {
    "linear": ModelCard(
        name="linear", loader="tests.peers.cluster_plugin:load_network", data="generated", classes=10,
        input_size=SIDE, source="tests", licence="Apache-2.0", weights_file="none", weights_sha256="",
    )
}  # fmt: skip
DATASETS = {
    "generated": DatasetCard(
        name="generated", loader="tests.peers.cluster_plugin:images", data="generated", classes=10,
        summary="generated images",
    )
}  # fmt: skip
ATTACKS = {
    "sleep": AttackCard(
        name="sleep", target="tests.peers.cluster_plugin:Sleep", kind="budget", norms=("linf",), summary="sleeps",
    )
}  # fmt: skip

"""Generated photographs and a cheap network, for `python -m tests.peers.scale`; nothing is read from disk."""

import os

import numpy as np
import torch
from PIL import Image
from torch import nn

from advbench.catalog.cards import DatasetCard, ModelCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.models.classifier import Classifier

SIDE = 224
CLASSES = 1000


def load_network(card: ModelCard, weights: None = None) -> Classifier:
    """A network of two layers with seeded weights."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 16, stride=16), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, CLASSES)
    return Classifier(nn.Sequential(*layers), num_classes=CLASSES, input_size=SIDE, name=card.name)


def photographs(card: DatasetCard, source: DataSource) -> Dataset:
    """As many images as the environment variable says; each is generated from its number when it is read."""
    count = int(os.environ["ADVBENCH_SCALE_IMAGES"])

    def read(number: int) -> Image.Image:
        generator = np.random.default_rng(number)
        coarse = generator.integers(0, 256, (14, 14, 3), np.uint8)
        return Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)

    labels = tuple(number % CLASSES for number in range(count))
    return Dataset(name=card.name, images=tuple(f"{i:06}" for i in range(count)), labels=labels, read=read)


MODELS = {
    "cheap": ModelCard(
        name="cheap", loader="tests.peers.scale_plugin:load_network", data="generated", classes=CLASSES,
        input_size=SIDE, source="tests", licence="Apache-2.0", weights_file="none", weights_sha256="",
    )
}  # fmt: skip
DATASETS = {
    "generated": DatasetCard(
        name="generated", loader="tests.peers.scale_plugin:photographs", data="generated", classes=CLASSES,
        summary="generated photographs",
    )
}  # fmt: skip

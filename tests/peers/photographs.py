"""The photographs in the folder `shared` next to the repository, and ImageNet networks that take them."""

import csv
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from advbench.datasets.images.files import read_picture
from advbench.models.classifier import Classifier
from advbench.models.preprocess import ResizeAndCrop
from tests.peers.victims import SHARED, shared_module


def photographs() -> list[Path]:
    """Paths of the photographs, which show half of ImageNet's classes."""
    folder = SHARED / "data/imagenet-sample/even"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        return [folder / row["file"] for row in csv.DictReader(file)]


def labels() -> list[int]:
    """Classes of these photographs, in the same order."""
    folder = SHARED / "data/imagenet-sample/even"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        return [int(row["index"]) for row in csv.DictReader(file)]


def cut_for(model: Classifier, pictures: Iterable[Path]) -> Tensor:
    """Pictures, preprocessed for a model (N, 3, H, W)."""
    return torch.stack([model.preprocess(read_picture(picture)) for picture in pictures])


def shared_classifier(name: str, size: int, resize: int, classes: Tensor | None = None) -> Classifier:
    """An ImageNet network of the folder `shared`.

    Args:
        name: Name of the network there.
        size: Height and width of the images that it takes, pixels.
        resize: Shorter side of a picture before it is cropped, pixels.
        classes: Classes whose logits it returns, int64 (C,); None: all of them.
    """
    module, mean, std = shared_module(name)
    cut = ResizeAndCrop(size=size, resize=resize)
    count = 1000 if classes is None else len(classes)
    module = module if classes is None else torch.nn.Sequential(module, _Of(classes))
    return Classifier(module, num_classes=count, mean=mean, std=std, input_size=size, preprocess=cut, name=name)


class _Of(torch.nn.Module):
    """The logits of some classes."""

    def __init__(self, classes: Tensor) -> None:
        super().__init__()
        self.register_buffer("classes", classes)

    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, self.classes]

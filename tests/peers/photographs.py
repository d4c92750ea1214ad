"""The photographs of the folder `shared` beside the repository, for networks of ImageNet."""

import csv

import torch
from torch import Tensor

from advbench.datasets.pictures import read_picture
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.models.preprocess import ResizeAndCrop
from tests.peers.victims import SHARED, shared_module


def photographs(model: Classifier, images: int) -> Tensor:
    """The first of those of one half of the classes (N, 3, H, W), cut for a model."""
    folder = SHARED / "data/imagenet-sample/even"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    every = len(names) // images
    return torch.stack([model.preprocess(read_picture(folder / name)) for name in names[::every][:images]])


def lite0(images: int) -> tuple[Classifier, Tensor]:
    """EfficientNet-Lite0 with so many photographs."""
    model = load_model("efficientnet_lite0")
    return model, photographs(model, images)


def squeezenet(images: int) -> tuple[Classifier, Tensor]:
    """SqueezeNet with so many photographs."""
    name = "imagenet-squeezenet1_0-deepcompression"
    module, mean, std = shared_module(name)
    cut = ResizeAndCrop(size=227, resize=256)
    model = Classifier(module, num_classes=1000, mean=mean, std=std, input_size=227, preprocess=cut, name=name)
    return model, photographs(model, images)

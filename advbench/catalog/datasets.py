"""The table of data sets. Plain data; imports no torch."""

from typing import Any

from advbench.catalog.cards import DatasetCard
from advbench.catalog.registry import Registry


def _samples(name: str, data: str, classes: int) -> tuple[str, DatasetCard]:
    return name, DatasetCard(
        name=name,
        loader="advbench.datasets.samples:load",
        data=data,
        classes=classes,
        images=20,
        summary="20 images that Foolbox carries",
    )


def _carried(name: str, data: str) -> tuple[str, DatasetCard]:
    return name, DatasetCard(
        name=name,
        loader="advbench.datasets.embedded:load",
        data=data,
        classes=10,
        images=1000,
        summary="every tenth test image; carried by advbench",
    )


def _yours(name: str, loader: str, summary: str, **more: Any) -> tuple[str, DatasetCard]:
    target = f"advbench.datasets.sources.{loader}:load"
    return name, DatasetCard(name=name, loader=target, summary=summary, takes_path=True, **more)


DATASETS: Registry[DatasetCard] = Registry(
    "dataset",
    [
        _carried("mnist", "MNIST"),
        _carried("fashion-mnist", "Fashion-MNIST"),
        _samples("imagenet-samples", "ImageNet-1k", 1000),
        _samples("cifar10-samples", "CIFAR-10", 10),
        _samples("cifar10-grey-samples", "CIFAR-10 grey", 10),
        _samples("cifar100-samples", "CIFAR-100", 100),
        _samples("mnist-samples", "MNIST", 10),
        _samples("fashion-mnist-samples", "Fashion-MNIST", 10),
        _yours("folder", "folder", "your folder: a subfolder for each class, or labels.csv beside the pictures"),
        _yours("imagenet-v2", "folder", "your folder of ImageNet-V2: subfolders 0 to 999", classes=1000),
        _yours("imagenet-sketch", "folder", "your folder of ImageNet-Sketch: WordNet ids", classes=1000),
        _yours(
            "imagenet-a",
            "folder",
            "your folder of ImageNet-A; judged among its 200 classes",
            classes=200,
            restricted=True,
        ),
        _yours(
            "imagenet-r",
            "folder",
            "your folder of ImageNet-R; judged among its 200 classes",
            classes=200,
            restricted=True,
        ),
        _yours("arrays", "arrays", "your images and labels in .npz, .npy or .safetensors files"),
        _yours("parquet", "parquet", "your Parquet files with encoded images, as the Hugging Face hub stores them"),
        _yours("webdataset", "webdataset", "your tar shards, such as val-{000..049}.tar"),
    ],
)
"""Every data set that a suite can name."""

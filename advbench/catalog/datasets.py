"""The table of data sets. Plain data; does not import torch."""

from typing import Any

from advbench.catalog.cards import DatasetCard
from advbench.catalog.registry import Registry


def _composed(name: str, data: str, classes: int) -> tuple[str, DatasetCard]:
    return name, DatasetCard(
        name=name,
        loader="advbench.datasets.composed:load",
        data=data,
        classes=classes,
        images=1000,
        summary="several labels each: one to four of those test digits; ships with advbench",
    )


def _samples(name: str, data: str, classes: int) -> tuple[str, DatasetCard]:
    return name, DatasetCard(
        name=name,
        loader="advbench.datasets.samples:load",
        data=data,
        classes=classes,
        images=20,
        summary="20 images that ship with Foolbox",
    )


def _carried(name: str, data: str) -> tuple[str, DatasetCard]:
    return name, DatasetCard(
        name=name,
        loader="advbench.datasets.embedded:load",
        data=data,
        classes=10,
        images=1000,
        summary="every tenth test image; ships with advbench",
    )


def _yours(name: str, loader: str, summary: str, **more: Any) -> tuple[str, DatasetCard]:
    target = f"advbench.datasets.sources.{loader}:load"
    return name, DatasetCard(name=name, loader=target, summary=summary, takes_path=True, **more)


def _fetched(
    name: str, data: str, classes: int, images: int, summary: str, loader: str = "load"
) -> tuple[str, DatasetCard]:
    return name, DatasetCard(
        name=name,
        loader=f"advbench.datasets.sources.torchvision:{loader}",
        data=data,
        classes=classes,
        images=images,
        summary=summary,
        fetched=True,
    )


DATASETS: Registry[DatasetCard] = Registry(
    "dataset",
    [
        _carried("mnist", "MNIST"),
        _carried("fashion-mnist", "Fashion-MNIST"),
        _composed("eight-digits", "eight digits", 8),
        _samples("imagenet-samples", "ImageNet-1k", 1000),
        _samples("cifar10-samples", "CIFAR-10", 10),
        _samples("cifar10-grey-samples", "CIFAR-10 grey", 10),
        _samples("cifar100-samples", "CIFAR-100", 100),
        _samples("mnist-samples", "MNIST", 10),
        _samples("fashion-mnist-samples", "Fashion-MNIST", 10),
        _yours("folder", "folder", "your folder: a subfolder for each class, or labels.csv next to the pictures"),
        _yours("imagenet-v2", "folder", "your folder of ImageNet-V2: subfolders 0 to 999", classes=1000),
        _yours("imagenet-sketch", "folder", "your folder of ImageNet-Sketch: WordNet ids", classes=1000),
        _yours(
            "imagenet-a",
            "folder",
            "your folder of ImageNet-A; judged on its 200 classes only",
            classes=200,
            restricted=True,
        ),
        _yours(
            "imagenet-r",
            "folder",
            "your folder of ImageNet-R; judged on its 200 classes only",
            classes=200,
            restricted=True,
        ),
        _yours("arrays", "arrays", "your images and labels in .npz, .npy or .safetensors files"),
        _yours("parquet", "parquet", "your Parquet files with encoded images, as the Hugging Face hub stores them"),
        _yours("webdataset", "webdataset", "your tar shards, such as val-{000..049}.tar"),
        _fetched("mnist-full", "MNIST", 10, 10_000, "the whole test set, by torchvision"),
        _fetched("fashion-mnist-full", "Fashion-MNIST", 10, 10_000, "the whole test set, by torchvision"),
        _fetched("kmnist", "KMNIST", 10, 10_000, "cursive Japanese characters, by torchvision"),
        _fetched("cifar10", "CIFAR-10", 10, 10_000, "the whole test set, by torchvision"),
        _fetched("cifar100", "CIFAR-100", 100, 10_000, "the whole test set, by torchvision"),
        _fetched("svhn", "SVHN", 10, 26_032, "house numbers, by torchvision"),
        _fetched("stl10", "STL-10", 10, 8_000, "96 x 96 pixels, by torchvision; opening it reads 3 GB"),
        _fetched("gtsrb", "GTSRB", 43, 12_630, "traffic signs, by torchvision"),
        _fetched(
            "imagenet", "ImageNet-1k", 1000, 50_000, "the validation set, unpacked by torchvision", "load_imagenet"
        ),
        _fetched("imagenette", "Imagenette", 10, 3_925, "ten classes of ImageNet-1k, by torchvision"),
        _fetched("food101", "Food-101", 101, 25_250, "dishes, by torchvision"),
        _fetched("flowers102", "Flowers-102", 102, 6_149, "flowers, by torchvision"),
        _fetched("pets", "Oxford-IIIT Pet", 37, 3_669, "breeds of cats and dogs, by torchvision"),
        _fetched("dtd", "DTD", 47, 1_880, "textures, by torchvision"),
    ],
)
"""Every data set that a suite can name."""

"""Complete torchvision data sets: the test or validation split, from a folder that torchvision filled.

torchvision finds the files and checks their md5 as usual, for CIFAR before it unpickles them: those are the only
pickles that are ever opened, and only as published. Picture files are decoded by advbench.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from advbench.catalog.cards import DatasetCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.files import MAX_PIXELS, PictureError, read_picture
from advbench.datasets.sources.splits import chosen
from advbench.datasets.sources.true_labels import true_labels
from advbench.errors import UserError, reason

ROOT = "ADVBENCH_DATA"
"""Environment variable with the folder of the data sets."""

_DIGITS = tuple("0123456789")
_PPM = re.compile(rb"P6\s+(?:#[^\n]*\s+)*(\d{1,5})\s+(\d{1,5})\s+255\s")


class Known(NamedTuple):
    """A torchvision data set."""

    kind: str
    """Class in `torchvision.datasets`."""
    place: str
    """File or folder in torchvision's root that exists if the data set does; `{split}` is replaced by the split."""
    splits: tuple[str, ...]
    """Splits, starting with the one that models are evaluated on."""
    open: Callable[[Any], "_Found"]
    """Function that converts torchvision's object."""
    by_flag: bool = False
    """Whether the split is chosen by a flag `train`."""


class _Found(NamedTuple):
    """Images and labels of a data set."""

    labels: Sequence[int]
    classes: Sequence[str] | None
    read: Callable[[int], Image.Image]


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """The loader of torchvision's data sets.

    Args:
        card: Card whose name is in `KNOWN`.
        source: The folder of the data sets, and a split. The folder holds torchvision's files, directly or in a folder
            named after the data set.

    Raises:
        UserError: There is no such split; the files are missing, incomplete or not the published ones.
    """
    known = KNOWN[card.name]
    split = _split(card.name, known.splits, source.split)
    place = _place(card.name, known.place.format(split=split), source)
    try:
        found = known.open(_made(known, place, split))
    except UserError:
        raise
    except Exception as error:  # a damaged file makes torchvision raise many kinds of error
        told = "" if "not found or corrupted" in str(error) else f" ({reason(error)})"
        message = f"{card.name} in {place} is incomplete, or its files are not the published ones{told}"
        raise UserError(message, hint=f"delete them, then {_fetch(card.name, source)}") from None
    truth = true_labels(np.asarray(found.labels), len(found.labels), f"{card.name} in {place}", found.classes)
    images = tuple(f"{card.name}_{split}_{number:05}" for number in range(len(truth.numbers)))
    return Dataset(name=card.name, images=images, labels=truth.numbers, read=found.read, classes=truth.classes)


def load_imagenet(card: DatasetCard, source: DataSource) -> Dataset:
    """Open ImageNet's validation set: a folder for each class, named by its WordNet id.

    Args:
        card: Card of the data set.
        source: The folder of the data sets, with `val` or `imagenet/val` in it, and a split.

    Raises:
        UserError: The folder is missing or is not sorted into classes.
    """
    split = _split(card.name, ("val", "train"), source.split)
    folder = _place(card.name, split, source) / split
    classes = sorted(each.name for each in folder.iterdir() if re.fullmatch(r"n\d{8}", each.name) and each.is_dir())
    if not classes:
        hint = f'torchvision sorts the official archives: torchvision.datasets.ImageNet(root, split="{split}")'
        raise UserError(f"{folder} has no folders with WordNet ids such as n01440764", hint=hint)
    files: list[str] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        pictures = sorted(entry.name for entry in os.scandir(folder / name) if entry.name.lower().endswith(".jpeg"))
        files += [f"{name}/{picture}" for picture in pictures]
        labels += [number] * len(pictures)
    truth = true_labels(labels, len(files), str(folder), classes)
    return Dataset(
        name=card.name,
        images=tuple(files),
        labels=truth.numbers,
        read=lambda number: read_picture(folder / files[number]),
        classes=truth.classes,
    )


def download(name: str, root: Path) -> Path:
    """Download a data set with torchvision, which compares the archive with the published md5.

    Args:
        name: Name of the data set.
        root: Folder of the data sets; created if missing.

    Returns:
        The folder that holds it: `root/name`.

    Raises:
        UserError: The data set is not one that torchvision can download, or the download failed.
    """
    if name == "imagenet":
        hint = 'get ILSVRC2012_img_val.tar there; torchvision.datasets.ImageNet(root, split="val") unpacks it'
        raise UserError("imagenet is only available from image-net.org, after registration", hint=hint)
    if name not in KNOWN:
        raise UserError(f"data set {name!r} cannot be downloaded", hint=f"these can: {', '.join(KNOWN)}")
    folder, known = root / name, KNOWN[name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _made(known, folder, known.splits[0], download=True)
    except Exception as error:  # from the network, the disk, an archive
        hint = "is there a network? What was fetched so far is kept, and not fetched again"
        raise UserError(f"{name} cannot be fetched into {folder}: {reason(error)}", hint=hint) from None
    return folder


def _made(known: Known, place: Path, split: str, **options: Any) -> Any:
    """The torchvision object."""
    import torchvision

    options |= {"train": split == "train"} if known.by_flag else {"split": split}
    return getattr(torchvision.datasets, known.kind)(str(place), **options)


def _split(name: str, splits: Sequence[str], wanted: str | None) -> str:
    if wanted is None:
        return splits[0]
    if found := chosen(wanted, splits):
        return found
    raise UserError(f"data set {name} has no split {wanted!r}", hint=f"there are: {', '.join(splits)}")


def _place(name: str, inside: str, source: DataSource) -> Path:
    """The root to pass to torchvision."""
    root = Path(source.root or os.environ.get(ROOT) or "")
    if root == Path() and source.root is None:
        hint = f"name it with --data-root, as root in a suite, or in the environment variable {ROOT}"
        raise UserError(f"data set {name} needs the folder in which torchvision's data sets are", hint=hint)
    for place in (root / name, root):
        if (place / inside).exists():
            return place
    message = f"data set {name} is not in {root}: there is neither {root / name / inside} nor {root / inside}"
    raise UserError(message, hint=_fetch(name, source))


def _fetch(name: str, source: DataSource) -> str:
    root = source.root or Path(os.environ.get(ROOT) or "DIR")
    return f"fetch it: advbench datasets --download {name} --data-root {root}"


def _pixels(made: Any) -> _Found:
    """Images that torchvision stores as one array."""
    data = np.asarray(made.data)
    labels = np.asarray(made.targets if hasattr(made, "targets") else made.labels).tolist()
    classes = getattr(made, "classes", None)

    def read(number: int) -> Image.Image:
        image = data[number]
        first = image.ndim == 3 and image.shape[2] != 3
        return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0) if first else image))

    return _Found(labels, classes, read)


def _digits(made: Any) -> _Found:
    return _pixels(made)._replace(classes=_DIGITS)


def _files(made: Any) -> _Found:
    """Images in files. Getting one through torchvision would decode it."""
    files = made._images if hasattr(made, "_images") else made._image_files
    return _Found(made._labels, getattr(made, "classes", None), lambda number: read_picture(files[number]))


def _imagenette(made: Any) -> _Found:
    samples = made._samples
    labels = [label for _, label in samples]
    return _Found(labels, made.wnids, lambda number: read_picture(samples[number][0]))


def _signs(made: Any) -> _Found:
    samples = made._samples
    return _Found([label for _, label in samples], None, lambda number: _read_ppm(Path(samples[number][0])))


def _read_ppm(path: Path) -> Image.Image:
    """Read an 8-bit PPM, a format that is accepted only for these traffic signs: a header and the raw pixels."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(path, f"{reason(error)}; fetch it again") from None
    head = _PPM.match(data)
    if head is None:
        raise PictureError(path, "this is not an 8-bit PPM; fetch it again")
    width, height = int(head[1]), int(head[2])
    if not 0 < width * height <= MAX_PIXELS or len(data) - head.end() < 3 * width * height:
        raise PictureError(path, "the PPM is damaged or cut off; fetch it again")
    values = np.frombuffer(data, np.uint8, 3 * width * height, head.end())
    return Image.fromarray(values.reshape(height, width, 3).copy())


_TEST = ("test", "train")
KNOWN: Mapping[str, Known] = {
    "mnist-full": Known("MNIST", "MNIST", _TEST, _digits, by_flag=True),
    "fashion-mnist-full": Known("FashionMNIST", "FashionMNIST", _TEST, _pixels, by_flag=True),
    "kmnist": Known("KMNIST", "KMNIST", _TEST, _pixels, by_flag=True),
    "cifar10": Known("CIFAR10", "cifar-10-batches-py", _TEST, _pixels, by_flag=True),
    "cifar100": Known("CIFAR100", "cifar-100-python", _TEST, _pixels, by_flag=True),
    "svhn": Known("SVHN", "{split}_32x32.mat", (*_TEST, "extra"), _digits),
    "stl10": Known("STL10", "stl10_binary", _TEST, _pixels),
    "gtsrb": Known("GTSRB", "gtsrb/GTSRB", _TEST, _signs),
    "imagenette": Known("Imagenette", "imagenette2", ("val", "train"), _imagenette),
    "food101": Known("Food101", "food-101", _TEST, _files),
    "flowers102": Known("Flowers102", "flowers-102", ("test", "val", "train"), _files),
    "pets": Known("OxfordIIITPet", "oxford-iiit-pet", ("test", "trainval"), _files),
    "dtd": Known("DTD", "dtd/dtd/labels", ("test", "val", "train"), _files),
}
"""Name -> torchvision data set."""

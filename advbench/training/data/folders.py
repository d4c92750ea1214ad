"""The user's own training sets: a folder of pictures with a subfolder for each class."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from advbench.catalog.zoo import DATA, ZooData
from advbench.datasets.images.cache import KeptPictures
from advbench.datasets.images.files import SUFFIXES, read_picture
from advbench.datasets.images.finding import find_pictures
from advbench.errors import UserError
from advbench.models.classifier import Preprocess
from advbench.models.preprocess import ResizeAndCrop
from advbench.training.data.sets import SPLITS, Images, find_split, load_split

TESTED = 5
"""One picture in this number is set aside for testing, if the folder has no test part."""

_TRAIN, _TEST = ("train",), ("test", "val", "valid", "validation")


class FolderData(NamedTuple):
    """A folder of pictures."""

    title: str
    """Name of the folder."""
    classes: tuple[str, ...]
    """Names of the subfolders, sorted."""
    train: Images
    """Training images with labels."""
    test: Images
    """Test images with labels."""


def load_data(name: str, root: Path, seed: int, *, instead: str | None = None) -> tuple[ZooData, Images, Images]:
    """Read a data set of the zoo, or a folder of pictures that replaces it.

    Args:
        name: Key in `advbench.catalog.zoo.DATA`.
        root: Root folder of the data sets, as for :func:`advbench.training.data.sets.load_split`; or a folder as for
            :func:`load_folder`, whose pictures are cropped to the size of the data set's.
        seed: Seed of the split of a folder.
        instead: Another data set to read, whose images have the same shape; normalised like those of the first.

    Returns:
        Description of the data set, training images and test images.

    Raises:
        UserError: Neither exists; or the data is damaged, belongs to another set, or has another number of classes.
    """
    if instead is not None:
        return _another(DATA[name], instead, root)
    data = DATA[name]
    if data.composed:
        return data, load_split(name, root, "train"), load_split(name, root, "test")
    found = len(class_folders(_part(root, _TRAIN) or root))
    if not found or all(find_split(name, root, split) for split in SPLITS):
        return data, load_split(name, root, "train"), load_split(name, root, "test")
    if found != len(data.classes):
        raise UserError(
            f"{root} has {found} classes, but this network distinguishes {len(data.classes)}",
            hint=f"for any number of classes: advbench train transfer --data-root {root}",
        )
    folder = load_folder(root, ResizeAndCrop(size=data.side, mode="L" if len(data.mean) == 1 else "RGB"), seed)
    own = data._replace(title=folder.title, classes=folder.classes, licence="the user's own")
    return own, folder.train, folder.test


def _another(data: ZooData, name: str, root: Path) -> tuple[ZooData, Images, Images]:
    other = DATA[name]
    mine, its = ((each.side, len(each.mean), len(each.classes)) for each in (data, other))
    if mine != its:
        what = "images of {0} x {0} pixels in {1} channels and {2} classes"
        raise UserError(
            f"{other.title} has {what.format(*its)}, but this network takes {what.format(*mine)}",
            hint="leave --data out, or choose another recipe: advbench train --help",
        )
    same = other._replace(mean=data.mean, std=data.std)
    return same, load_split(name, root, "train"), load_split(name, root, "test")


def load_folder(
    root: Path, preprocess: Preprocess, seed: int, progress: Callable[[str, int, int], None] = lambda *_: None
) -> FolderData:
    """Open a folder of pictures with a subfolder for each class, with a limited memory cache.

    Every picture is read once, so that an unreadable one is found before training.

    Args:
        root: Folder that contains the subfolders; or `train` and `test` (or `val`), each with the subfolders. Without a
            test part, one picture in five of each class is set aside.
        preprocess: Function from a picture to values in [0, 1] of shape (C, H, W).
        seed: Seed for the choice of pictures to set aside.
        progress: Called after every picture.

    Returns:
        The pictures and the names of the classes.

    Raises:
        UserError: There are fewer than two classes, too few pictures to split, classes in only one part, or an
            unreadable picture.
    """
    classes, halves = _halves(root, seed)
    total, done = sum(map(len, halves.values())), 0
    read = []
    for source, files in halves.items():
        pictures = KeptPictures([file for file, _ in files], lambda file: preprocess(read_picture(file)))
        for number in range(len(pictures)):
            progress(f"reading {root.name}", done + number, total)
            pictures[number]
        done += len(pictures)
        read.append(Images(pictures, torch.tensor([label for _, label in files]), source))
    return FolderData(root.name, classes, *read)


def class_folders(root: Path) -> list[Path]:
    """The subfolders that contain pictures, sorted by name, without hidden ones.

    Example:
        >>> class_folders(Path("nowhere"))
        []
    """
    if not root.is_dir():
        return []
    folders = [folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    return sorted(folder for folder in folders if any(file.suffix.lower() in SUFFIXES for file in folder.iterdir()))


_Labelled = list[tuple[Path, int]]


def _halves(root: Path, seed: int) -> tuple[tuple[str, ...], dict[str, _Labelled]]:
    """The names of the classes; and the pictures for training and for testing, each under a description."""
    train, test = _part(root, _TRAIN), _part(root, _TEST)
    folders = class_folders(train if train and test else root)
    classes = tuple(folder.name for folder in folders)
    if len(classes) < 2:
        raise UserError(
            f"{root} is not a folder of pictures with a subfolder for each class",
            hint=f"expected {root}/CLASS/*.jpg for two classes or more, or {root}/train and {root}/test with them",
        )
    if train is None or test is None:
        learnt, aside = _split(_files(folders), folders, seed)
        return classes, {f"{root.name}, but one in {TESTED}": learnt, f"{root.name}, one in {TESTED} by seed": aside}
    others = class_folders(test)
    if differing := {*classes} ^ {folder.name for folder in others}:
        names = ", ".join(sorted(differing))
        raise UserError(f"{train} and {test} have different classes: {names} is in one of them only")
    return classes, {f"{root.name}/{part.name}": _files(class_folders(part)) for part in (train, test)}


def _part(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of the subfolders with these names that contains classes."""
    return next((root / name for name in names if len(class_folders(root / name)) > 1), None)


def _files(folders: list[Path]) -> _Labelled:
    labelled: _Labelled = []
    for label, folder in enumerate(folders):
        found = find_pictures([folder])
        if found.lacks:
            raise UserError(found.lacks)
        labelled += [(picture, label) for picture in sorted(found.pictures)]
    return labelled


def _split(files: _Labelled, folders: list[Path], seed: int) -> tuple[_Labelled, _Labelled]:
    """Set one picture in `TESTED` of each class aside, at least one."""
    generator = torch.Generator().manual_seed(seed)
    learnt: _Labelled = []
    aside: _Labelled = []
    for label, folder in enumerate(folders):
        mine = [file for file in files if file[1] == label]
        if len(mine) < 2:
            raise UserError(f"{folder} has one picture: a class needs one for training and one for testing")
        order = torch.randperm(len(mine), generator=generator).tolist()
        tested = {*order[: max(1, round(len(mine) / TESTED))]}
        for index, file in enumerate(mine):
            (aside if index in tested else learnt).append(file)
    return learnt, aside

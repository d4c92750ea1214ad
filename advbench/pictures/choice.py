"""The pictures that a command works on: files that the user names, or images of a data set."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from advbench.catalog.registry import near_misses
from advbench.config.data.name import ChosenImages
from advbench.config.folders import refuse_in_data
from advbench.datasets import load_dataset
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.files import PictureError, read_picture
from advbench.datasets.images.finding import find_pictures
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.trial import input_of, try_model
from advbench.planning.fitting import fitted
from advbench.planning.plan import some_of
from advbench.sanitize import display_name

_LOG = logging.getLogger(__name__)

Read = Callable[[Path], "Image.Image | Tensor"]
"""Path of a picture, or name of an image -> picture, or preprocessed input (C, H, W)."""


class Choice(NamedTuple):
    """Pictures that a command works on."""

    pictures: tuple[Path, ...]
    """Paths of the files, or names of the images in the data set."""
    problems: tuple[PictureError, ...] = ()
    """Errors for paths that could not be found."""
    read: Read = read_picture
    """Reads one of them; raises a `UserError` if that is impossible."""
    label: str = "files"
    """Label of the data set in records."""
    labels: Mapping[Path, int] = MappingProxyType({})
    """True class of each image of the data set, as an index of the model's classes."""
    label_sets: Mapping[Path, tuple[int, ...]] = MappingProxyType({})
    """Labels of each image of a multi-label data set, as indices of the model's labels."""


def refuse_own(out: Path, paths: Iterable[str | Path], data: ChosenImages | None) -> None:
    """Refuse a folder for results among the pictures that are read; see :func:`refuse_in_data`."""
    refuse_in_data(out, [*paths, None if data is None else data.spec.path])


def choose(paths: Iterable[str | Path], data: ChosenImages | None, seed: int) -> tuple[Choice, Dataset | None]:
    """Find the pictures that the user means.

    Pictures of other formats in a folder are skipped, which this module logs as information.

    Args:
        paths: Files and folders.
        data: Images of a data set to use instead; None: no data set.
        seed: Seed of the choice of images, which is the same as in a suite with this seed.

    Returns:
        The pictures, and the data set, if there is one.

    Raises:
        UserError: Both or neither were named, or the data set cannot be opened, is empty or has no such image.
    """
    named = list(paths)
    if data is None:
        found = find_pictures(named)
        if not found.pictures:
            hint = "" if found.problems else "name files or folders of them, or a data set with --data"
            raise UserError("\n".join(map(str, found.problems)) or "no pictures were given", hint=hint)
        if found.unread:
            _LOG.info(found.unread)
        return Choice(found.pictures, found.problems), None
    if named:
        raise UserError(f"both pictures and --data {data.spec.name} were named", hint="leave one of them out")
    dataset = load_dataset(data.spec.name, **data.spec.given())
    if not len(dataset):
        raise UserError(f"data set {data.spec.label} has no images")
    numbers = _numbers(dataset, data, seed)
    place = {Path(dataset.images[number]): number for number in range(len(dataset))}
    chosen = tuple(Path(dataset.images[number]) for number in numbers)
    return Choice(chosen, read=lambda path: dataset.read(place[path]), label=data.spec.label), dataset


def suit(
    choice: Choice, dataset: Dataset, data: ChosenImages, model: Classifier, name: str
) -> tuple[Choice, Classifier]:
    """The pictures with their true classes, and the model as judged on the data set.

    Args:
        choice: Pictures of the data set.
        dataset: Data set that they come from.
        data: The chosen images, as specified by the user.
        model: Classifier that takes the pictures.
        name: Name of the model, as on the command line.

    Raises:
        UserError: The data set and the model do not match.
    """
    found = fitted(model, name, dataset, data.spec)
    names = list(map(Path, found.dataset.images))
    labels = dict(zip(names, found.dataset.labels or (), strict=False))
    sets = dict(zip(names, found.dataset.label_sets or (), strict=False))
    return choice._replace(labels=labels, label_sets=sets), found.model


def read_input(path: Path, model: Classifier, read: Read = read_picture) -> Tensor:
    """The model's input (C, H, W) for a picture, after a test pass through the model.

    Args:
        path: Path of the picture, or name of the image.
        model: Classifier that takes the picture.
        read: Reads the picture; see :attr:`Choice.read`.

    Raises:
        PictureError: It cannot be read, or is too long and thin to be scaled; or the model, which does not declare its
            input size, does not accept this one.
        UserError: The model fails on an image of its own input size.
    """
    try:
        picture = read(path)
        image = picture if isinstance(picture, Tensor) else input_of(model, picture)
        if model.input_size is None or isinstance(picture, Tensor):
            try_model(model, image)
    except PictureError:
        raise
    except UserError as problem:
        raise PictureError(path, "; ".join(filter(None, (problem.message, problem.hint)))) from None
    try_model(model, image)
    return image


def _numbers(dataset: Dataset, data: ChosenImages, seed: int) -> Sequence[int]:
    if not data.images:
        return some_of(len(dataset), data.limit or data.spec.images or len(dataset), seed)
    place = {name: number for number, name in enumerate(dataset.images)}
    return [_number(text, place, data.spec.label) for text in dict.fromkeys(data.images)]


def _number(text: str, place: Mapping[str, int], label: str) -> int:
    """The number of the image that the user names; names take precedence over numbers."""
    if text in place:
        return place[text]
    if text.isdecimal() and len(text) < 10 and int(text) < len(place):
        return int(text)
    close = near_misses(text, place)
    guess = f"did you mean {' or '.join(display_name(each) for each in close[:2])}? " if close else ""
    hint = f"{guess}{'A' if guess else 'a'} number from 0 to {len(place) - 1} works as well"
    raise UserError(f"data set {label} has no image '{display_name(text)}'", hint=hint)

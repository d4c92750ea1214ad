"""Ids of the images that a model was trained on: from a file next to its weights or, for MNIST, in the package."""

import re
from collections.abc import Container, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advbench.catalog.zoo import DATA, FOLDER, ZOO
from advbench.datasets.images.ids import sample_id

SUFFIX = ".trained-on.txt"
"""Suffix of the file, in place of `.safetensors`."""
DIGITS = 10
"""Number of digits of each id in the package: one image in 18 million is mistaken for one of 60,000."""
_MOST_BYTES = 200_000_000
_ID = re.compile(r"[0-9a-f]{16}")
_BYTES = DIGITS // 2


def ids_of_pixels(parts: Iterable[Tensor]) -> list[str]:
    """Ids of 8-bit images, the same as those of the images as inputs of a model.

    Args:
        parts: Batches of images (n, C, H, W), uint8.

    Example:
        >>> ids_of_pixels([torch.zeros(1, 3, 2, 2, dtype=torch.uint8)]) == [sample_id(torch.zeros(3, 2, 2))]
        True
    """
    return [sample_id(image.to(torch.float32) / 255) for part in parts for image in part]


def trained_on(loaded_from: str | Path | None) -> Container[str]:
    """Ids of the images that a model is known to have been trained on.

    The package contains those of MNIST, but not of CIFAR-10: its networks were trained on JPEG copies, whose ids differ
    from those of the original images.

    Args:
        loaded_from: Attribute of the classifier: its name, or the file of its weights.

    Example:
        >>> "263b5fce9e64db68" in trained_on("lenet"), "263b5fce9e64db68" in trained_on(None)
        (False, False)
    """
    if loaded_from is None:
        return frozenset()
    if isinstance(loaded_from, str) and loaded_from in ZOO and (file := shipped_file(ZOO[loaded_from].data)).is_file():
        return _shipped(file)
    path = Path(loaded_from)
    return known_beside(path) if path.name else frozenset()  # the current folder has no name


def file_beside(weights: Path) -> Path:
    """The file of ids that belongs to a weights file.

    Example:
        >>> file_beside(Path("mine/net.safetensors")).name
        'net.trained-on.txt'
    """
    return weights.with_name(weights.stem + SUFFIX)


def known_beside(weights: Path) -> frozenset[str]:
    """The ids next to a weights file; none if there is no such file, or it does not match.

    Example:
        >>> known_beside(Path("no/such.safetensors"))
        frozenset()
    """
    file = file_beside(weights)
    try:
        if file.stat().st_size > _MOST_BYTES:
            return frozenset()
        return frozenset(_ID.findall(file.read_text(encoding="ascii", errors="replace")))
    except OSError:
        return frozenset()


def shipped_file(data: str) -> Path:
    """The package's file with the ids of a training set of the zoo, if there is one.

    Example:
        >>> shipped_file("mnist").name
        'mnist.trained-on.bin'
    """
    return FOLDER / f"{DATA[data].folder}.trained-on.bin"


def packed_ids(ids: Iterable[str]) -> bytes:
    """Pack ids as stored in the package: the first `DIGITS` of each, sorted, as bytes.

    Example:
        >>> packed_ids(["ffffffffff000000", "0102030405000000"]).hex()
        '0102030405ffffffffff'
    """
    return b"".join(sorted(bytes.fromhex(name[:DIGITS]) for name in ids))


class PackedIds(Container[str]):
    """A set of ids of which only the first digits are known.

    Args:
        content: Bytes from :func:`packed_ids`.

    Example:
        >>> "0102030405999999" in PackedIds(packed_ids(["ffffffffff000000", "0102030405000000"]))
        True
    """

    def __init__(self, content: bytes) -> None:
        wide = np.zeros((len(content) // _BYTES, 8), np.uint8)
        wide[:, -_BYTES:] = np.frombuffer(content, np.uint8).reshape(-1, _BYTES)
        self._numbers = wide.view(">u8")[:, 0].astype(np.uint64)

    def __contains__(self, name: object) -> bool:
        number = np.uint64(int(str(name)[:DIGITS], 16))
        place = int(np.searchsorted(self._numbers, number))
        return place < len(self._numbers) and bool(self._numbers[place] == number)


@cache
def _shipped(file: Path) -> PackedIds:
    return PackedIds(file.read_bytes())

"""Reads the logits of clean images, recorded by the units of the task "clean". Does not import torch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from advbench.errors import UserError
from advbench.records.run_folder import RunFolder
from advbench.records.storage.checksum import is_intact
from advbench.records.unit import Unit


class CleanLogits(NamedTuple):
    """The model's logits for some clean images."""

    numbers: tuple[int, ...]
    """Numbers of the images in the data set (n), without unreadable ones."""
    logits: NDArray[Any]
    """Logits (n, classes)."""


def read_clean(folder: RunFolder, units: Sequence[Unit], numbers: Sequence[int]) -> CleanLogits:
    """Read the logits of some images, in the given order; only the files that may contain them are opened.

    Args:
        folder: Folder of the run.
        units: Units of the task "clean" for one model and data set, each with consecutive images of a sorted choice.
        numbers: Numbers of the images in the data set, in any order.

    Raises:
        UserError: A file is missing or damaged.
    """
    found: dict[int, NDArray[Any]] = {}
    first, last = min(numbers), max(numbers)  # the images of a look are in random order
    for unit in units:
        if unit.samples[0] <= last and first <= unit.samples[-1]:
            tensors = _tensors(folder, unit)
            found |= dict(zip(tensors["samples"].tolist(), tensors["logits"], strict=True))
    known = tuple(number for number in numbers if number in found)
    return CleanLogits(known, np.stack([found[number] for number in known]) if known else np.empty((0, 0), np.float32))


def _tensors(folder: RunFolder, unit: Unit) -> dict[str, NDArray[Any]]:
    path = folder.clean(unit.unit_id)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if not is_intact(content):
        raise UserError(f"{path} was truncated or changed")
    return safetensors.numpy.load(content)

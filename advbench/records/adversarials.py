"""Reads the adversarial images that a run kept. Does not import torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun


_DIMENSIONS = {"x": 4, "x_adv": 4, "clean_logits": 2, "adv_logits": 2}
"""Tensors of a file and their numbers of dimensions; the first dimension indexes the images."""


def kept_rows(run: "StoredRun") -> Iterator[pd.DataFrame]:
    """Yield the rows of the frame whose images were kept, with the file and position of each image."""
    by_unit = dict(iter(run.frame.groupby("unit_id", observed=True, sort=False)))
    for path in sorted((run.folder / "adv").glob("*.safetensors")):
        if path.stem not in by_unit:
            continue
        try:
            numbers = kept_tensors(path)["rows"].astype(np.int64)
        except (OSError, ValueError, KeyError):
            continue  # damaged files are for `advbench verify` to report; here they are skipped
        unit = by_unit[path.stem]
        if ((numbers >= 0) & (numbers < len(unit))).all():
            yield unit.iloc[numbers].assign(file=path.name, place=np.arange(len(numbers)))


def kept_tensors(path: Path, place: int | None = None) -> dict[str, NDArray[np.generic]]:
    """The row numbers of a file, or everything in it about one image.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not such a file, or has different numbers of images and rows.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            if place is not None:
                return {name: file.get_slice(name)[place] for name in _DIMENSIONS}
            rows = file.get_tensor("rows")
            shapes = {name: file.get_slice(name).get_shape() for name in _DIMENSIONS}
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    if any(len(shape) != _DIMENSIONS[name] or shape[:1] != list(rows.shape) for name, shape in shapes.items()):
        raise ValueError(f"expected as many images as rows, {rows.shape}, got {shapes}")
    return {"rows": rows}

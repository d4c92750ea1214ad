"""Images and labels as arrays: an `.npz` or `.safetensors` file, or a folder of `.npy` files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advbench.catalog.cards import DatasetCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.pixels import check_pixels
from advbench.datasets.sources.array_files import Arrays, Rows, arrays_in
from advbench.datasets.sources.label_sets import truth_of
from advbench.datasets.sources.splits import SPLITS, alike
from advbench.errors import UserError
from advbench.sanitize import display_name

PAIRS = (("x", "y"), ("images", "labels"), ("image", "label"), ("data", "labels"), ("data", "targets"))
"""Keys of images and their labels, ignoring case, with the split before or after them, as in x_test or test_images.
"""
_TRIED = (SPLITS[0], "", *SPLITS[1:])
"""Splits to look for if none is named, in this order; the empty one is for keys without a split."""
_CHANNELS = (1, 3)
_LOOKED_AT = 16
"""Number of images whose values are checked when the file is opened; the others are checked when read."""
_WANTED = "expected images (N, H, W, C), (N, C, H, W) or (N, H, W), uint8 or floats in [0, 1]"


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """The loader of data sets of arrays.

    8-bit images are treated as pictures, which are resized and converted to grey as the model requires. Floats are
    passed unchanged, so they must have the size of the model's input; they are rounded to float32.

    Args:
        card: Card of the data set.
        source: The path; a split, for keys such as x_train and y_train; keys as `image_column` and `label_column`.

    Raises:
        UserError: The file cannot be read, has no such arrays or several, or arrays of unsupported shapes, dtypes or
            values.
    """
    path = source.path or Path()
    if path.suffix == ".npy" and path.is_file():
        source = source.model_copy(update={"image_column": path.stem})
        path = path.parent
    arrays = arrays_in(path)
    image_key, label_key = _keys(arrays, path, source)
    images, labels = arrays[image_key](), arrays[label_key]()
    where = f"{image_key} in {path}"
    axis = _channel_axis(images, where)
    count = images.shape[0]
    _check_size(labels, count, f"{label_key} in {path}")
    truth = truth_of(np.asarray(labels[:]), count, f"{label_key} in {path}")
    if images.dtype.kind == "f":
        _check_values(images, where)

    def read(number: int) -> Image.Image | Tensor:
        return _image(np.asarray(images[number]), axis, f"image {number} of {where}")

    names = tuple(f"{display_name(path.stem)}_{number:05}" for number in range(count))
    return Dataset(name=card.name, images=names, read=read, **truth._asdict())


def _keys(arrays: Arrays, path: Path, source: DataSource) -> tuple[str, str]:
    """Keys of the images and of the labels."""
    there = {key.lower(): key for key in arrays}
    listed = ", ".join(display_name(key) for key in list(arrays)[:20]) or "nothing"
    for key in (source.image_column, source.label_column):
        if key is not None and key not in arrays:
            raise UserError(f"there is no array {key!r} in {path}", hint=f"there are: {listed}")
    splits = alike(source.split) if source.split else _TRIED
    pairs = [pair for split in splits for pair in _pairs(split)]
    for place, key in enumerate((source.image_column, source.label_column)):
        pairs = [pair for pair in pairs if pair[place] == (key or "").lower()] or pairs
    for x, y in pairs:
        image_key, label_key = source.image_column or there.get(x), source.label_column or there.get(y)
        if image_key is not None and label_key is not None:
            return image_key, label_key
    part = f" of the split {source.split!r}" if source.split else ""
    raise UserError(
        f"found no images with labels{part} in {path}, which holds {listed}",
        hint='call them x and y, images and labels, or x_test and y_test; or name them: image_column = "...", '
        'label_column = "..."',
    )


def _pairs(split: str) -> Iterable[tuple[str, str]]:
    """Pairs of keys for a split; the empty split means keys without one."""
    for x, y in PAIRS:
        yield from [(f"{x}_{split}", f"{y}_{split}"), (f"{split}_{x}", f"{split}_{y}")] if split else [(x, y)]


def _channel_axis(images: Rows, where: str) -> int | None:
    """Axis of the channels of an image: 0, 2, or None if there is none."""
    shape, dtype = images.shape, images.dtype
    got = f"{dtype} of shape {shape}"
    if dtype != np.uint8 and dtype not in (np.float16, np.float32, np.float64):
        whole = "x.astype('uint8') makes 8-bit images of values from 0 to 255"
        hint = whole if dtype.kind in "iu" else "x.astype('float32') makes floats"
        raise UserError(f"{where}: {_WANTED}, got {got}", hint=hint)
    if shape and not shape[0]:
        raise UserError(f"{where}: there are no images", hint="name a data set with at least two labelled images")
    if len(shape) == 3 and 0 not in shape:
        return None
    if len(shape) == 4 and 0 not in shape:
        if shape[1] in _CHANNELS:
            return 0
        if shape[3] in _CHANNELS:
            return 2
    raise UserError(f"{where}: {_WANTED}, got {got}", hint="reshape them; of four channels, drop the alpha channel")


def _check_size(labels: Rows, count: int, where: str) -> None:
    """Refuse an array that cannot be labels, before reading it."""
    if not labels.shape or labels.shape[0] != count:
        raise UserError(f"{where}: expected one label for each of {count:,} images, got shape {labels.shape}")
    if len(labels.shape) > 2:
        raise UserError(f"{where}: expected labels (N,) or one-hot rows, got shape {labels.shape}")


def _check_values(images: Rows, where: str) -> None:
    """Refuse floats outside [0, 1], judging by some of the images."""
    numbers = sorted(set(np.linspace(0, images.shape[0] - 1, _LOOKED_AT).astype(int).tolist()))
    some = np.stack([np.asarray(images[number]) for number in numbers]).astype(np.float32)
    try:
        check_pixels(torch.from_numpy(some))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _image(values: Any, axis: int | None, what: str) -> Image.Image | Tensor:
    if values.dtype == np.uint8:
        last = np.moveaxis(values, 0, -1) if axis == 0 else values
        return Image.fromarray(np.ascontiguousarray(last[..., 0] if last.ndim == 3 and last.shape[2] == 1 else last))
    first = values[None] if axis is None else np.moveaxis(values, axis, 0)
    image = torch.from_numpy(np.array(first, np.float32))
    low, high = (float(bound) for bound in image.aminmax())
    if not 0 <= low <= high <= 1:
        raise UserError(f"{what} has values from {low:g} to {high:g}, outside [0, 1]")
    return image

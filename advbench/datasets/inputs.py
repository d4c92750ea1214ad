"""Convert user input - tensors, arrays, lists, a loader, a data set - to images and their labels."""

import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from advbench.datasets.images.pixels import as_images, check_pixels, joined, refuse_pictures
from advbench.datasets.labels import as_labels

IMAGES = ("images", "image", "img", "pixel_values", "x")
"""Keys of the images in batches that are mappings."""
LABELS = ("labels", "label", "targets", "target", "y")
"""Keys of the labels in such batches."""

ANY_TYPE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""Dtypes that a model may expect for images that were not torch tensors."""
_WANTED = "expected images, (images, labels) or an iterable of such batches"


class Inputs(NamedTuple):
    """Images to attack, converted and checked."""

    x: Tensor
    """Images (N, ...), floating point, in [0, 1]."""
    y: Tensor | None
    """Labels int64 (N,), on the device of the images; None: unknown."""
    dtypes: tuple[torch.dtype, ...]
    """Dtypes in which the model may accept the images, the likeliest first."""


def read_inputs(data: Any) -> Inputs:
    """Convert the data to attack to images and labels.

    Args:
        data: Images, a pair (images, labels) as a tuple or a list, or a mapping with both; or any iterable of those, of
            batches or of single images: a ``DataLoader``, a data set, a generator. It is iterated once, and all its
            images are kept in memory. :func:`advbench.datasets.images.pixels.as_images` and
            :func:`advbench.datasets.labels.as_labels` say what forms images and labels may have.

    Raises:
        ValueError: ``expected ..., got ...``

    Example:
        >>> loader = torch.utils.data.DataLoader([(torch.zeros(3, 8, 8), 1)] * 5, batch_size=2)
        >>> inputs = read_inputs(loader)
        >>> inputs.x.shape, inputs.y
        (torch.Size([5, 3, 8, 8]), tensor([1, 1, 1, 1, 1]))
    """
    images, labels, dtypes = [], [], dict[torch.dtype, None]()
    for part in _parts(data):
        x = as_images(part.images, alone=part.alone)
        y = part.labels
        images.append(x)
        labels.append(None if y is None else as_labels(y, len(x)).to(x.device))
        meant = isinstance(part.images, Tensor) and part.images.is_floating_point()
        dtypes |= dict.fromkeys((x.dtype, torch.float32) if meant else ANY_TYPE)
    if not images:
        raise ValueError(f"expected at least one image, got none: the {type(data).__name__} is empty")
    known = [y for y in labels if y is not None]
    if known and len(known) < len(labels):
        raise ValueError(
            f"expected labels for all images, got none in {len(labels) - len(known)} of {len(labels)} parts"
        )
    x = joined(images)
    check_pixels(x)
    return Inputs(x, torch.cat([y.to(x.device) for y in known]) if known else None, tuple(dtypes))


class _Part(NamedTuple):
    images: Any
    labels: Any = None
    alone: bool = False
    """Whether the data is a single image, with one label or none."""


def _parts(data: Any) -> Iterator[_Part]:
    """Iterate over the data as batches or single images."""
    part = _whole(data)
    if part is not None:
        yield part
        return
    if not isinstance(data, Iterable) and not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise ValueError(f"{_WANTED}, got {type(data).__name__}")
    # A torch data set need not say where it ends.
    items = data if isinstance(data, Iterable) else (data[i] for i in range(len(data)))
    for item in items:
        inner = item[0] if isinstance(item, list | tuple) and len(item) == 1 else item
        found = _whole(inner)
        if found is None:
            raise ValueError(f"expected batches (images, labels), got {type(item).__name__}")
        yield _of_loader(found)


def _of_loader(part: _Part) -> _Part:
    """A part of an iterable: three dimensions are one image; a row paired with it is its label."""
    if part.labels is None:
        return part._replace(alone=_depth(part.images) <= 3)
    if _depth(part.images) == 3 and _depth(part.labels) == 1 and len(part.labels) not in (1, len(part.images)):
        return part._replace(labels=[part.labels], alone=True)
    return part


def _whole(data: Any) -> _Part | None:
    """Data that is not a collection of batches; None if it is one."""
    refuse_pictures(data)
    if data is None or isinstance(data, numbers.Number):
        return None
    if isinstance(data, Mapping):
        return _of_mapping(data)
    if isinstance(data, list | tuple):
        if len(data) == 2 and _are_labels(data[1], data[0]):
            images, labels = data
            return _Part(images, labels, alone=_is_one(images, labels))
        if len(data) > 2 and 0 <= _depth(data[1]) < _depth(data[0]):
            got = f"a {type(data).__name__} of {len(data)}"
            raise ValueError(f"expected (images, labels), got {got}: leave out the rest")
        if not data or _depth(data[0]) < 0 or _depth(data[0]) > 3 or _whole_batch(data[0]):
            return None
        return _Part(data)
    return _Part(data) if _depth(data) >= 0 else None


def _of_mapping(data: Mapping[Any, Any]) -> _Part:
    images, labels = (next((data[name] for name in names if name in data), None) for names in (IMAGES, LABELS))
    if images is None:
        got = ", ".join(map(str, data))
        raise ValueError(f"expected a mapping with images under one of {', '.join(IMAGES)}, got {got}")
    return _Part(images, labels, alone=_is_one(images, labels))


def _are_labels(labels: Any, images: Any) -> bool:
    """Whether the second of two items can be the labels of the first, rather than more images or another batch."""
    if labels is None:
        return _depth(images) >= 0
    many, few = _depth(images), _depth(labels)
    # One-hot labels have as many dimensions as images that are rows.
    rows = many == few == 2 and hasattr(images, "ndim") and hasattr(labels, "ndim")
    return 0 <= few < many or rows


def _is_one(images: Any, labels: Any) -> bool:
    """Whether a pair is one image with its label: several images cannot share one label."""
    if labels is None or _depth(images) > 3:
        return False
    return _depth(labels) == 0 or (_depth(labels) == 1 and len(labels) == 1 != len(images))


def _whole_batch(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and len(entry) == 2 and _are_labels(entry[1], entry[0])


def _depth(value: Any) -> int:
    """Number of dimensions of an object; -1 if it is not a tensor, array, number, text or nested list of those."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        inner = _depth(value[0]) if len(value) else 0
        return inner + 1 if inner >= 0 else -1
    return -1 if isinstance(value, Iterable | Mapping) and not isinstance(value, str | bytes) else _flat_depth(value)


def _flat_depth(value: Any) -> int:
    known = value is None or isinstance(value, numbers.Number | str | bytes | Image.Image)
    return 0 if known or hasattr(value, "__fspath__") else -1

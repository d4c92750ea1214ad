"""True classes in any usual form, converted to the whole numbers that goals are made of."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_labels(given: Any, count: int) -> Tensor:
    """Understand the labels of some images.

    Args:
        given: A tensor, an array or a list, of numbers (N,) or (N, 1) that are whole whatever their type; or one-hot
            rows (N, classes). A single number will do for a single image.
        count: Number of images N.

    Returns:
        int64 (N,).

    Raises:
        ValueError: ``expected ..., got ...``

    Example:
        >>> as_labels([[0, 1, 0], [1, 0, 0]], count=2), as_labels(np.array([3.0]), count=1)
        (tensor([1, 0]), tensor([3]))
    """
    labels = _numbers(given)
    if labels.is_meta:
        raise ValueError("expected labels as whole numbers, got a tensor on the meta device, which has no values")
    if labels.is_complex() or (labels.is_floating_point() and not bool(labels.isfinite().all())):
        raise ValueError(f"expected labels as whole numbers, got {_shown(labels)}")
    labels = labels.unsqueeze(0) if not labels.ndim else labels
    if len(labels) != count:
        raise ValueError(f"expected as many labels as images, got labels for {len(labels)} and {count} images")
    if labels.numel() == count:
        labels = labels.reshape(count)
    elif labels.ndim == 2:
        return _hot(labels)
    else:
        raise ValueError(f"expected one label for each image, got shape {tuple(labels.shape)} for {count} images")
    if labels.is_floating_point() and not bool((labels == labels.round()).all()):
        raise ValueError(f"expected labels as whole numbers, got {_shown(labels[labels != labels.round()])}")
    return labels.long()


def check_classes(labels: Tensor, classes: int, model: str) -> None:
    """Check that labels are classes of a model.

    Args:
        labels: Labels int64 (N,).
        classes: Number of classes of the model.
        model: Name of the model.

    Raises:
        ValueError: ``expected ..., got ...``, with the first image at fault.

    Example:
        >>> check_classes(torch.tensor([0, 7]), 5, "net")
        Traceback (most recent call last):
        ValueError: expected labels from 0 to 4, the classes of net, got 7 for image 1: are they of the same data set?
    """
    wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten()
    if not len(wrong):
        return
    row = int(wrong[0])
    low, high = int(labels.min()), int(labels.max())
    hint = "are they of the same data set?"
    if low < 0:
        hint = "leave images without a class out"
    elif low >= 1 and high == classes:
        hint = "are they counted from 1? labels - 1"
    wanted = f"labels from 0 to {classes - 1}, the classes of {model}"
    raise ValueError(f"expected {wanted}, got {int(labels[row])} for image {row}: {hint}")


def _numbers(given: Any) -> Tensor:
    if isinstance(given, Tensor):
        return given.detach().as_subclass(Tensor)
    values = [v.tolist() if isinstance(v, Tensor) else v for v in given] if isinstance(given, list | tuple) else given
    try:
        array = np.array(values)
        array = array.astype(array.dtype.newbyteorder("="))
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        some = values[0] if isinstance(values, list) and values else values
        hint = "give each class as its place in the model's output, counted from 0"
        raise ValueError(f"expected labels as whole numbers, got {_short(some)}: {hint}") from error


def _hot(labels: Tensor) -> Tensor:
    """The class of each one-hot row (N, classes)."""
    if not bool(((labels == 0) | (labels == 1)).all() & (labels.long().sum(1) == 1).all()):
        got = f"rows of {labels.shape[1]} values that are not one-hot"
        raise ValueError(f"expected labels (N,) or one-hot (N, classes), got {got}: labels.argmax(1) if that is meant")
    return labels.long().argmax(1)


def _shown(labels: Tensor) -> str:
    return f"{_short(labels.flatten()[0].item())} among them" if labels.numel() else f"type {labels.dtype}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."

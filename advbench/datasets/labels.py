"""Convert true classes in any common form to the integers that goals use."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_labels(given: Any, count: int) -> Tensor:
    """Convert the labels of images to a tensor.

    Args:
        given: A tensor, an array or a list, of numbers (N,) or (N, 1) that are whole, whatever their dtype; or one-hot
            rows (N, classes). A single number is accepted for a single image.
        count: Number of images N.

    Returns:
        int64 (N,); or, for rows of 0 and 1 that are not all one-hot, which labels each image has, bool (N, labels).

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


def truth_tensor(truths: Sequence[int | tuple[int, ...]], classes: int) -> Tensor:
    """Convert classes of images, or the labels of each, to a tensor.

    Args:
        truths: Numbers of the classes (N), or of the labels of each image.
        classes: Number of classes of the model.

    Returns:
        int64 (N,), or bool (N, classes).

    Example:
        >>> truth_tensor([1, 2], 3), truth_tensor([(0, 2), ()], 3)
        (tensor([1, 2]), tensor([[ True, False,  True],
                [False, False, False]]))
    """
    sets = [each for each in truths if isinstance(each, tuple)]
    if not sets:
        return torch.tensor(truths, dtype=torch.int64)
    found = torch.zeros(len(sets), classes, dtype=torch.bool)
    for row, labels in zip(found, sets, strict=True):
        row[torch.tensor(labels, dtype=torch.int64)] = True
    return found


def truths_of(labels: Tensor) -> list[Any]:
    """The reverse of :func:`truth_tensor`.

    Example:
        >>> truths_of(torch.tensor([1, 2])), truths_of(torch.tensor([[True, False, True]]))
        ([1, 2], [(0, 2)])
    """
    return labels.tolist() if labels.ndim == 1 else [tuple(row.nonzero().flatten().tolist()) for row in labels]


def labels_for(labels: Tensor, classes: int, model: str, *, several: bool) -> Tensor:
    """Convert labels to the form that suits a model.

    Args:
        labels: Labels int64 (N,), or which each image has, bool (N, labels).
        classes: Number of classes of the model.
        model: Name of the model.
        several: Whether the model is multi-label. An image with one class then has only that label.

    Returns:
        int64 (N,), or bool (N, classes).

    Raises:
        ValueError: ``expected ..., got ...``

    Example:
        >>> labels_for(torch.tensor([1]), 3, "net", several=True)
        tensor([[False,  True, False]])
    """
    if labels.ndim == 1:
        check_classes(labels, classes, model)
        return torch.nn.functional.one_hot(labels, classes).bool() if several else labels
    if not several:
        got = f"rows of {labels.shape[1]} values that are not one-hot"
        raise ValueError(f"expected labels (N,) or one-hot (N, classes), got {got}: labels.argmax(1) if that is meant")
    if labels.shape[1] != classes:
        raise ValueError(f"expected rows of {classes} labels, those of {model}, got {labels.shape[1]}")
    return labels


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
        ValueError: expected labels from 0 to 4, the classes of net, got 7 for image 1: are they from the same data set?
    """
    wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten()
    if not len(wrong):
        return
    row = int(wrong[0])
    low, high = int(labels.min()), int(labels.max())
    hint = "are they from the same data set?"
    if low < 0:
        hint = "leave out images without a class"
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
        hint = "give each class as its index in the model's output, counted from 0"
        raise ValueError(f"expected labels as whole numbers, got {_short(some)}: {hint}") from error


def _hot(labels: Tensor) -> Tensor:
    """The class of each one-hot row (N, classes); other rows of 0 and 1 become booleans."""
    hot = bool(((labels == 0) | (labels == 1)).all())
    if hot and not bool((labels.long().sum(1) == 1).all()):
        return labels.bool()
    if not hot:
        got = f"rows of {labels.shape[1]} values that are not one-hot"
        raise ValueError(f"expected labels (N,) or one-hot (N, classes), got {got}: labels.argmax(1) if that is meant")
    return labels.long().argmax(1)


def _shown(labels: Tensor) -> str:
    return f"{_short(labels.flatten()[0].item())} among them" if labels.numel() else f"type {labels.dtype}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Check the labels of a user's own data set before any work: one mistake in them ruins every number."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from advbench.errors import UserError
from advbench.sanitize import display_name


class TrueLabels(NamedTuple):
    """The labels of all images of a data set."""

    numbers: tuple[int, ...]
    """Class of each image, as a number in `classes`, or of the model's classes if there are no names."""
    classes: tuple[str, ...] | None
    """Names of the classes in the order of the numbers; None: there are none."""


def true_labels(given: Any, count: int, where: str, classes: Sequence[str] | None = None) -> TrueLabels:
    """Parse the labels of a file.

    This is stricter than :func:`advbench.datasets.labels.as_labels`, which takes labels from a program: floats in a
    file are more often regression targets than classes, and are refused even if they are whole. Labels below 0, which
    mark images without one, are refused as well.

    Args:
        given: Integers (N,) or (N, 1), one-hot rows (N, C) of any dtype, or names of classes (N,).
        count: Number of images N.
        where: Origin of the labels in messages, such as "column label of val.parquet".
        classes: Names of the classes, if the file states them.

    Returns:
        The labels. Names become numbers in sorted order.

    Raises:
        UserError: There are no images, the number of labels is wrong, labels are of another kind or outside the
            classes, or all labels are equal.

    Example:
        >>> true_labels([[0, 1], [1, 0]], 2, "y.npy").numbers
        (1, 0)
        >>> true_labels(["dog", "cat"], 2, "labels.csv")
        TrueLabels(numbers=(1, 0), classes=('cat', 'dog'))
    """
    labels = _array(given, where)
    if not count:
        raise UserError(f"{where}: there are no images", hint="name a data set with at least two labelled images")
    if not labels.ndim or len(labels) != count:
        shape = f"{len(labels):,} labels" if labels.ndim == 1 else f"shape {labels.shape}"
        raise UserError(f"{where}: expected one label for each of {count:,} images, got {shape}")
    if labels.dtype.kind in "US":
        return _named(labels.reshape(-1).astype(str).tolist(), count, where, classes)
    numbers = _numbers(labels, count, where)
    _check(numbers, where, classes)
    return TrueLabels(tuple(numbers.tolist()), None if classes is None else tuple(classes))


def _array(given: Any, where: str) -> NDArray[Any]:
    incomplete = isinstance(given, list) and any(label is None for label in given)
    try:
        # As objects, because numpy makes no array from one-hot rows with gaps.
        labels = np.array(given, dtype=object) if incomplete else np.asarray(given)
    except ValueError:
        raise UserError(f"{where}: the labels are lists of several lengths", hint=_ONE_EACH) from None
    if labels.dtype.kind == "O":
        missing = [row for row, label in enumerate(labels) if label is None]
        if missing:
            few = (
                f"image {missing[0]} and {len(missing) - 1:,} more have"
                if len(missing) > 1
                else f"image {missing[0]} has"
            )
            raise UserError(f"{where}: {few} no label", hint=_UNLABELLED)
        got = display_name(repr(labels[0]), limit=60) if len(labels) else "objects"
        raise UserError(f"{where}: expected labels as whole numbers, got {got}", hint=_ONE_EACH)
    if labels.dtype.kind not in "biufUS":
        raise UserError(f"{where}: expected labels as whole numbers, got {labels.dtype}", hint=_ONE_EACH)
    return labels


_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]*)?")
"""A number written as text, which is not the name of a class."""
_ONE_EACH = "give each image one class, as a number counted from 0 or as a name"
_UNLABELLED = "test splits are often published without labels: name the validation split, or leave these images out"


def _numbers(labels: NDArray[Any], count: int, where: str) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] > 1:
        hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        if not hot:
            got = f"rows of {labels.shape[1]} values that are not one-hot"
            raise UserError(f"{where}: expected one label for each image, got {got}", hint=_ONE_EACH)
        classes: NDArray[np.int64] = labels.argmax(axis=1).astype(np.int64)
        return classes
    if labels.size != count:
        raise UserError(f"{where}: expected one label for each image, got shape {labels.shape}", hint=_ONE_EACH)
    if labels.dtype.kind == "f":
        got = f"floats such as {labels.reshape(-1)[0]:g}"
        hint = "save them as integers if they are classes: labels.astype('int64')"
        raise UserError(f"{where}: expected labels as whole numbers or one-hot rows, got {got}", hint=hint)
    if labels.dtype.kind == "u" and labels.max() > np.iinfo(np.int64).max:
        raise UserError(f"{where}: expected labels as numbers of classes, got {labels.max()}", hint=_ONE_EACH)
    return labels.reshape(count).astype(np.int64)


def _named(names: list[str], count: int, where: str, classes: Sequence[str] | None) -> TrueLabels:
    """Labels that are names; numbers written as text count as numbers."""
    if len(names) != count:
        raise UserError(f"{where}: expected one label for each image, got several", hint=_ONE_EACH)
    if not set(names) <= set(classes or ()) and all(map(_NUMBER.fullmatch, names)):
        written = np.array([float(name) for name in names])
        numbers = _numbers(written if any("." in name for name in names) else written.astype(np.int64), count, where)
        _check(numbers, where, classes)
        return TrueLabels(tuple(numbers.tolist()), None if classes is None else tuple(classes))
    if empty := [row for row, name in enumerate(names) if not name.strip()]:
        raise UserError(f"{where}: the label of image {empty[0]} is empty", hint=_UNLABELLED)
    known = tuple(classes or sorted(set(names)))
    place = {name: number for number, name in enumerate(known)}
    if other := next((name for name in names if name not in place), None):
        raise UserError(f"{where}: the label '{display_name(other)}' is not one of the {len(known)} classes")
    numbers = np.array([place[name] for name in names])
    _check(numbers, where, known)
    return TrueLabels(tuple(numbers.tolist()), known)


def _check(numbers: NDArray[np.int64], where: str, classes: Sequence[str] | None) -> None:
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0:
        row = int((numbers < 0).argmax())
        rest = int((numbers < 0).sum())
        few = f"image {row} has" if rest == 1 else f"image {row} and {rest - 1:,} more have"
        raise UserError(f"{where}: {few} the label {numbers[row]}, which is not a class", hint=_UNLABELLED)
    if classes is not None and high >= len(classes):
        message = f"{where}: expected labels from 0 to {len(classes) - 1}, got {high}"
        raise UserError(message, hint="are they counted from 1? labels - 1" if high == len(classes) and low else "")
    if low == high and len(numbers) > 1:
        message = f"{where}: all {len(numbers):,} images have the label {low}"
        raise UserError(message, hint="a data set needs at least two classes: are these the right labels?")

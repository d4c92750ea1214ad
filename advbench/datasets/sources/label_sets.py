"""Parse the labels of images that may have several, or none, in the forms in which they are stored.

Supported are rows of 0 and 1 (or -1 and 1) with an entry for each label, columns of those, lists of labels, and texts
in which `|` or `;` separates labels. If every image has one label, it is read as its class: whether it is one of
several labels is only known once there is a model.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from advbench.datasets.sources.true_labels import TrueLabels, true_labels
from advbench.errors import UserError
from advbench.sanitize import display_name

BETWEEN = re.compile(r"[|;]")
"""Separators between the labels of an image in a text."""
_HOT = {"0": 0, "1": 1, "-1": -1, "false": 0, "true": 1, "0.0": 0, "1.0": 1, "-1.0": -1}
"""Values that say in a column whether a label applies: 1 versus 0, or versus -1."""
_UNSURE = "-1 together with 0 is unclear: leave out images with unknown labels, or write only 0 and 1"
_WRITTEN = re.compile(r"[0-9]{1,9}")


class Truth(NamedTuple):
    """The truth about the images of a data set; its fields are those of `Dataset`."""

    labels: tuple[int, ...] | None
    """Class of each image; None for images with several labels."""
    classes: tuple[str, ...] | None
    """Names of the classes in the order of their numbers; None: there are none."""
    label_sets: tuple[tuple[int, ...], ...] | None = None
    """Labels of each image, ascending; None for images with one class each."""
    width: int | None = None
    """Number of labels that `label_sets` decides about; None: a label that is not named does not apply."""

    @classmethod
    def of_classes(cls, found: TrueLabels) -> "Truth":
        """The truth for images with one class each."""
        return cls(found.numbers, found.classes)


def truth_of(given: Any, count: int, where: str, classes: Sequence[str] | None = None) -> Truth:
    """Parse the labels of a file: one class per image, or several labels.

    Args:
        given: Labels as :func:`advbench.datasets.sources.true_labels.true_labels` accepts them; or rows of 0 and 1 (N,
            C) of any dtype; or a list of labels for each image, numbers or names; or texts such as "cat|dog".
        count: Number of images N.
        where: Origin of the labels in messages.
        classes: Names of the classes, if the file states them.

    Raises:
        UserError: As for :func:`advbench.datasets.sources.true_labels.true_labels`; or no image has any label.

    Example:
        >>> truth_of([[0, 1, 1], [1, 0, 0]], 2, "y.npy").label_sets
        ((1, 2), (0,))
        >>> truth_of([["dog", "cat"], []], 2, "a.parquet")
        Truth(labels=None, classes=('cat', 'dog'), label_sets=((0, 1), ()), width=None)
        >>> truth_of(["dog", "cat"], 2, "labels.csv").labels
        (1, 0)
    """
    if isinstance(given, list) and given and all(isinstance(each, list | tuple | np.ndarray) for each in given):
        rows = _same_length(given)
        return (
            _listed([list(each) for each in given], where, classes)
            if rows is None
            else _rows(rows, count, where, classes)
        )
    if isinstance(given, list) and any(isinstance(each, str) and BETWEEN.search(each) for each in given):
        return _listed([split(each or "") for each in given], where, classes)
    values = given if isinstance(given, list) else np.asarray(given)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return _rows(values, count, where, classes)
    return Truth.of_classes(true_labels(given, count, where, classes))


def split(text: str) -> list[str]:
    """Split a text into labels.

    Example:
        >>> split("cat| dog;"), split("")
        (['cat', 'dog'], [])
    """
    return [part for each in BETWEEN.split(text) if (part := each.strip())]


def truth_in_columns(columns: Mapping[str, Sequence[Any]], where: str) -> Truth:
    """Parse columns that each say whether a label applies.

    Args:
        columns: Name of each label -> 0 or 1 (or -1 and 1, or booleans) for each image, as numbers or as texts.
        where: Origin of the columns in messages.

    Raises:
        UserError: A column holds something else, or no image has any label.

    Example:
        >>> truth_in_columns({"cat": ["0", "1"], "dog": ["1", "1"]}, "labels.csv")
        Truth(labels=None, classes=('cat', 'dog'), label_sets=((1,), (0, 1)), width=2)
    """
    known = [[_HOT.get(_plain(value)) for value in values] for values in columns.values()]
    for name, values in zip(columns, known, strict=True):
        if None in values:
            row = values.index(None)
            got = display_name(repr(columns[name][row]), limit=40)
            message = f"{where}: expected 0 or 1 in the column '{display_name(name)}', got {got} in row {row}"
            raise UserError(message, hint='name the columns of the labels with label_column = "cat,dog"')
    rows = np.array(known).T
    if {0, -1} <= set(np.unique(rows).tolist()):
        raise UserError(f"{where}: the columns of labels hold 0, 1 and -1", hint=_UNSURE)
    if bool(((rows == 1).sum(1) == 1).all()):
        return Truth(tuple((rows == 1).argmax(1).tolist()), tuple(columns))
    return _hot(rows == 1, where, tuple(columns))


def is_hot(value: Any) -> bool:
    """Whether a value in a file may mean that a label applies, or does not.

    Example:
        >>> is_hot("1"), is_hot(-1), is_hot("cat")
        (True, True, False)
    """
    return _plain(value) in _HOT


def _plain(value: Any) -> str:
    return str(value).strip().lower()


def _same_length(given: Sequence[Any]) -> NDArray[Any] | None:
    """Lists of equal length that contain only 0, 1 and -1, as rows; None if they are lists of labels."""
    lengths = {len(each) for each in given}
    if len(lengths) > 1 or min(lengths) < 2:
        return None
    flat = [value for each in given for value in each]
    if not all(isinstance(value, bool | int | float | np.number | np.bool_) and value in (0, 1, -1) for value in flat):
        return None
    return np.array([list(each) for each in given])


def _rows(values: NDArray[Any], count: int, where: str, classes: Sequence[str] | None) -> Truth:
    """Rows with an entry for each class: one-hot, or with several labels."""
    found = set(np.unique(values).tolist()) if values.dtype.kind in "biuf" else {None}
    hot = values.shape[1] > 1 and (found <= {0, 1} or found <= {-1, 1})
    if {0, 1, -1} == found:
        raise UserError(f"{where}: the rows hold 0, 1 and -1", hint=_UNSURE)
    if not hot or len(values) != count or bool(((values == 1).sum(1) == 1).all()):
        return Truth.of_classes(
            true_labels(np.where(values == -1, 0, values) if hot else values, count, where, classes)
        )
    if classes is not None and len(classes) != values.shape[1]:
        raise UserError(f"{where}: expected an entry for each of {len(classes)} labels, got {values.shape[1]}")
    return _hot(values == 1, where, None if classes is None else tuple(classes))


def _hot(applies: NDArray[np.bool_], where: str, classes: tuple[str, ...] | None) -> Truth:
    _refuse_none(bool(applies.any()), where)
    sets = tuple(tuple(np.flatnonzero(row).tolist()) for row in applies)
    return Truth(None, classes, sets, applies.shape[1])


def _listed(given: Sequence[Sequence[Any]], where: str, classes: Sequence[str] | None) -> Truth:
    """A list of labels for each image: numbers, or names, in any order."""
    flat = [label for labels in given for label in labels]
    _refuse_none(bool(flat), where)
    whole = all(isinstance(label, int | np.integer) and not isinstance(label, bool) for label in flat)
    texts = all(isinstance(label, str) for label in flat)
    written = texts and not set(flat) <= set(classes or ()) and all(map(_WRITTEN.fullmatch, flat))
    if whole or written:
        numbers = [[int(label) for label in labels] for labels in given]
    elif texts:
        known = tuple(classes or sorted(set(flat)))
        place = {name: number for number, name in enumerate(known)}
        if other := next((name for name in flat if name not in place), None):
            raise UserError(f"{where}: the label '{display_name(other)}' is not one of the {len(known)} labels")
        return _sets([[place[name] for name in labels] for labels in given], known)
    else:
        got = next(label for label in flat if not isinstance(label, int | str))
        raise UserError(f"{where}: expected lists of labels, numbers or names, got {display_name(repr(got), limit=40)}")
    low, high = min(each for labels in numbers for each in labels), max(each for labels in numbers for each in labels)
    if low < 0 or (classes is not None and high >= len(classes)):
        most = f" to {len(classes) - 1}" if classes else ""
        raise UserError(f"{where}: expected labels from 0{most}, got {low if low < 0 else high}")
    return _sets(numbers, None if classes is None else tuple(classes))


def _sets(numbers: Sequence[Sequence[int]], classes: tuple[str, ...] | None) -> Truth:
    return Truth(None, classes, tuple(tuple(sorted(set(labels))) for labels in numbers))


def _refuse_none(some: bool, where: str) -> None:
    if not some:
        raise UserError(f"{where}: no image has any label", hint="are these the right columns?")

"""Encodes sets of labels as numbers, so that multi-label predictions compare like classes. Does not import torch.

For a multi-label model, a row has sets of labels instead of classes. Everything computed from classes works for sets
too, if each set gets a number: an image is then correct if all its labels are right. For a goal about a single label
there are just two values: whether that label is present.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advbench.catalog.cards import LABEL_GOALS

Ints = NDArray[np.int64]
"""Array of integers."""
SETS = {"label": "labels", "clean_class": "clean_labels", "adv_class": "adv_labels"}
"""Column of classes -> the column of label sets that replaces it."""
_ABOUT_ONE = ("label-off", "label-on")


class Coded(NamedTuple):
    """Rows whose class columns hold numbers of label sets for multi-label models."""

    frame: pd.DataFrame
    """Rows of the run."""
    sets: tuple[tuple[int, ...], ...]
    """The set with each number; empty if all models have one class per image."""


def coded(frame: pd.DataFrame) -> Coded:
    """Number every set of labels in some rows, and put the number in place of the class.

    Args:
        frame: Rows of a run.

    Example:
        >>> rows = {"labels": [(0, 2), (1,)], "clean_labels": [(0, 2), ()], "adv_labels": [(2,), None]}
        >>> found = coded(pd.DataFrame({"label": None, "clean_class": None, "adv_class": None} | rows))
        >>> found.frame["label"].tolist(), found.frame["clean_class"].tolist(), found.sets
        ([0.0, 1.0], [0.0, 2.0], ((0, 2), (1,), (), (2,)))
    """
    if "clean_labels" not in frame or not frame["clean_labels"].notna().any():
        return Coded(frame, ())
    place: dict[tuple[int, ...], int] = {}
    numbers = {}
    for classes, sets in SETS.items():
        found = [_number(value, place) for value in frame[sets].astype(object)]
        column = frame[classes].to_numpy(float, na_value=np.nan)
        numbers[classes] = np.where([each is None for each in found], column, np.array(found, float))
    return Coded(frame.assign(**numbers), tuple(place))


def _number(value: object, place: dict[tuple[int, ...], int]) -> int | None:
    labels = as_set(value)
    return None if labels is None else place.setdefault(labels, len(place))


def as_set(value: object) -> tuple[int, ...] | None:
    """The labels in a cell of a frame; None if there are none.

    Example:
        >>> as_set(np.array([1, 4])), as_set(None), as_set(float("nan"))
        ((1, 4), None, None)
    """
    return tuple(map(int, value)) if isinstance(value, list | tuple | np.ndarray) else None


def is_several(goal: str) -> bool:
    """Whether a goal is a multi-label goal.

    Example:
        >>> is_several("label-off:boat"), is_several("untargeted")
        (True, False)
    """
    return goal.partition(":")[0] in LABEL_GOALS


def label_of(goal: str, frame: pd.DataFrame) -> int | None:
    """The single label that a goal is about; None for other goals, or if the rows do not say.

    Args:
        goal: Goal, as written on the command line.
        frame: Rows of that goal.
    """
    if goal.partition(":")[0] not in _ABOUT_ONE or "goal_labels" not in frame:
        return None
    named = (as_set(value) for value in frame["goal_labels"].dropna().astype(object))
    return next((labels[0] for labels in named if labels), None)


def narrowed(numbers: Ints, sets: Sequence[tuple[int, ...]], label: int) -> Ints:
    """Replace numbers of sets by whether a label is in them: 1 or 0; -1 is kept.

    Args:
        numbers: Numbers of sets (N,); -1 for none.
        sets: The set with each number.
        label: Number of the label.

    Example:
        >>> narrowed(np.array([0, 1, -1]), [(2,), (3, 4)], label=4)
        array([ 0,  1, -1])
    """
    has = np.array([label in labels for labels in sets] + [False], np.int64)
    return np.where(numbers < 0, -1, has[numbers])

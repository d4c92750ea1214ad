"""Whether a recorded success agrees with the recorded predictions, for every goal. Does not import torch."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from advbench.analysis.arrays import Bools, Ints, classes_in
from advbench.analysis.labels.codes import as_set, coded
from advbench.catalog.registry import class_numbers
from advbench.config.goals import parse_goal
from advbench.errors import UserError
from advbench.records.record import OK

_NONE = -1


def contradicted(rows: pd.DataFrame, classes: Sequence[str]) -> Bools:
    """Rows whose verdict and predictions disagree.

    The recorded classes are ranked as by `torch.argmax`, ties included, and so is `flipped`. A tie never meets a goal,
    although one of the two classes is recorded as the first, so the classes are conclusive only for successes.

    Args:
        rows: Rows of one data set (n).
        classes: Names of the data set's classes; a goal that names another class is not checked.

    Returns:
        bool (n,).
    """
    rows = coded(rows).frame
    clean, adv, label = (classes_in(rows[name]) for name in ("clean_class", "adv_class", "label"))
    met, flipped = (rows[name].fillna(False).to_numpy(bool) for name in ("met", "flipped"))
    known = (rows["status"] == OK).to_numpy(bool)
    wrong: Bools = known & (flipped != (adv != clean))
    goals = rows["goal"].astype(object).to_numpy()
    for text in pd.unique(goals):
        here = np.flatnonzero(known & met & (goals == text))
        truth = np.where(label == _NONE, clean, label)[here]
        wrong[here] |= ~_holds(str(text), rows.iloc[here], truth, classes)
    return wrong


def _holds(text: str, rows: pd.DataFrame, truth: Ints, classes: Sequence[str]) -> Bools:
    """Which rows have predictions that meet a goal (n,); all of them if the rows cannot decide it."""
    unchecked = np.ones(len(rows), bool)
    try:
        goal = parse_goal(text)
        if goal.several:
            return _has_labels(goal.kind, rows, truth)
        wanted = [_index(name, classes) for name in goal.classes]
    except (UserError, ValueError):
        return unchecked
    depth = max(goal.k, len(goal.classes))
    after = _first(rows["adv_topk"], depth)
    after[:, 0] = classes_in(rows["adv_class"])
    match goal.kind:
        case "untargeted" | "label-out-of-topk":
            found = (after != truth[:, np.newaxis]).all(1)
        case "targeted" | "ordered-topk":
            found = (after == np.array(wanted)).all(1)
        case _:
            before = _first(rows["clean_topk"], depth)
            found = (after[:, :, np.newaxis] != before[:, np.newaxis, :]).all((1, 2))
    told: Bools = found | (after == _NONE).any(1)
    return told


def _has_labels(kind: str, rows: pd.DataFrame, truth: Ints) -> Bools:
    """Which rows have predicted labels that meet a multi-label goal (n,)."""
    named, after = ([as_set(value) for value in rows[name].astype(object)] for name in ("goal_labels", "adv_labels"))
    if kind == "any-label-flips":
        flips: Bools = classes_in(rows["adv_class"]) != truth
        return flips
    pairs = zip(named, after, strict=True)
    return np.array([a is None or b is None or _meets(kind, set(a), set(b)) for a, b in pairs], dtype=np.bool_)


def _meets(kind: str, named: set[int], after: set[int]) -> bool:
    """Whether predicted labels meet a goal that names labels."""
    match kind:
        case "label-off":
            return not named & after
        case "label-on":
            return named <= after
    return named == after


def _index(name: str, classes: Sequence[str]) -> int:
    """Index of a class, as in `Classifier.class_index`; an unknown name is read as a number."""
    found = class_numbers(name, classes)
    return found[0] if found else int(name)


def _first(column: pd.Series, count: int) -> Ints:
    """The first classes of each row (n, count); `_NONE` if fewer were recorded."""
    found = np.full((len(column), count), _NONE)
    for row, classes in enumerate(column):
        if isinstance(classes, list | tuple | np.ndarray):
            found[row, : min(count, len(classes))] = list(classes)[:count]
    return found

"""The columns of a run's frame as plain arrays, with the index of each row's image. Does not import torch."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advbench.analysis.labels.codes import SETS, narrowed
from advbench.records.record import FOOLED, LEFT_OUT, OK, PROOF

KEYS = ("model", "dataset", "goal", "norm", "attack", "params")
"""Columns with the same value in all rows of an attack, whatever its eps."""
COSTS = ("forwards", "backwards", "seconds")
"""Columns whose values are summed."""
ALWAYS = 0.06
"""Share of the passes of a random model, one of twenty, that may disagree."""
Bools = NDArray[np.bool_]
"""Array of booleans."""
Ints = NDArray[np.int64]
"""Array of integers."""
Floats = NDArray[np.float64]
"""Array of floating-point numbers."""


class Block(NamedTuple):
    """The rows of one attack at one eps."""

    threat: tuple[str, str, str, str]
    """Model, data set, goal and norm."""
    attack: str
    """Registry name of the attack."""
    params: str
    """Parameters of the attack, as JSON."""
    eps: float | None
    """Budget, image units; None: the attack looked for the smallest perturbation."""
    rows: Ints
    """Positions of the rows in the columns."""


class Columns:
    """The columns of one model and data set.

    Args:
        frame: Rows of a run.
        images: Index of the image of each row.
        count: Number of images.
    """

    def __init__(self, frame: pd.DataFrame, images: Ints, count: int) -> None:
        self.frame, self.images, self.count = frame, images, count
        self.ok = (frame["status"] == OK).to_numpy(bool)
        self.aside = (frame["status"] == LEFT_OUT).to_numpy(bool)
        self.met = self.ok & true_in(frame["met"])
        self.wavering = self.ok & _between(frame)
        self.flipped = self.ok & true_in(frame["flipped"])
        self.adv_class = classes_in(frame["adv_class"])
        self.tried = (
            self.ok
            & (frame["attack"] == PROOF).to_numpy(bool)
            & (_given(frame, "proof_method") != FOOLED).to_numpy(bool)
        )
        self.proved = self.tried & true_in(_given(frame, "proved"))
        self.costs = {name: frame[name].to_numpy(float, na_value=np.nan) for name in COSTS}

    def about(self, label: int, sets: Sequence[tuple[int, ...]]) -> Self:
        """Replace classes that are numbers of label sets by whether one label is in them.

        Args:
            label: Number of the label.
            sets: The label set with each number.
        """
        other = copy(self)
        other.frame = self.frame.assign(**{name: narrowed(classes_in(self.frame[name]), sets, label) for name in SETS})
        other.adv_class = classes_in(other.frame["adv_class"])
        return other

    def first(self, name: str) -> Ints:
        """A column of classes, by image: a value from any row of the image; -1 for none."""
        values = np.full(self.count, -1)
        np.maximum.at(values, self.images, classes_in(self.frame[name]))
        return values

    def radius(self, norm: str) -> Floats:
        """Perturbation size of each row; infinite if the goal was not met, or not in all passes of the judge."""
        certain = self.met & ~self.wavering
        if norm not in self.frame:
            return np.where(certain, 0.0, np.inf)
        sizes = self.frame[norm].to_numpy(float, na_value=np.inf)
        return np.where(certain, np.nan_to_num(sizes, nan=np.inf), np.inf)

    def counted(self, blocks: Sequence[Block]) -> Bools:
        """The images that some blocks cover: all except those left out in any of their rows."""
        found = np.ones(self.count, bool)
        for block in blocks:
            found[self.images[block.rows[self.aside[block.rows]]]] = False
        return found

    def only(self, images: Bools, blocks: Sequence[Block]) -> tuple[Self, list[Block]]:
        """These columns and blocks, restricted to some of the images."""
        other = copy(self)
        other.images, other.count = np.cumsum(images)[self.images] - 1, int(images.sum())
        return other, [block._replace(rows=block.rows[images[self.images[block.rows]]]) for block in blocks]

    def blocks(self) -> Iterator[Block]:
        """Yield the rows of each attack at each eps, in the order of the first appearance of their common values."""
        factors = [pd.factorize(self.frame[name]) for name in KEYS]
        eps, budgets = pd.factorize(self.frame["eps"], use_na_sentinel=False)
        codes = [*(code for code, _ in factors), eps]
        packed = np.ravel_multi_index(codes, [int(code.max()) + 1 for code in codes])
        order = np.argsort(packed, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(packed[order])) + 1):
            names = [str(values[code[rows[0]]]) for code, values in factors]
            budget = budgets[eps[rows[0]]]
            threat = (names[0], names[1], names[2], names[3])
            yield Block(threat, names[4], names[5], None if pd.isna(budget) else float(budget), rows)


def _given(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column that may be missing in a frame from an earlier version."""
    return frame[name].astype(object) if name in frame else pd.Series(None, frame.index, dtype=object)


def true_in(column: pd.Series) -> Bools:
    """Where a column of True, False and None is True."""
    found: Bools = (column == True).fillna(False).to_numpy(bool)  # noqa: E712 - the column may hold None
    return found


def _between(frame: pd.DataFrame) -> Bools:
    """Where a random model was fooled in some passes of the judge but not in others."""
    if "met_share" not in frame:  # a frame older than the column
        return np.zeros(len(frame), bool)
    share = frame["met_share"].to_numpy(float, na_value=0.0)
    found: Bools = (share > ALWAYS) & (share < 1 - ALWAYS)
    return found


def classes_in(column: pd.Series) -> Ints:
    """A column of classes; -1 for none."""
    return column.to_numpy(float, na_value=-1.0).astype(np.int64)

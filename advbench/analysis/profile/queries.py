"""Success of gradient-free attacks against the number of queries, from a single run. Does not import torch."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from advbench.analysis.arrays import true_in
from advbench.analysis.profile.threat_rows import kind_of
from advbench.analysis.statistics import Proportion
from advbench.analysis.transfer.names import made_on
from advbench.catalog.attacks import ATTACKS
from advbench.records.record import OK

STEPS = (1, 2, 5)
"""Query counts of the curve's points, times powers of ten; the last point is the largest number spent."""


class QueryPoint(NamedTuple):
    """Success within a number of queries."""

    queries: int
    """Number of queries."""
    success: Proportion
    """Share of the images that are correct when clean that were fooled by then."""


class QueryCurve(NamedTuple):
    """Success of one attack against its queries."""

    attack: str
    """Registry name of the attack."""
    goal: str
    """Goal, which defines what counts as fooled."""
    norm: str
    """Norm in which perturbations are measured."""
    eps: float
    """Budget, image units."""
    points: tuple[QueryPoint, ...]
    """Points of the curve, by ascending number of queries."""

    def as_dict(self) -> dict[str, Any]:
        """The curve as plain values, for JSON."""
        points = [{"queries": point.queries, **point.success.as_dict()} for point in self.points]
        return {"attack": self.attack, "goal": self.goal, "norm": self.norm, "eps": self.eps, "points": points}


def query_curves(frame: pd.DataFrame, model: str, dataset: str) -> Iterator[QueryCurve]:
    """The curves of the gradient-free attacks that stop at the first success, which are those with a budget.

    Args:
        frame: Rows of a run.
        model: Label of the model.
        dataset: Label of the data set.

    Example:
        >>> row = {"model": "net", "dataset": "toy", "attack": "square", "params": "{}", "goal": "untargeted",
        ...        "norm": "linf", "eps": 0.1, "status": "ok", "met": True, "forwards": 7.0, "label": 1,
        ...        "clean_class": 1, "sample_id": "a"}
        >>> other = row | {"sample_id": "b", "met": False, "forwards": 50.0}
        >>> (curve,) = query_curves(pd.DataFrame([row, other]), "net", "toy")
        >>> [(point.queries, point.success.k) for point in curve.points]
        [(1, 0), (2, 0), (5, 0), (10, 1), (20, 1), (50, 1)]
    """
    every = frame[(frame["model"] == model) & (frame["dataset"] == dataset)]
    own = every[_right_when_clean(every) & every["eps"].notna()]
    names = [str(name) for name in own["attack"].dropna().unique()]
    counted = [
        name
        for name in names
        if name in ATTACKS and ATTACKS[name].kind == "budget" and kind_of(name, dataset) == "queries"
    ]
    itself = [params for params in own["params"].dropna().unique() if made_on(str(params)) is None]
    rows = own[own["attack"].isin(counted) & own["params"].isin(itself)]
    groups = rows.groupby(["attack", "params", "goal", "norm", "eps"], sort=False, observed=True)
    for _, each in groups:
        first = each.iloc[0]
        if points := _points(each):
            attack, goal, norm = (str(first[name]) for name in ("attack", "goal", "norm"))
            yield QueryCurve(attack, goal, norm, float(first["eps"]), points)


def _right_when_clean(rows: pd.DataFrame) -> pd.Series:
    """Which rows are about images that are correct when clean; the row of a failed attack may not say so itself."""
    images = rows["sample_id"].astype(str)
    label, clean = (rows[name].astype(float).groupby(images).transform("max") for name in ("label", "clean_class"))
    return clean.notna() & (label.isna() | (label == clean))


def _points(rows: pd.DataFrame) -> tuple[QueryPoint, ...]:
    """The points of one attack, from its rows about images that are correct when clean."""
    known = (rows["status"] == OK).to_numpy(bool)
    spent = rows["forwards"].to_numpy(float, na_value=np.nan)
    if not known.any():
        return ()
    fooled = known & true_in(rows["met"])
    most = math.ceil(np.nanmax(spent[known]))  # for an attack that does not name the images it queries, this is a mean
    powers = range(len(str(most)))
    counts = sorted({step * 10**power for power in powers for step in STEPS if step * 10**power < most} | {most})
    lost = int((~known).sum())
    return tuple(
        QueryPoint(count, Proportion(int((fooled & (spent <= count)).sum()), len(rows), lost)) for count in counts
    )

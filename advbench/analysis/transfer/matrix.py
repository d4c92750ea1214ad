"""How often candidates made on one model fool another, from the rows of a run. Does not import torch.

Only images that both models classify correctly when clean count: an image that the surrogate gets wrong is not
attacked, and one that the model gets wrong needs no attack. Clean agreement, the share of images for which both predict
the same class, is reported as well.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import pandas as pd

from advbench.analysis.statistics import Proportion
from advbench.analysis.transfer.names import attack_labels, parameters
from advbench.config.models.surrogate import SURROGATE
from advbench.records.record import LEFT_OUT, OK
from advbench.sanitize import one_line


class TransferCell(NamedTuple):
    """Candidates made on one surrogate, judged on one model."""

    success: Proportion
    """Share of the images that both classify correctly when clean on which the goal was met within eps."""
    agreement: Proportion
    """Share of all images for which both predict the same class when clean."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferMatrix:
    """One attack at one eps, for each surrogate and each model."""

    dataset: str
    """Label of the data set."""
    goal: str
    """Goal, as written on the command line."""
    norm: str
    """Norm of the perturbations."""
    eps: float | None
    """Budget, image units; None: no bound."""
    attack: str
    """Name of the attack, with the parameters that distinguish it from other attacks of that name."""
    cells: Mapping[tuple[str, str], TransferCell]
    """(label of the surrogate, label of the model) -> numbers."""
    relative: bool
    """Whether images lack labels, so that "correct" means as the model predicts when clean."""

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def surrogates(self) -> tuple[str, ...]:
        """Labels of the surrogates, in the order of the run."""
        return tuple(dict.fromkeys(source for source, _ in self.cells))

    @property
    def models(self) -> tuple[str, ...]:
        """Labels of the models, in the order of the run."""
        return tuple(dict.fromkeys(target for _, target in self.cells))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        where = {name: getattr(self, name) for name in ("dataset", "goal", "norm", "eps", "attack", "relative")}
        cells = [
            {"from": source, "to": target, "success": cell.success.as_dict(), "agreement": cell.agreement.as_dict()}
            for (source, target), cell in self.cells.items()
        ]
        return {**where, "cells": cells}


def transfer_matrices(frame: pd.DataFrame) -> tuple[TransferMatrix, ...]:
    """A matrix for each data set, goal, norm, attack and eps of a run that has attacks made on surrogates.

    Args:
        frame: Rows of a run; those of other attacks are ignored.

    Example:
        >>> row = {"model": "b", "dataset": "toy", "goal": "untargeted", "norm": "linf", "attack": "bsr", "eps": 0.1,
        ...        "params": '{"surrogate": "a"}', "surrogate": "a", "sample_id": "1", "status": "ok", "label": 3,
        ...        "clean_class": 3, "surrogate_class": 3, "met": True}
        >>> wrong = row | {"sample_id": "2", "surrogate_class": 4, "met": False}
        >>> (found,) = transfer_matrices(pd.DataFrame([row, wrong]))
        >>> print(found.cells["a", "b"].success, "/", found.cells["a", "b"].agreement)
        100.0 % (1/1) [20.7, 100.0] / 50.0 % (1/2) [9.5, 90.5]
    """
    if "params" not in frame or frame.empty:
        return ()
    sources = {params: parameters(str(params)).get(SURROGATE) for params in frame["params"].dropna().unique()}
    made = frame["params"].astype(object).map(sources)
    rows = frame[made.notna() & (frame["status"] != LEFT_OUT)]
    if rows.empty:
        return ()
    rows = rows.assign(source=made[rows.index], without=rows["params"].astype(object).map(_without_surrogate))
    names = list(dict.fromkeys(zip(rows["attack"].astype(str), rows["without"], strict=True)))
    labels = dict(zip(names, attack_labels(names), strict=True))
    found = []
    keys = ["dataset", "goal", "norm", "eps", "attack", "without"]
    for key, own in rows.groupby(keys, sort=False, observed=True, dropna=False):
        dataset, goal, norm, eps, attack, without = cast(tuple[Any, ...], key)
        groups = own.groupby(["source", "model"], sort=False, observed=True)
        matrix = TransferMatrix(
            dataset=str(dataset),
            goal=str(goal),
            norm=str(norm),
            eps=None if pd.isna(eps) else float(eps),
            attack=labels[str(attack), without],
            cells={(str(source), str(model)): _cell(each) for (source, model), each in groups},
            relative=bool(own["label"].isna().any()),
        )
        found.append(matrix)
    return tuple(found)


def _without_surrogate(params: str) -> str:
    return json.dumps({key: value for key, value in parameters(params).items() if key != SURROGATE}, sort_keys=True)


def _cell(rows: pd.DataFrame) -> TransferCell:
    known = rows["status"] == OK
    clean, told = (rows[name].astype(float) for name in ("clean_class", "surrogate_class"))
    truth = rows["label"].astype(float).fillna(clean)
    both = known & (clean == truth) & (told == truth)
    met = both & rows["met"].fillna(False).astype(bool)
    unknown = int((~known).sum())
    return TransferCell(
        success=Proportion(int(met.sum()), int(both.sum()) + unknown, unknown),
        agreement=Proportion(int((known & (clean == told)).sum()), len(rows), unknown),
    )

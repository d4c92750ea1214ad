"""Outcome of each image under every corruption at every severity. Does not import torch."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from advbench.analysis.arrays import Floats
from advbench.analysis.labels.codes import coded
from advbench.analysis.threats import ThreatResults, gather_clean
from advbench.catalog.attacks import CORRUPTION
from advbench.records.record import OK

Wrong = dict[str, dict[int, Floats]]
"""Corruption -> severity -> 1 if an image is misclassified, 0 if not, NaN if unknown (N,)."""


class Corrupted(NamedTuple):
    """The images of one model and data set under corruptions."""

    images: ThreatResults
    """The clean images."""
    wrong: Wrong
    """Which of them are misclassified when corrupted, including those misclassified when clean."""
    params: dict[tuple[str, int], str]
    """Corruption and severity -> all parameters, as JSON."""
    rows: pd.DataFrame
    """The rows of these outcomes."""


def corrupted(frame: pd.DataFrame) -> Iterator[Corrupted]:
    """The images of each model and data set that a run corrupted.

    Args:
        frame: Rows of a run, including those of attacks.
    """
    names = [name for name in frame["attack"].dropna().unique() if str(name).startswith(CORRUPTION)]
    rows = frame[frame["attack"].isin(names)]
    if rows.empty:
        return
    frame = coded(frame).frame
    groups = dict(iter(frame.loc[rows.index].groupby(["model", "dataset"], observed=True)))
    for images in gather_clean(frame):
        where = images.threat.model, images.threat.dataset
        if where in groups:
            yield _corrupted(images, groups[where])


def _corrupted(images: ThreatResults, rows: pd.DataFrame) -> Corrupted:
    found: Wrong = {}
    asked: dict[tuple[str, int], str] = {}
    for (attack, params), own in rows.groupby(["attack", "params"], sort=False, observed=True):
        known = own[own["status"] == OK].drop_duplicates("sample_id").set_index("sample_id")["adv_class"]
        classes = known.astype(float).reindex(images.samples).to_numpy(float)
        name, severity = _kind(str(attack), str(params))
        wrong = np.where(np.isnan(classes), np.nan, (classes != images.truth).astype(float))
        found.setdefault(name, {})[severity] = wrong
        asked[name, severity] = str(params)
    return Corrupted(images, {name: dict(sorted(each.items())) for name, each in found.items()}, asked, rows)


def _kind(attack: str, params: str) -> tuple[str, int]:
    """Name of a corruption, with its constants if specified, and its severity."""
    given = json.loads(params)
    name = attack.removeprefix(CORRUPTION)
    constants = given.get("constants", "auto")
    return (name if constants == "auto" else f"{name} ({constants})"), int(given.get("severity", 0))

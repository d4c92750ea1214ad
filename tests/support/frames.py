"""Frames of runs, made by hand: what a runner would have written, without a model."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from advbench.analysis.metrics import Budgets, Cell
from advbench.analysis.run_analysis import RunAnalysis
from advbench.records.record import COLUMNS, Reason


def row(sample: str = "a", **columns: Any) -> dict[str, Any]:
    """One row: an image of class 0, classified as such, on which PGD failed at 8/255; columns change that.

    ``size`` is short for a goal that was met: it sets ``met``, ``flipped``, ``adv_class`` and the size in the norm.
    """
    base = dict.fromkeys(COLUMNS) | {
        "run_id": "r", "unit_id": "u", "model": "net", "weights_sha256": "w", "dataset": "toy", "sample_id": sample,
        "label": 0, "attack": "pgd", "params": "{}", "goal": "untargeted", "norm": "linf", "eps": 8 / 255, "seed": 0,
        "clean_class": 0, "clean_confidence": 0.9, "adv_class": 0, "adv_confidence": 0.8, "flipped": False,
        "met": False, "forwards": 10.0, "backwards": 9.0, "seconds": 0.5, "status": "ok",
    }  # fmt: skip
    if (size := columns.pop("size", None)) is not None:
        norm = columns.get("norm", "linf")
        columns = {"met": True, "flipped": True, "adv_class": 1, norm: size} | columns
    return base | columns


def unknown(sample: str = "a", **columns: Any) -> dict[str, Any]:
    """One row of an attack that failed on its image."""
    nothing = dict.fromkeys(("adv_class", "adv_confidence", "flipped", "met", "forwards", "backwards", "seconds"))
    failure = {"status": "unknown", "reason": Reason.CRASHED, "error": "RuntimeError: it is too much"}
    return row(sample, **nothing | failure | columns)


def left_out(sample: str = "a", **columns: Any) -> dict[str, Any]:
    """One row of an image that the goal has no meaning for."""
    nothing = dict.fromkeys(("adv_class", "adv_confidence", "flipped", "met", "forwards", "backwards", "seconds"))
    return row(sample, **nothing, status="left out", error="its label is the target", **columns)


def frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Rows as the frame of a run."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def images(sizes: Sequence[float | None], **columns: Any) -> list[dict[str, Any]]:
    """A row for each image s0, s1, ...: the size of its perturbation, or None where the attack found none."""
    return [row(f"s{i}", size=size, **columns) for i, size in enumerate(sizes)]


def many(count: int, *, seed: int = 0, **columns: Any) -> list[dict[str, Any]]:
    """Rows of ``count`` images s0, s1, ... with sizes from a seeded exponential distribution; none above eps."""
    eps = columns.get("eps", 8 / 255)
    sizes = np.random.default_rng(seed).exponential(6 / 255, count)
    return images([None if eps is not None and size > eps else float(size) for size in sizes], **columns)


def cells(data: pd.DataFrame, budgets: Budgets | None = None) -> list[Cell]:
    """The numbers of a run with this frame, as every output of the product gets them."""
    return list(RunAnalysis(frame=data, budgets=budgets).cells)

"""Runs made by hand from rows, as if they had been read from a folder."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from frames import frame

from advbench.runs import Run
from advbench.units import Unit

SUITE = {"name": "made", "models": ["vgg16"], "datasets": ["imagenet-samples"], "attacks": ["pgd"]}
"""A suite that is in order."""
MANIFEST = {
    "format": 1,
    "run_id": "0123456789abcdef",
    "status": "complete",
    "classes": {"toy": ["tiger", "<b>cat</b>", *(f"class {i}" for i in range(2, 10))]},
}
"""What a manifest says at least."""


def a_run(
    rows: Iterable[dict[str, Any]],
    *,
    flags: Sequence[dict[str, Any]] = (),
    missing: Sequence[Unit] = (),
    folder: Path = Path("reports/made"),
    suite: Mapping[str, Any] = SUITE,
) -> Run:
    """A run with these rows; texts are categories, as a run has them."""
    data = frame(rows)
    texts = [name for name in data if pd.api.types.is_string_dtype(data[name]) and data[name].notna().any()]
    return Run(
        folder=folder,
        manifest=MANIFEST | {"suite": dict(suite)},
        plan=tuple(missing),
        frame=data.astype(dict.fromkeys(texts, "category")),
        flags=list(flags),
        missing={unit.unit_id: "not done yet" for unit in missing},
    )


def a_unit(samples: Sequence[str], **fields: Any) -> Unit:
    """A unit of work on these images."""
    usual: dict[str, Any] = {
        "unit_id": "lost", "task": "attack", "model": "net", "dataset": "toy", "attack": "pgd", "goal": "untargeted",
        "norm": "linf", "eps": 8 / 255, "samples": tuple(range(len(samples))), "sample_ids": tuple(samples),
    }  # fmt: skip
    return Unit(**usual | fields)

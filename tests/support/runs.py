"""Runs made by hand from rows, in memory and on disk."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from frames import frame

from advbench.records.atomic import write_atomic
from advbench.records.record import Record
from advbench.records.run_folder import RunFolder
from advbench.records.shards import as_shard
from advbench.records.stored_run import StoredRun
from advbench.records.unit import FORMAT, Unit

SUITE = {"name": "made", "models": ["vgg16"], "datasets": ["imagenet-samples"], "attacks": ["pgd"]}
"""A suite that is in order."""
MANIFEST = {
    "format": FORMAT,
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
) -> StoredRun:
    """A run with these rows; texts are categories, as a run has them."""
    data = frame(rows)
    texts = [name for name in data if pd.api.types.is_string_dtype(data[name]) and data[name].notna().any()]
    return StoredRun(
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


def write_run(folder: Path, rows: Iterable[dict[str, Any]], *, lost: int = 0, **suite: Any) -> Path:
    """The folder of a run with these rows, an attack unit for each attack and eps; the last units may be lost."""
    units: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        units.setdefault(tuple(row[name] for name in _UNIT), []).append(row)
    files, plan = RunFolder(folder), []
    files.write_manifest(MANIFEST | {"suite": SUITE | suite})
    for number, (names, own) in enumerate(units.items()):
        fields = dict(zip(_UNIT, names, strict=True))
        plan.append(a_unit([row["sample_id"] for row in own], unit_id=f"{number:032x}", **fields))
        if number < len(units) - lost:
            records = [Record(**row | {"unit_id": plan[-1].unit_id}) for row in own]
            write_atomic(files.shard(plan[-1].unit_id), as_shard(records, plan[-1].unit_id))
    write_atomic(files.plan, "".join(f"{unit.to_json()}\n" for unit in plan).encode())
    return folder


_UNIT = ("model", "dataset", "attack", "params", "goal", "norm", "eps")

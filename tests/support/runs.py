"""Runs made by hand from rows, in memory and on disk."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from frames import frame
from run_folders import SUITE, make

from advbench.records.record import Record
from advbench.records.run_folder import RunFolder
from advbench.records.stored_run import StoredRun
from advbench.records.unit import FORMAT, Unit

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
    done = {}
    for number, (names, own) in enumerate(units.items()):
        fields = dict(zip(_UNIT, names, strict=True))
        unit = a_unit([row["sample_id"] for row in own], unit_id=f"{number:032x}", **fields)
        done[unit] = [Record(**row | {"unit_id": unit.unit_id}) for row in own]
    undone = list(done)[len(done) - lost :]
    finished = {unit: records for unit, records in done.items() if unit not in undone}
    make(folder, finished, undone, **MANIFEST | {"suite": SUITE | suite})
    return folder


def finished(folder: Path, rows: Iterable[dict[str, Any]], **suite: Any) -> Path:
    """The folder of a run that `advbench resume` takes, and finds nothing left to do in."""
    files = RunFolder(write_run(folder, rows, **suite))
    files.write_manifest(files.read_manifest() | {"identity": {}})
    return folder


_UNIT = ("model", "dataset", "attack", "params", "goal", "norm", "eps")

"""Folders of runs made without running anything: quick to make, and with whatever is wanted in them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from advbench.records.record import OK, UNKNOWN, Reason, Record
from advbench.records.run_folder import RunFolder
from advbench.records.storage.atomic import write_atomic
from advbench.records.storage.shards import as_shard
from advbench.records.unit import FORMAT, Unit, digest

SUITE = {"name": "made", "models": ["vgg16"], "datasets": ["imagenet-samples"], "attacks": ["pgd"]}
"""A suite that is in order."""


def unit(samples: int = 3, **fields: Any) -> Unit:
    """A unit of work on so many images."""
    usual: dict[str, Any] = {
        "task": "attack", "model": "vgg16", "dataset": "imagenet-samples", "attack": "pgd", "goal": "untargeted",
        "norm": "linf", "eps": 2 / 255, "samples": tuple(range(samples)),
    }  # fmt: skip
    usual |= {"sample_ids": tuple(f"{i:016x}" for i in usual["samples"])} | fields
    return Unit(unit_id=digest(usual), **usual)


def records(of: Unit, **fields: Any) -> list[Record]:
    """A row for each image of a unit; fields that are lists have an entry for each."""
    rows = []
    for i, sample_id in enumerate(of.sample_ids):
        usual = {
            "run_id": "r", "unit_id": of.unit_id, "model": of.model, "weights_sha256": "ab", "dataset": of.dataset,
            "sample_id": sample_id, "sample_name": f"image {i}", "label": 0, "attack": of.attack, "goal": of.goal,
            "norm": of.norm, "eps": of.eps, "clean_class": 0, "clean_confidence": 0.75, "adv_class": 1,
            "adv_confidence": 0.5, "clean_topk": (0,), "adv_topk": (1,), "flipped": True, "met": True, "l0": 3.0,
            "l1": 0.25, "l2": 0.125, "linf": 0.0625, "forwards": 8.0, "backwards": 7.0, "seconds": 0.5,
            "survives_8bit": True, "status": OK,
        }  # fmt: skip
        given = {name: value[i] if isinstance(value, list) else value for name, value in fields.items()}
        if given.get("status") == UNKNOWN:
            given = {"reason": Reason.CRASHED} | given
        rows.append(Record(**usual | given))
    return rows


def make(path: Path, done: dict[Unit, list[Record]], undone: Iterable[Unit] = (), **manifest: Any) -> RunFolder:
    """A folder in which some units are done."""
    files = RunFolder(path)
    files.write_manifest({"format": FORMAT, "run_id": "r", "suite": SUITE, "status": "complete"} | manifest)
    write_atomic(files.plan, "".join(f"{each.to_json()}\n" for each in (*done, *undone)).encode())
    for each, rows in done.items():
        write_atomic(files.shard(each.unit_id), as_shard(rows, each.unit_id))
    return files

"""Verifies a run received from somebody else: are its files intact, and do its adversarial images match its rows?"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from advbench.catalog.plugins import load_plugins
from advbench.config.data.paths import paths_from_elsewhere
from advbench.config.goals import parse_goal
from advbench.config.masks import parse_mask
from advbench.config.suite import DatasetSpec
from advbench.config.suite_files import refuse_code
from advbench.datasets.images.ids import content_ids, content_of, sample_id
from advbench.errors import UserError
from advbench.evaluation.batch import labels_of
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.judge import judge
from advbench.evaluation.masks import shared_mask
from advbench.evaluation.predictions import predicted
from advbench.evaluation.recording import Sample
from advbench.models.classifier import Classifier
from advbench.planning.resources import Resources
from advbench.records.run_folder import RunFolder
from advbench.records.storage.checksum import is_intact
from advbench.records.stored_run import StoredRun, read_run
from advbench.records.unit import Unit
from attacks import NORMS, Masked, Norm

BATCH = 16
"""Number of images predicted together."""
RELATIVE, ABSOLUTE = 1e-4, 1e-6
"""Tolerance for sizes: another machine may add in a different order."""


class Verification(NamedTuple):
    """Findings of a verification."""

    units: int
    """Number of attack units whose rows were read."""
    images: int
    """Number of adversarial images that the model classified again."""
    problems: list[str]
    """Problems that were found, a sentence each."""


def verify(folder: str | Path, plugins: tuple[str, ...] = (), *, allow_code: bool = False) -> Verification:
    """Check a run: every file against the digest inside it, and every saved image against the model and its row.

    Args:
        folder: Folder of the run.
        plugins: Plugin modules, as for :func:`advbench.run`.
        allow_code: Whether the code of the user's own models may be run: the folder may come from a stranger.

    Raises:
        UserError: The folder is not that of a run, or a model cannot be loaded or would run code without permission.
    """
    load_plugins(plugins)
    run = read_run(folder)
    if not allow_code:
        refuse_code(run.suite)
    _refuse_strays(run)
    with paths_from_elsewhere(run.suite, run.folder):
        return _verified(run, Resources(run.suite))


def _verified(run: StoredRun, resources: Resources) -> Verification:
    problems = [f"unit {unit_id}: {why}" for unit_id, why in run.missing.items()]
    files, images = RunFolder(run.folder), 0
    rows = {str(key): rows for key, rows in run.frame.groupby("unit_id")}
    problems += [
        f"model {label}: it is not the one that the run was made with"
        for label in sorted({unit.model for unit in run.plan})
        if resources.digest(label) != run.manifest.get("identity", {}).get("models", {}).get(label)
    ]
    for unit in run.plan:
        path = files.adversarials(unit.unit_id)
        if not unit.has_rows or unit.unit_id in run.missing:
            continue
        if not path.exists():
            if run.suite.save == "all" and (lost := _candidates(rows[unit.unit_id])):
                problems.append(f"{path.name}: the file is not there, and had the images of {lost} rows of the unit")
            continue
        content = path.read_bytes()
        if not is_intact(content):
            problems.append(f"{path.name}: the file was truncated or changed")
            continue
        tensors = safetensors.torch.load(content)
        images += len(tensors["rows"])
        norm = _norm_of(unit, run.suite.data(unit.dataset), tensors["x"][0])
        problems += _differences(unit, resources.judged(unit.model, unit.dataset), tensors, rows[unit.unit_id], norm)
    return Verification(len(rows), images, problems)


def _candidates(rows: Any) -> int:
    """Number of rows with a candidate, which a run that saves all images keeps."""
    return int((rows["adv_class"].notna() | rows["adv_labels"].notna()).sum())


def _refuse_strays(run: StoredRun) -> None:
    """Reject a plan with models or data sets that the manifest's suite does not have: one of the files was edited."""
    for kind, specs in (("model", run.suite.every_model), ("dataset", run.suite.datasets)):
        if strays := {getattr(unit, kind) for unit in run.plan} - {spec.label for spec in specs}:
            files = RunFolder(run.folder)
            message = f"{files.plan} and {files.manifest} are not of one run: the suite has no {kind} {min(strays)!r}"
            raise UserError(message, hint="put back the one that was changed, or move the folder away and start again")


def _norm_of(unit: Unit, data: DatasetSpec, x: torch.Tensor) -> Norm:
    """The norm of a unit, with its mask; saliency masks are not recomputed, since rounding may change them."""
    norm, mask = NORMS[unit.norm](), None if data.mask is None else parse_mask(data.mask)
    return norm if mask is None or mask.per_image else Masked(norm, shared_mask(mask, x))


def _differences(
    unit: Unit, model: Classifier, tensors: Mapping[str, torch.Tensor], rows: Any, norm: Norm
) -> Iterator[str]:
    """Describe where the images of a unit do not match its rows."""
    make_goal = goal_maker(parse_goal(unit.goal), model)
    for places in torch.arange(len(tensors["rows"])).split(BATCH):  # type: ignore[no-untyped-call]
        x, x_adv = tensors["x"][places], tensors["x_adv"][places]
        records = [rows.iloc[row] for row in tensors["rows"][places].tolist()]
        samples = [Sample("", "", _whole(record["label"]), _listed(record["labels"])) for record in records]
        clean = tensors["clean_logits"][places]
        goal = make_goal(clean, content_ids(x), labels_of(samples, clean))
        found = judge(model, x, x_adv, goal, norm, unit.eps)
        sizes, column = found.sizes[unit.norm].tolist(), "adv_labels" if model.several else "adv_class"
        answers = [each.answer for each in predicted(found.adv_logits, 1, model.thresholds)]
        for i, record in enumerate(records):
            what = f"unit {unit.unit_id}, {record['sample_name']}"
            if sample_id(x[i]) != content_of(str(record["sample_id"])):
                yield f"{what}: the clean image stored with it is a different one"
            told = _listed(record[column]) if model.several else _whole(record[column])
            if answers[i] != told or bool(found.met[i]) != record["met"]:
                noun = "labels" if model.several else "class"
                said = f"{noun} {told}, goal {'met' if record['met'] else 'not met'}"
                yield f"{what}: the row says {said}; the model says {noun} {answers[i]}, {_met(bool(found.met[i]))}"
            if record["met"] and abs(sizes[i] - record[unit.norm]) > ABSOLUTE + RELATIVE * sizes[i]:
                yield f"{what}: the row says {unit.norm} {record[unit.norm]:.6g}; it is {sizes[i]:.6g}"


def _whole(value: Any) -> int | None:
    """The class in a row; None if there is none."""
    return None if pd.isna(value) else int(value)


def _listed(value: Any) -> tuple[int, ...] | None:
    """The labels in a row; None if there are none."""
    return tuple(map(int, value)) if isinstance(value, list | tuple | np.ndarray) else None


def _met(met: bool) -> str:
    return "goal met" if met else "goal not met"

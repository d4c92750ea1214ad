"""Exports the open images of a run to other verifiers, and imports their results."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import torch

from advbench.catalog.plugins import load_plugins
from advbench.config.data.paths import paths_from_elsewhere
from advbench.config.goals import parse_goal
from advbench.config.suite_files import refuse_code
from advbench.datasets.images.ids import content_ids
from advbench.errors import UserError
from advbench.evaluation.goals import goal_maker
from advbench.planning.resources import Resources
from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.specifications import specification
from advbench.proofs.exchange.onnx_file import as_onnx
from advbench.proofs.exchange.vnnlib import as_vnnlib
from advbench.proofs.network.graph import Network
from advbench.proofs.reading.reader import read_network
from advbench.records.imported import add_imported, property_name
from advbench.records.record import FOOLED, OK, PROOF
from advbench.records.run_folder import RunFolder
from advbench.records.storage.atomic import folder_for_results, write_atomic
from advbench.records.stored_run import StoredRun, read_run
from advbench.records.unit import Unit
from advbench.sanitize import slug
from attacks import NORMS

SECONDS = 300
"""Time limit per image in `instances.csv`, seconds."""
_PROVED, _BROKEN = ("unsat", "holds", "verified"), ("sat", "violated", "falsified")


class Exported(NamedTuple):
    """Summary of an export."""

    properties: int
    """Number of open images."""
    left_out: dict[str, int]
    """Reason for leaving images out -> number of these images."""


class Imported(NamedTuple):
    """Summary of an import from another verifier."""

    proved: int
    """Number of open images of the run that it proved."""
    broken: int
    """Number of open images that it reports as violated; these are not recorded, since an attack has to find them."""
    others: int
    """Number of lines that do not match an open image of the run."""


def export_open(folder: str | Path, out: Path, plugins: tuple[str, ...] = (), *, allow_code: bool = False) -> Exported:
    """Write the open images of a run as VNN-LIB properties, with their networks as ONNX and `instances.csv`.

    Args:
        folder: Folder of a run with proofs.
        out: Folder for the files.
        plugins: User modules with models or data.
        allow_code: Whether the code of the user's own models may be run.

    Raises:
        UserError: The run has no proofs, a model cannot be loaded, or the files cannot be written.
    """
    load_plugins(plugins)
    run = read_run(folder)
    if not allow_code:
        refuse_code(run.suite)
    rows, resources = _open_rows(run), Resources(run.suite)
    left_out: dict[str, int] = {}
    instances: list[tuple[str, str]] = []
    with paths_from_elsewhere(run.suite, run.folder), folder_for_results(out):
        for unit in run.plan:
            if unit.task != "prove" or not (wanted := rows.get(unit.unit_id)):
                continue
            try:
                instances += _write_unit(unit, wanted, resources, out)
            except ValueError as error:  # the network cannot be read, or the norm has no box
                left_out[str(error)] = left_out.get(str(error), 0) + len(wanted)
        text = "".join(f"{network},{name},{SECONDS}\n" for network, name in instances)
        write_atomic(out / "instances.csv", text.encode())
    return Exported(len(instances), left_out)


def import_results(folder: str | Path, file: Path, verifier: str) -> Imported:
    """Import another verifier's results for the open images of a run.

    Args:
        folder: Folder of the run.
        file: A CSV file. Each line has the name of a property, with or without its folder and `.vnnlib`, and a
            result: `unsat`, `holds` or `verified` for proved properties.
        verifier: Name of the verifier, which becomes the `proof_method` of these images.

    Raises:
        UserError: The run has no proofs, or the file cannot be read, or names no open image of the run.
    """
    run = read_run(folder)
    known = {property_name(row) for rows in _open_rows(run).values() for row in rows}
    try:
        lines = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    proved, broken, others = set[str](), set[str](), 0
    for line in lines:
        cells = [cell.strip().lower() for cell in line]
        name = next((name for cell in cells if (name := Path(cell).name.removesuffix(".vnnlib")) in known), None)
        if name and any(cell in _PROVED for cell in cells):
            proved.add(name)
        elif name and any(cell in _BROKEN for cell in cells):
            broken.add(name)
        else:
            others += 1
    if not proved | broken:
        hint = "each line needs the name of a property that --export wrote, and unsat, holds, sat or violated"
        raise UserError(f"{file} names no open image of {folder}", hint=hint)
    if proved & broken:
        raise UserError(f"{file} says both that {sorted(proved & broken)[0]} holds and that it is violated")
    add_imported(RunFolder(Path(folder)), sorted(proved), verifier)
    return Imported(len(proved), len(broken), others)


def _open_rows(run: StoredRun) -> dict[str, list[dict[str, Any]]]:
    """Id of each proof unit -> its rows that are neither proved nor fooled."""
    frame = run.frame
    rows = frame[(frame["attack"] == PROOF) & (frame["status"] == OK)]
    if not any(unit.task == "prove" for unit in run.plan):
        raise UserError(f"{run.folder} has no proofs", hint="run the suite with --prove")
    found: dict[str, list[dict[str, Any]]] = {}
    for each in rows.to_dict("records"):
        row = {str(name): value for name, value in each.items()}
        if not row["proved"] and not row["met"] and row["proof_method"] != FOOLED:
            found.setdefault(str(row["unit_id"]), []).append(row)
    return found


def _write_unit(unit: Unit, rows: list[dict[str, Any]], resources: Resources, out: Path) -> list[tuple[str, str]]:
    """Write the network and the properties of a unit's open images; the names of both files for each image."""
    model = resources.judged(unit.model, unit.dataset)
    images, samples = resources.images(unit), resources.samples(unit)
    network: Network = read_network(model, images.x)
    ball_of = {samples[row].sample_id: (place, samples[row].label) for place, row in enumerate(images.rows)}
    name = f"{slug(unit.model)}-{slug(unit.dataset)}.onnx"
    if not (out / name).exists():
        write_atomic(out / name, as_onnx(network))
    make_goal, norm, classes = goal_maker(parse_goal(unit.goal), model), NORMS[unit.norm](), model.num_classes
    written = []
    for row in rows:
        place, label = ball_of[str(row["sample_id"])]
        x = images.x[place : place + 1]
        with torch.no_grad():
            clean = model(x)
        labels = None if label is None else torch.tensor([label], device=x.device)
        goal = make_goal(clean, content_ids(x, [str(row["sample_id"])]), labels)
        ball = BallInBox.around(x.double(), norm, float(row["eps"]))
        file = f"{property_name(row)}.vnnlib"
        write_atomic(out / file, as_vnnlib(ball, specification(goal, classes), classes).encode())
        written.append((name, file))
    return written

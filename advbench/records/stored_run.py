"""Reads a stored run: the frame of all its rows, its plan and its flags. Does not import torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.config.fields import AS_IT_WAS
from advbench.config.suite import Suite
from advbench.errors import UserError, first_line
from advbench.records.flag import Flag
from advbench.records.imported import read_imported, with_imported
from advbench.records.record import UNKNOWN
from advbench.records.run_folder import RunFolder
from advbench.records.storage.atomic import ANOTHER_FILE, write_atomic
from advbench.records.storage.checksum import seal_of
from advbench.records.storage.shards import as_frame, as_whole, gathered, read_shard, read_whole
from advbench.records.storage.tables import guarded
from advbench.records.unit import Unit

if TYPE_CHECKING:
    import pandas as pd


SPARED = "spared"
"""Manifest key for the ids of the units that a run did not need, because it was decided without them."""
NOT_DONE = "not done yet"
"""Reason why a unit has no result if nothing went wrong."""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run, finished or not; damaged results count as missing."""

    folder: Path
    """Folder of the run."""
    manifest: dict[str, Any]
    """Identity, environment, versions and course of the run."""
    plan: tuple[Unit, ...]
    """All units of work, except those that were not needed."""
    frame: "pd.DataFrame"
    """A row for each image of each finished attack or proof unit, in the order of the plan; the columns are those of
    `advbench.records.record.COLUMNS`. Missing numbers are NaN or NA, never zero."""
    flags: list[dict[str, Any]]
    """Trust flags that were raised when models and attacks were checked: id, severity, model, dataset, attack, message,
    advice, value. Those that follow from the rows are not stored: `analysis.flags` of :class:`advbench.Run` has all."""
    missing: dict[str, str]
    """Id of each unit without an intact result -> why."""
    spared: tuple[Unit, ...] = ()
    """Units that were not needed, because the run was decided without them."""

    def __repr__(self) -> str:
        name, units = self.manifest.get("suite", {}).get("name", "run"), len(self.plan)
        done = f"{units - len(self.missing)} of {units} units, {len(self.frame)} rows"
        return f"Run({name!r}: {done}, in {self.folder})"

    @cached_property
    def suite(self) -> Suite:
        """The suite that was run, gates included."""
        return Suite.model_validate(self.manifest["suite"], context=AS_IT_WAS)

    @property
    def complete(self) -> bool:
        """Whether every unit of the plan has an intact result."""
        return not self.missing

    @property
    def unknown(self) -> int:
        """Number of rows with unknown outcome, including those of missing units; never to be counted as robust."""
        missing = sum(len(unit.samples) for unit in self.plan if unit.has_rows and unit.unit_id in self.missing)
        return int((self.frame["status"] == UNKNOWN).sum()) + missing

    def to_csv(self, path: str | Path) -> Path:
        """Write the frame for spreadsheets: a text that would be run as a formula gets a leading apostrophe.

        Raises:
            UserError: It cannot be written.
        """
        frame = self.frame.copy(deep=False)
        for name in frame:
            column = frame[name]
            if column.dtype == "category":
                frame[name] = column.cat.rename_categories(guarded)
            elif str(column.dtype).startswith("list"):
                frame[name] = column.astype("object").map(
                    lambda classes: json.dumps(list(map(int, classes))), na_action="ignore"
                )
        return write_atomic(Path(path), frame.to_csv(index=False).encode(), hint=ANOTHER_FILE)


def read_run(folder: str | Path) -> StoredRun:
    """Read the folder of a run; one that is still running or was interrupted is read as far as it got.

    Args:
        folder: Folder that `advbench run --out` wrote.

    Returns:
        The run. Every file is checked against the digest inside it.

    Raises:
        UserError: The folder is not that of a run, or its manifest or plan is damaged or of another version.

    Example:
        >>> read_run("no such folder")
        Traceback (most recent call last):
        advbench.errors.UserError: no such folder is not the folder of a run: it has no manifest.json
    """
    files = RunFolder(Path(folder))
    manifest = files.read_manifest()
    plan, spared = _planned(files, manifest)
    with_rows = [unit for unit in plan if unit.has_rows]
    table, missing = read_rows(files, with_rows)
    without_rows = (unit for unit in plan if not unit.has_rows and not files.result(unit).exists())
    missing |= {unit.unit_id: _failure(files, unit) for unit in without_rows}
    return StoredRun(
        folder=files.path,
        manifest=manifest,
        plan=plan,
        frame=with_imported(as_frame(table), read_imported(files)),
        flags=_flags(files),
        missing=missing,
        spared=spared,
    )


def refuse_part(run: StoredRun, what: str) -> None:
    """Reject a run that stopped once it was decided, for something that needs every image.

    Args:
        run: The stored run, finished or not.
        what: Name of what needs every image, for the message.

    Raises:
        UserError: It stopped before it had processed all images.
    """
    if run.spared:
        lack = sum(len(unit.samples) for unit in run.spared)
        message = (
            f"{what} needs every image, and the run in {run.folder} stopped once it was decided: {lack:,} are left"
        )
        raise UserError(message, hint='run the suite to its end: without --until-decided and stop = "decided"')


def _planned(files: RunFolder, manifest: dict[str, Any]) -> tuple[tuple[Unit, ...], tuple[Unit, ...]]:
    """The units that a run needs, and those that it turned out not to need."""
    plan, names = files.read_plan(), frozenset(map(str, manifest.get(SPARED, ())))
    return tuple(u for u in plan if u.unit_id not in names), tuple(u for u in plan if u.unit_id in names)


def read_rows(files: RunFolder, units: Sequence[Unit]) -> tuple[Any, dict[str, str]]:
    """The rows of a run as an Arrow table, and the units that have none, with the reasons.

    Args:
        files: Folder of the run.
        units: Units that have rows, in the order of the plan.
    """
    if (table := _gathered(files, units)) is not None:
        return table, {}
    found = [_read(files, unit) for unit in units]
    missing = {unit.unit_id: why for unit, why in zip(units, found, strict=True) if isinstance(why, str)}
    return gathered([table for table in found if not isinstance(table, str)]), missing


def gather_rows(folder: str | Path) -> None:
    """Write the rows of all shards into one file, if every shard exists and is intact.

    Raises:
        UserError: It cannot be written.
    """
    files = RunFolder(Path(folder))
    units = [unit for unit in _planned(files, files.read_manifest())[0] if unit.has_rows]
    table, missing = read_rows(files, units)
    if not missing and (seals := _seals(files, units)) is not None:
        write_atomic(files.rows, as_whole(table, seals))


def _gathered(files: RunFolder, units: Sequence[Unit]) -> Any:
    """The rows from the file of gathered rows, if that is intact and no shard has changed."""
    if not files.rows.exists() or (seals := _seals(files, units)) is None:
        return None
    try:
        return read_whole(files.rows.read_bytes(), seals)
    except OSError:
        return None


def _seals(files: RunFolder, units: Sequence[Unit]) -> list[str] | None:
    """The digests of all shards; None if one of them is missing or damaged."""
    seals = []
    for unit in units:
        try:
            seal = seal_of(files.shard(unit.unit_id).read_bytes())
        except OSError:
            return None
        if seal is None:
            return None
        seals.append(seal)
    return seals


def _read(files: RunFolder, unit: Unit) -> Any:
    """The rows of a unit, or the reason why there are none."""
    try:
        return read_shard(files.shard(unit.unit_id).read_bytes(), unit.unit_id)
    except FileNotFoundError:
        return NOT_DONE
    except (OSError, ValueError) as error:
        return str(error)


def _failure(files: RunFolder, unit: Unit) -> str:
    """Why a unit without rows has no result: the error that the run recorded, if it was tried."""
    try:
        return str(json.loads(files.error(unit.unit_id).read_bytes())["error"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return NOT_DONE


def _flags(files: RunFolder) -> list[dict[str, Any]]:
    if not files.flags.exists():
        return []
    try:
        flags: list[dict[str, Any]] = json.loads(files.flags.read_bytes())
        for flag in flags:
            Flag.from_dict(flag)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        hint = "`advbench resume` recreates it"
        raise UserError(f"cannot read {files.flags}: {first_line(error)}", hint=hint) from None
    return flags

"""Progress of a run, read from its folder, even while another process writes to it. Does not import torch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from advbench.analysis.metrics import levels, robust_accuracy
from advbench.analysis.run_analysis import budgets_of
from advbench.analysis.statistics import Proportion
from advbench.analysis.threats import NEEDED, Threat, gather
from advbench.config.fields import AS_IT_WAS
from advbench.config.suite import Suite
from advbench.errors import UserError
from advbench.records.events import EventLog
from advbench.records.pace import Pace
from advbench.records.record import PROOF, UNKNOWN
from advbench.records.run_folder import RunFolder
from advbench.records.storage.shards import as_frame, gathered, read_shard
from advbench.records.stored_run import SPARED
from advbench.records.unit import Unit

PLANNING, RUNNING, KILLED, COMPLETE = "planning", "running", "killed", "complete"
"""Statuses of a run in addition to those in its manifest: `incomplete`, `interrupted` and `stopped`."""


class Busy(NamedTuple):
    """A worker with the unit that it has started."""

    worker: str
    """Name of the worker."""
    unit: Unit
    """The unit that it is running."""
    seconds: float
    """Time since it was started, seconds; accurate as far as the clocks of the two machines agree."""


class RobustSoFar(NamedTuple):
    """Worst-case robust accuracy over the attacks that have results."""

    threat: Threat
    """Model, data set, goal and norm."""
    eps: float | None
    """Budget, image units; None: no bound."""
    robust: Proportion
    """Share of the images seen so far; those that a started attack has not reached yet are unknown."""
    attacks: int
    """Number of attacks that have results."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """Progress of a run."""

    status: str
    """`planning`, `running`, `killed`, or its final status: `complete`, `incomplete`, `interrupted` or `stopped`."""
    total: int = 0
    """Number of units of the plan."""
    done: int = 0
    """Number of units with a result, including those that failed."""
    failed: int = 0
    """Number of units that failed."""
    unknown: int = 0
    """Number of rows so far with unknown outcome."""
    counted: int = 0
    """Number of units done since the run was last started."""
    elapsed: float = 0.0
    """Seconds from that start to the last event."""
    left: float | None = None
    """Expected seconds until every unit is done; None: unknown as yet."""
    workers: tuple[Busy, ...] = ()
    """The workers that are running a unit."""
    robust: tuple[RobustSoFar, ...] = ()
    """Robust accuracy so far, for each threat and eps."""
    damaged: tuple[str, ...] = ()
    """Files that cannot be read completely, a sentence each."""

    @property
    def ended(self) -> bool:
        """Whether the run will not continue by itself."""
        return self.status not in (PLANNING, RUNNING)


def status_of(folder: RunFolder) -> str:
    """The status of the run in a folder, without its lock.

    Raises:
        UserError: The folder is not that of a run, or its manifest is damaged.
    """
    holder = folder.holder  # read first: a run writes its final status before it releases the folder
    held = holder is not None and not holder.gone
    if held and not folder.manifest.exists():
        return PLANNING
    status = str(folder.read_manifest().get("status"))
    if status == RUNNING:
        return RUNNING if held else KILLED
    return PLANNING if held and status != COMPLETE else status


class RunWatcher:
    """Polls a run, and reads only what is new; it takes no lock and writes nothing.

    Args:
        path: Folder of the run.
    """

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        """Folder of the run."""
        self._log = EventLog(self.folder.events)
        self._units: dict[str, Unit] = {}
        self._suite: Suite | None = None
        self._tables: dict[str, Any] = {}
        self._bad: dict[str, str] = {}
        self._failed: set[str] = set()
        self._seconds: dict[str, float] = {}
        self._begun: dict[str, tuple[str, float]] = {}
        self._start = self._last = 0.0

    def look(self) -> Course:
        """Read the progress of the run.

        Raises:
            UserError: The folder is not that of a run, or its manifest or plan is damaged.
        """
        status = status_of(self.folder)
        if status == PLANNING:
            return Course(status=PLANNING)
        self._read_events()
        done, failed = self._results()
        self._read_shards(done, failed)
        robust, unknown = self._numbers()
        ended = status != RUNNING
        spared = self.folder.read_manifest().get(SPARED, ()) if ended else ()
        return Course(
            status=status,
            total=len(self._units.keys() - {*spared}),
            done=len(done | failed),
            failed=len(failed),
            unknown=unknown,
            counted=len(self._seconds),
            elapsed=max(0.0, self._last - self._start),
            left=None if ended else self._left(done | failed),
            workers=() if ended else self._workers(),
            robust=robust,
            damaged=self._damages(),
        )

    def _read_events(self) -> None:
        """Follow the log; every start of the run writes a new plan, with the same units for the same images."""
        for event in self._log.new():
            self._last = event["time"]
            unit = str(event.get("unit"))
            if event["event"] == "start":
                self._start, self._units = self._last, {}
                self._seconds.clear()
                self._begun.clear()
            elif event["event"] == "begin":
                self._begun[str(event.get("worker"))] = unit, self._last
            elif event["event"] in ("done", "failed"):
                self._begun = {name: busy for name, busy in self._begun.items() if busy[0] != unit}
                seconds = event.get("seconds")
                self._seconds[unit] = float(seconds) if isinstance(seconds, int | float) else 0.0
        if not self._units:
            self._units = {unit.unit_id: unit for unit in self.folder.read_plan()}
            self._suite = Suite.model_validate(self.folder.read_manifest()["suite"], context=AS_IT_WAS)

    def _results(self) -> tuple[set[str], set[str]]:
        """The units with a result, and those that failed."""
        folder = self.folder.path
        here = {kind: _names(folder / kind) & set(self._units) for kind in ("shards", "clean", "checks", "errors")}
        failed = here["errors"]
        return (here["shards"] | here["clean"] | here["checks"]) - failed, failed

    def _read_shards(self, done: set[str], failed: set[str]) -> None:
        """Read the rows of units that are new, or that have failed or succeeded since the last look."""
        stale = (self._failed ^ failed) | (self._tables.keys() - done - failed)
        self._tables = {name: table for name, table in self._tables.items() if name not in stale}
        self._failed, self._bad = failed, {}
        for unit_id, unit in self._units.items():
            if not unit.has_rows or unit_id in self._tables or unit_id not in done | failed:
                continue
            try:
                table = read_shard(self.folder.shard(unit_id).read_bytes(), unit_id)
                self._tables[unit_id] = table.select([*NEEDED])
            except (OSError, ValueError) as error:
                self._bad[unit_id] = str(error)

    def _numbers(self) -> tuple[tuple[RobustSoFar, ...], int]:
        """Robust accuracy so far, and the number of rows with unknown outcome."""
        tables = [self._tables[unit_id] for unit_id in self._units if unit_id in self._tables]
        if not tables or self._suite is None:
            return (), 0
        frame, budgets = as_frame(gathered(tables, NEEDED)), budgets_of(self._suite)
        found = []
        for evidence in gather(frame):
            for eps in levels(evidence, budgets):
                speaking = [trial for trial in evidence.trials if trial.at(eps) is not None]
                robust = robust_accuracy(evidence, speaking, eps)
                attacks = sum(trial.attack != PROOF for trial in speaking)
                found.append(RobustSoFar(evidence.threat, eps, robust, attacks))
        return tuple(found), int((frame["status"] == UNKNOWN).sum())

    def _left(self, finished: set[str]) -> float | None:
        pace = Pace(unit for name, unit in self._units.items() if name not in finished or name in self._seconds)
        for unit_id, seconds in self._seconds.items():
            if unit_id in self._units:
                pace.add(self._units[unit_id], seconds)
        return pace.left(self._last - self._start)

    def _workers(self) -> tuple[Busy, ...]:
        now = time.time()
        return tuple(
            Busy(worker, self._units[unit_id], max(0.0, now - begun))
            for worker, (unit_id, begun) in sorted(self._begun.items(), key=lambda each: (len(each[0]), each[0]))
            if unit_id in self._units
        )

    def _damages(self) -> tuple[str, ...]:
        lines = self._log.damaged
        said = [f"{len(self._bad)} shards cannot be read: {next(iter(self._bad.values()))}"] if self._bad else []
        if lines:
            said.append(f"{self.folder.events.name} has {lines} damaged lines: rate and workers may be wrong")
        return tuple(said)


def _names(folder: Path) -> set[str]:
    """Names of the finished files in a folder, up to the first dot."""
    try:
        return {path.stem for path in folder.iterdir() if not path.name.startswith(".")}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from None


def lowest(course: Course) -> RobustSoFar | None:
    """The threat and eps with the lowest robust accuracy so far; None while there are no results.

    Example:
        >>> lowest(Course(status=PLANNING)) is None
        True
    """
    known: Sequence[RobustSoFar] = [each for each in course.robust if each.robust.rate is not None]
    return min(known, key=lambda each: (each.robust.k + each.robust.unknown) / each.robust.n, default=None)

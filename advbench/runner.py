"""Run a suite: plan it, do what is not done yet, save every unit as soon as it is done."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch

from advbench import __version__
from advbench.datasets.dataset import Dataset
from advbench.environment import environment, versions
from advbench.errors import EXIT_INCOMPLETE, UserError
from advbench.executor import Executor, Outcome, Processes, Serial
from advbench.folder import RunFolder
from advbench.forms import Choice
from advbench.identity import differences
from advbench.models.classifier import Classifier
from advbench.plan import Plan, make_plan
from advbench.plugins import load_plugins, loaded_plugins
from advbench.runs import Run, gather_rows, load_run
from advbench.store import write_atomic
from advbench.suite import Suite
from advbench.suite_files import load_suite
from advbench.units import FORMAT, Unit
from advbench.work import Desk, check_result, do, lost_shard
from advbench.workbench import Workbench
from advbench.worker import setup_of

MANY = 1000
"""Units of a run from which on its rows are also gathered in one file."""
Progress = Callable[[str, int, int], None]
"""Called with what is being done, units done, units in all."""


class StoppedError(UserError):
    """A run that could not go on, because its results could not be written; it can be resumed."""

    exit_code = EXIT_INCOMPLETE


class Terminated(BaseException):
    """The system asked the run to end."""


def run(  # noqa: PLR0913 - keyword-only, and each says one thing about the run
    suite: str | Path | Mapping[str, Any] | Suite,
    *,
    out: str | Path | None = None,
    workers: int = 1,
    models: Mapping[str, Classifier] | None = None,
    datasets: Mapping[str, Dataset] | None = None,
    plugins: Iterable[str] = (),
    planned: Callable[[Sequence[Unit]], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Run:
    """Run a suite, or what is left of it.

    Args:
        suite: Name of a suite in the package, a TOML file, a mapping of the same shape, or a suite.
        out: Folder of the run; None: `reports/<name of the suite>`. Where it holds the same run, that is resumed.
        workers: Processes that work beside this one; 1: this one works itself.
        models: Label -> classifier, for models that the suite names but no table has. They need `workers=1`.
        datasets: Label -> data set, likewise.
        plugins: Modules with tables of models, attacks and data sets; see `advbench.plugins`.
        planned: Given the units before any of them is done; what it raises ends the run.
        progress: Told of every unit.

    Returns:
        The run, read back from its folder.

    Raises:
        UserError: The suite is not in order, something cannot be loaded, the folder holds another run or cannot be
            written to, or another process is running in it.
        StoppedError: Results could not be written; what was done before is saved.

    Example:
        >>> run({"name": "x"})
        Traceback (most recent call last):
        advbench.errors.UserError: suite is not in order
        models: is missing
        datasets: is missing
        attacks: is missing
    """
    given = bool(models or datasets)
    if given and workers > 1:
        raise UserError("models and data sets given as objects cannot be sent to other processes", hint="use workers=1")
    load_plugins(plugins)
    suite = load_suite(suite, names={*(models or ()), *(datasets or ())})
    folder = RunFolder(Path(out) if out is not None else Path("reports") / suite.name)
    with folder.held(), _one_thread(), _terminable():
        progress("planning", 0, 0)
        bench = Workbench(suite, models, datasets)
        plan = make_plan(suite, bench, _known_forms(folder))
        planned(plan.units)
        _Session(suite, folder, plan, bench, workers, progress).run()
    return load_run(folder.path)


def _known_forms(folder: RunFolder) -> dict[str, Choice]:
    """The forms of networks that a run was begun with: its machine chose them then, and they decide its results."""
    if not folder.manifest.exists():
        return {}
    identity = folder.read_manifest().get("identity", {})
    return {name: Choice(**choice) for name, choice in identity.get("forms", {}).items()}


class _Session(NamedTuple):
    """A suite being run in a folder."""

    suite: Suite
    folder: RunFolder
    plan: Plan
    bench: Workbench
    workers: int
    progress: Progress

    def run(self) -> None:
        """Do what is left."""
        self._open()
        try:
            units = [unit for unit in self.plan.units if not self._is_done(unit)]
            if units:
                self._work(units)
            self._close()
        except UserError as error:
            self._note("stopped")
            hint = f"mend that, then: advbench resume {self.folder.path}"
            raise StoppedError(error.message, hint=hint) from error
        except (KeyboardInterrupt, Terminated):
            self._note("interrupted")
            raise

    def _open(self) -> None:
        """Write manifest and plan, or refuse a folder that holds another run."""
        manifest = {
            "format": FORMAT,
            "advbench": __version__,
            "run_id": self.plan.run_id,
            "status": "running",
            "started": time.time(),
            "suite": self.suite.model_dump(mode="json"),
            "identity": self.plan.identity,
            "environment": environment(),
            "versions": versions(),
            "workers": self.workers,
            "classes": self.plan.classes,
            "units": len(self.plan.units),
        }
        if self.folder.manifest.exists():
            old = self.folder.read_manifest()
            if changed := differences(old.get("identity", {}), json.loads(json.dumps(self.plan.identity))):
                hint = "\n".join([*changed, "choose another folder with --out, or move this one away"])
                raise UserError(f"{self.folder.path} holds another run", hint=hint)
            manifest["started"] = old["started"]
        self.folder.sweep()
        write_atomic(self.folder.plan, "".join(f"{unit.to_json()}\n" for unit in self.plan.units).encode())
        self.folder.write_manifest(manifest)
        self.folder.log("start", run_id=self.plan.run_id, units=len(self.plan.units))

    def _is_done(self, unit: Unit) -> bool:
        """Whether a sound result is there; a damaged one is set aside."""
        path = self.folder.result(unit)
        if self.folder.error(unit.unit_id).exists() or not path.exists():
            return False
        try:
            check_result(path.read_bytes(), unit)
        except (OSError, ValueError) as error:
            self.folder.set_aside(path, str(error))
            return False
        return True

    def _work(self, units: list[Unit]) -> None:
        clean = {(unit.model, unit.dataset): unit for unit in self.plan.units if unit.task == "clean"}
        desk = Desk(self.suite, self.folder, self.plan.run_id, clean, self.bench, self.plan.identity["models"])
        count = Count(len(self.plan.units), len(self.plan.units) - len(units), self.progress)
        for executor, some in self._executors(desk, units):
            try:
                for outcome in executor.submit_all(some):
                    self._save(outcome, desk)
                    count.add(outcome)
            finally:
                executor.close()

    def _executors(self, desk: Desk, units: list[Unit]) -> Iterator[tuple[Executor, list[Unit]]]:
        """Who does what: what the attacks build on is done here, before them."""
        alone = Serial(lambda unit: do(unit, desk), self.suite.time_limit)
        first = [unit for unit in units if unit.task != "attack"]
        rest = [unit for unit in units if unit.task == "attack"]
        yield alone, first
        if self.workers == 1 or len(rest) <= 1:
            yield alone, rest
        else:
            setup = setup_of(desk, list(loaded_plugins()))
            yield Processes(setup, self.workers, self.suite.time_limit), rest

    def _save(self, outcome: Outcome, desk: Desk) -> None:
        unit, done, mistake = outcome.unit, outcome.done, self.folder.error(outcome.unit.unit_id)
        story = {"unit": unit.unit_id, "seconds": round(outcome.seconds, 3), "attempts": outcome.attempts}
        if done is None:
            write_atomic(mistake, json.dumps({"unit": unit.unit_id, "error": outcome.error}).encode())
            if unit.task == "attack":
                write_atomic(self.folder.shard(unit.unit_id), lost_shard(unit, desk, outcome.error))
            self.folder.log("failed", **story, error=outcome.error)
            return
        if done.adversarials is not None:
            write_atomic(self.folder.adversarials(unit.unit_id), done.adversarials)
        write_atomic(self.folder.result(unit), done.content)
        mistake.unlink(missing_ok=True)
        self.folder.log("done", **story, unknown=done.unknown)

    def _close(self) -> None:
        """Gather the flags and say how it ended."""
        flags: list[Any] = []
        for unit in self.plan.units:
            path = self.folder.checks(unit.unit_id)
            flags += json.loads(path.read_bytes())["flags"] if unit.task == "checks" and path.exists() else []
        write_atomic(self.folder.flags, json.dumps(flags, indent=1).encode() + b"\n")
        if len(self.plan.units) > MANY:
            gather_rows(self.folder.path)
        failed = any(self.folder.error(unit.unit_id).exists() for unit in self.plan.units)
        self._note("incomplete" if failed else "complete")

    def _note(self, status: str) -> None:
        """Say in the manifest how it ended, if that can be written."""
        with suppress(UserError):
            ended = {"status": status, "finished": time.time()}
            self.folder.write_manifest(self.folder.read_manifest() | ended)
            self.folder.log(status)


class Count:
    """Tells how far a run has come, and how long it may still take.

    Args:
        total: Units of the plan.
        done: Those that were there at the beginning.
        progress: Who is told.
    """

    def __init__(self, total: int, done: int, progress: Progress) -> None:
        self._total, self._done, self._progress = total, done, progress
        self._first, self._start, self._unknown = done, time.monotonic(), 0
        progress("starting", done, total)

    def add(self, outcome: Outcome) -> None:
        """One more is done."""
        self._done += 1
        self._unknown += len(outcome.unit.samples) if outcome.done is None else outcome.done.unknown
        passed = time.monotonic() - self._start
        left = passed / (self._done - self._first) * (self._total - self._done)
        unknown = f", {self._unknown} unknown" if self._unknown else ""
        unit = outcome.unit
        what = f"{unit.attack or unit.task} on {unit.model}{unknown}, {_duration(left)} left"
        self._progress(what, self._done, self._total)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute as every worker does: the number of threads may change the last bits of a result."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does, with all that was done saved."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""Run the units of a plan that its folder lacks, and save every unit as soon as it is done."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from advbench import __version__
from advbench.catalog.plugins import loaded_plugins
from advbench.config.suite import Suite
from advbench.errors import ExitCode, UserError
from advbench.execution.executor import Executor, Processes, Serial, UnitResult
from advbench.execution.progress import Count, Progress
from advbench.execution.tasks import TaskContext, check_result, do, lost_shard
from advbench.execution.worker import setup_of
from advbench.planning.environment import environment, versions
from advbench.planning.identity import differences
from advbench.planning.plan import Plan
from advbench.planning.prepare import PreparedRun, Terminated
from advbench.planning.resources import Resources
from advbench.records.atomic import write_atomic
from advbench.records.record import Reason
from advbench.records.run_folder import RunFolder
from advbench.records.stored_run import gather_rows
from advbench.records.unit import FORMAT, Unit

MANY = 1000
"""Number of units from which on the rows of a run are also gathered in one file."""


class StoppedError(UserError):
    """A run that could not go on, because its results could not be written; it can be resumed."""

    exit_code = ExitCode.INCOMPLETE


def run_plan(run: PreparedRun, *, workers: int = 1, progress: Progress = lambda *_: None) -> None:
    """Run the units of a plan that its folder lacks.

    Args:
        run: The prepared run, with its plan and its folder.
        workers: Number of worker processes; 1: this process does the work itself.
        progress: Called after every unit.

    Raises:
        UserError: The folder holds another run, or cannot be written to.
        StoppedError: Results could not be written; what was done before is saved.
    """
    _Session(run.suite, run.folder, run.plan, run.resources, workers, progress).run()


class _Session(NamedTuple):
    """A suite being run in a folder."""

    suite: Suite
    folder: RunFolder
    plan: Plan
    resources: Resources
    workers: int
    progress: Progress

    def run(self) -> None:
        """Run the remaining units."""
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
            "notes": {label: list(self.resources.model(label).notes) for label in self.plan.identity["models"]},
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
        context = TaskContext(
            self.suite, self.folder, self.plan.run_id, clean, self.resources, self.plan.identity["models"]
        )
        count = Count(len(self.plan.units), len(self.plan.units) - len(units), self.progress)
        for executor, some in self._executors(context, units):
            try:
                for outcome in executor.submit_all(some):
                    self._save(outcome, context)
                    count.add(outcome)
            finally:
                executor.close()

    def _executors(self, context: TaskContext, units: list[Unit]) -> Iterator[tuple[Executor, list[Unit]]]:
        """Distribute the units: those that the attacks build on are run here, before them."""
        alone = Serial(lambda unit: do(unit, context), self.suite.time_limit)
        first = [unit for unit in units if unit.task != "attack"]
        rest = [unit for unit in units if unit.task == "attack"]
        yield alone, first
        if self.workers == 1 or len(rest) <= 1:
            yield alone, rest
        else:
            setup = setup_of(context, list(loaded_plugins()))
            yield Processes(setup, self.workers, self.suite.time_limit), rest

    def _save(self, outcome: UnitResult, context: TaskContext) -> None:
        unit, done, mistake = outcome.unit, outcome.done, self.folder.error(outcome.unit.unit_id)
        story = {"unit": unit.unit_id, "seconds": round(outcome.seconds, 3), "attempts": outcome.attempts}
        if done is None:
            write_atomic(mistake, json.dumps({"unit": unit.unit_id, "error": outcome.error}).encode())
            if unit.task == "attack":
                lost = lost_shard(unit, context, outcome.reason or Reason.CRASHED, outcome.error)
                write_atomic(self.folder.shard(unit.unit_id), lost)
            self.folder.log("failed", **story, error=outcome.error)
            return
        if done.adversarials is not None:
            write_atomic(self.folder.adversarials(unit.unit_id), done.adversarials)
        write_atomic(self.folder.result(unit), done.content)
        mistake.unlink(missing_ok=True)
        self.folder.log("done", **story, unknown=done.unknown)

    def _close(self) -> None:
        """Gather the flags and record how the run ended."""
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
        """Record in the manifest how the run ended, if it can be written."""
        with suppress(UserError):
            ended = {"status": status, "finished": time.time()}
            self.folder.write_manifest(self.folder.read_manifest() | ended)
            self.folder.log(status)

"""Runs the units of a plan that its folder lacks, and saves every unit as soon as it is done."""

import json
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from advbench import __version__
from advbench.catalog.plugins import loaded_plugins
from advbench.config.data.paths import missing_paths
from advbench.config.fields import AS_IT_WAS
from advbench.config.suite import Suite
from advbench.errors import ExitCode, UserError
from advbench.execution.checking import flags_of_sets
from advbench.execution.clusters.sent_code import sent_code
from advbench.execution.executor import Executor, Processes, Serial, UnitResult
from advbench.execution.progress import Count, Progress
from advbench.execution.tasks import check_result, do
from advbench.execution.unit_results import Job, TaskContext, lost_shard
from advbench.execution.worker import setup_of
from advbench.planning.identity.environment import environment, versions
from advbench.planning.identity.run import differences
from advbench.planning.prepare import PreparedRun, Terminated
from advbench.planning.resources import spread
from advbench.planning.workers import Wanted, Workers, choose_workers
from advbench.records.clean import read_clean
from advbench.records.fooled import Fooled
from advbench.records.manifest import MISFITS
from advbench.records.record import Reason
from advbench.records.storage.atomic import write_atomic
from advbench.records.stored_run import SPARED, gather_rows
from advbench.records.unit import FORMAT, Unit

MANY = 1000
"""Smallest number of units for which the rows of a run are also gathered in one file."""


class StoppedError(UserError):
    """A run that could not continue because its results could not be written; it can be resumed."""

    exit_code = ExitCode.INCOMPLETE


Undecided = Callable[[int], Container[tuple[str, ...]]]
"""Function called with the number of a look once its units are done; returns the threats that are still undecided."""


def run_plan(
    run: PreparedRun,
    *,
    workers: Wanted = 1,
    client: Any = None,
    progress: Progress = lambda *_: None,
    undecided: Undecided | None = None,
) -> None:
    """Run the units of a plan that its folder lacks.

    Args:
        run: The prepared run, with its plan and its folder.
        workers: Number of worker processes; 1: everything runs in this process; "auto": see
            :func:`advbench.planning.workers.choose_workers`.
        client: Client of a cluster to run on instead, from
            :func:`advbench.execution.clusters.connection.connected`; None: no cluster.
        progress: Called after every unit.
        undecided: Called after every look of a run that stops once it is decided; None: it runs to its end.

    Raises:
        UserError: The number of workers is invalid, the cluster cannot do the work, or the folder holds another run or
            cannot be written to.
        StoppedError: Results could not be written, or the cluster is gone; everything done before is saved.
    """
    if client is None:
        chosen = choose_workers(run.plan, run.suite.device, workers)
    else:
        chosen = Workers(len(client.nthreads()), f"those of the cluster {client.scheduler.address}", ())
    _Session(run, chosen, client, progress, undecided).run()


class _Session:
    """A suite being run in a folder; the arguments are those of :func:`run_plan`."""

    def __init__(
        self, run: PreparedRun, workers: Workers, client: Any, progress: Progress, undecided: Undecided | None
    ) -> None:
        self.suite, self.folder, self.resources, self.plan = run
        self.workers, self.client, self.progress, self.undecided = workers, client, progress, undecided
        self.halved: dict[str, int] = {}
        """Id of each unit that did not fit into memory -> number of images that were attacked together."""
        self.spared: set[str] = set()
        """Ids of the units that turned out not to be needed."""

    def run(self) -> None:
        """Run the remaining units."""
        context = self._context()
        executor = self._executor(context)  # a cluster that cannot do the work is rejected before anything is written
        self._open()
        try:
            units = self._to_do()
            if units:
                self._work(units, executor, context)
            self._close()
        except UserError as error:
            self._note("stopped")
            hint = f"fix that, then: {self.folder.resuming}"
            raise StoppedError(error.message, hint=hint) from error
        except (KeyboardInterrupt, Terminated):
            self._note("interrupted")
            raise
        finally:
            executor.close()

    def _open(self) -> None:
        """Write manifest and plan, or reject a folder that holds another run."""
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
            "workers": self.workers.number,
            "workers_why": self.workers.why,
            "classes": self.plan.classes,
            MISFITS: self.plan.misfits,
            "notes": {label: list(self.resources.model(label).notes) for label in self.plan.identity["models"]},
            "units": len(self.plan.units),
        }
        if self.folder.manifest.exists():
            old = self.folder.read_manifest()
            if changed := differences(old.get("identity", {}), json.loads(json.dumps(self.plan.identity))):
                elsewhere = missing_paths(Suite.model_validate(old["suite"], context=AS_IT_WAS), self.folder.path)
                also = [elsewhere] if elsewhere else []
                hint = "\n".join([*changed, *also, "choose another folder with --out, or move this one away"])
                raise UserError(f"{self.folder.path} holds another run", hint=hint)
            manifest |= {name: old[name] for name in ("started", "halved") if name in old}
        self.folder.sweep()
        write_atomic(self.folder.plan, "".join(f"{unit.to_json()}\n" for unit in self.plan.units).encode())
        self.folder.write_manifest(manifest)
        self.folder.log("start", run_id=self.plan.run_id, units=len(self.plan.units))

    def _to_do(self) -> list[Unit]:
        """The units without an intact result, and the proofs that depend on one of them."""
        undone = {unit.unit_id for unit in self.plan.units if not self._is_done(unit)}
        anew = {unit.threat for unit in self.plan.units if unit.task == "attack" and unit.unit_id in undone}
        return [
            unit for unit in self.plan.units if unit.unit_id in undone or (unit.task == "prove" and unit.threat in anew)
        ]

    def _is_done(self, unit: Unit) -> bool:
        """Whether an intact result exists; a damaged one is set aside."""
        path = self.folder.result(unit)
        if self.folder.error(unit.unit_id).exists() or not path.exists():
            return False
        try:
            check_result(path.read_bytes(), unit)
        except (OSError, ValueError) as error:
            self.folder.set_aside(path, str(error))
            return False
        return True

    def _work(self, units: list[Unit], executor: Executor, context: TaskContext) -> None:
        count = Count(len(self.plan.units), units, self.progress)
        for stage in self._stages(units):
            for outcome in executor.submit_all(stage):
                self._save(outcome, context)
                count.add(outcome)

    def _stages(self, units: Sequence[Unit]) -> Iterator[list[Unit]]:
        """Yield the units in stages, each of which needs the results of the stages before it."""
        yield [unit for unit in units if unit.task == "clean"]
        yield [unit for unit in units if unit.task in ("checks", "attack") and not unit.look]
        # Starts at the first look even if its units are done, so that a resumed run makes the same decisions.
        waiting = [unit for unit in self.plan.units if unit.look]
        undone = {unit.unit_id for unit in units}
        for look in sorted({unit.look for unit in waiting}):
            yield [unit for unit in waiting if unit.look == look and unit.unit_id in undone]
            if self.undecided is not None:
                still = self.undecided(look)
                spared = {unit.unit_id for unit in waiting if unit.look > look and unit.threat not in still}
                waiting = [unit for unit in waiting if unit.unit_id not in spared]
                self.spared.update(spared & undone)
        yield [unit for unit in units if unit.task == "prove"]

    def _context(self) -> TaskContext:
        starts: dict[tuple[str, str], tuple[int, ...]] = {}
        for pair, units in self.plan.clean().items():
            starts[pair] = tuple(spread([number for unit in units for number in unit.samples]))
        models = self.plan.identity["models"] | self.plan.identity.get("surrogates", {})
        return TaskContext(self.suite, self.plan.run_id, self.resources, models, starts)

    def _executor(self, context: TaskContext) -> Executor:
        clean, limit, plugins = self.plan.clean(), self.suite.time_limit, list(loaded_plugins())
        fooled = Fooled(self.folder, self.plan.units)

        def prepare(unit: Unit) -> Job:
            """Pack the earlier results that a unit needs, so that no worker has to see the folder."""
            if not unit.has_rows:
                return Job(unit)
            logits = read_clean(self.folder, clean[unit.model, unit.dataset], unit.samples)
            return Job(unit, logits, fooled.among(unit) if unit.task == "prove" else frozenset())

        if self.client is not None:
            from advbench.execution.clusters.cluster import Cluster

            setup = setup_of(context, plugins)._replace(code=sent_code(self.suite, plugins))
            return Cluster(prepare, setup, limit, self.client, self._begun)
        if self.workers.number == 1:
            return Serial(prepare, lambda job: do(job, context), limit, self._begun)
        setups = [setup_of(context, plugins, device) for device in self.workers.devices]
        return Processes(prepare, setups, limit, self._begun)

    def _begun(self, unit: Unit, worker: str) -> None:
        self.folder.log("begin", unit=unit.unit_id, worker=worker)

    def _save(self, outcome: UnitResult, context: TaskContext) -> None:
        unit, done, mistake = outcome.unit, outcome.done, self.folder.error(outcome.unit.unit_id)
        story = {"unit": unit.unit_id, "seconds": round(outcome.seconds, 3), "attempts": outcome.attempts}
        if done is None:
            write_atomic(mistake, json.dumps({"unit": unit.unit_id, "error": outcome.error}).encode())
            if unit.has_rows:
                lost = lost_shard(unit, context, outcome.reason or Reason.CRASHED, outcome.error)
                write_atomic(self.folder.shard(unit.unit_id), lost)
            self.folder.log("failed", **story, error=outcome.error)
            return
        if done.adversarials is not None:
            write_atomic(self.folder.adversarials(unit.unit_id), done.adversarials)
        write_atomic(self.folder.result(unit), done.content)
        mistake.unlink(missing_ok=True)
        cut = {} if done.batch is None else {"batch": done.batch}
        self.folder.log("done", **story, unknown=done.unknown, **cut)
        if done.batch is not None:
            self.halved[unit.unit_id] = done.batch

    def _close(self) -> None:
        """Gather the flags and record how the run ended."""
        flags: list[Any] = []
        for unit in self.plan.units:
            path = self.folder.checks(unit.unit_id)
            flags += json.loads(path.read_bytes())["flags"] if unit.task == "checks" and path.exists() else []
        flags += [flag.as_dict() for flag in flags_of_sets(self.plan.clean(), self.suite, self.resources)]
        write_atomic(self.folder.flags, json.dumps(flags, indent=1).encode() + b"\n")
        needed = (unit.unit_id for unit in self.plan.units if unit.unit_id not in self.spared)
        failed = any(self.folder.error(unit_id).exists() for unit_id in needed)
        self._note("incomplete" if failed else "complete", {SPARED: sorted(self.spared)} if self.spared else {})
        if len(self.plan.units) > MANY:
            gather_rows(self.folder.path)

    def _note(self, status: str, more: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Record in the manifest how the run ended, if it can be written."""
        with suppress(UserError):
            manifest = self.folder.read_manifest() | {"status": status, "finished": time.time(), **more}
            manifest["halved"] = manifest.get("halved", {}) | self.halved
            self.folder.write_manifest(manifest)
            self.folder.log(status)

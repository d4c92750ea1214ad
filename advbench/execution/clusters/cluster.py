"""Runs units on the workers of a dask cluster (extra `distributed`).

All files stay with the run: it sends out names, numbers and logits, and writes the results that come back. Dask's
transport unpickles what it receives, so the scheduler and workers must be trusted, or reached over TLS.
"""

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from advbench.errors import UserError, first_line
from advbench.execution.clusters.connection import WAIT_SECONDS
from advbench.execution.clusters.remote import Installed, drop, unfit, work_here
from advbench.execution.executor import Begun, UnitResult
from advbench.execution.slots import ATTEMPTS, Outcome
from advbench.execution.unit_results import Job
from advbench.execution.worker import Setup
from advbench.records.record import Reason
from advbench.records.unit import Unit

LOOK_SECONDS = 1
"""Seconds between updates of the list of workers."""
AHEAD = 2
"""Number of units submitted per worker thread: one to run, and one that is ready when it is done."""
_GONE = "the scheduler of the cluster is gone"


@contextmanager
def _scheduler_there() -> Iterator[None]:
    """Turn dask's various errors for a lost scheduler into one message.

    Raises:
        UserError: The scheduler is gone.
    """
    try:
        yield
    except (OSError, CancelledError) as error:
        raise UserError(_GONE) from error


class _Open(NamedTuple):
    """A unit that was submitted."""

    unit: Unit
    future: Any
    attempt: int
    since: float
    only: frozenset[str]
    """Addresses of the workers that may run it; empty: any worker."""


class Cluster:
    """Runs units on the workers of a dask scheduler.

    Args:
        prepare: Makes the job of a unit, including the results of earlier units that it needs.
        setup: Setup of the run, for the workers.
        time_limit: Seconds per unit.
        client: A connected client of `dask.distributed`.
        begun: Called with units that take longer than a second, and the address of each one's worker.

    Raises:
        UserError: A worker cannot do the work: it has different versions, or lacks a file.
    """

    def __init__(
        self,
        prepare: Callable[[Unit], Job],
        setup: Setup,
        time_limit: float,
        client: Any,
        begun: Begun = lambda *_: None,
    ) -> None:
        self._prepare, self._setup, self._time_limit, self._client = prepare, setup, time_limit, client
        self._begun = begun
        self._seen: set[tuple[str, str]] = set()
        self._wanted = Installed.here()
        self._open: dict[str, _Open] = {}
        self._done: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._excluded: dict[str, str] = {}
        self._idle_since: float | None = None
        self._threads: dict[str, int] = {}
        self._asked = -LOOK_SECONDS - 1.0
        self._number = 0
        self._examine()

    def submit_all(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """See :class:`advbench.execution.executor.Executor`.

        Raises:
            UserError: The scheduler is gone, or has had no workers for a minute.
        """
        waiting = iter(units)
        more = True
        while more or self._open:
            while more and len(self._open) < self._room():
                unit = next(waiting, None)
                if more := unit is not None:
                    try:
                        job = self._prepare(unit)
                    except UserError as error:  # results of earlier units are missing
                        yield UnitResult(unit, None, f"UserError: {error}", 0.0, reason=Reason.CRASHED)
                    else:
                        self._hand_out(job, 1)
            with _scheduler_there():
                result = self._next_result() if self._open else None
            if result is not None:
                yield result

    def close(self) -> None:
        """Stop at once: no task of the run is left, neither at the scheduler nor on a worker."""
        held, self._open = self._open, {}
        for each in held.values():
            with suppress(Exception):  # the scheduler may be gone
                each.future.release()
        if self._client.status == "running":
            with suppress(Exception):
                self._client.run(drop, on_error="ignore")

    def _examine(self) -> None:
        """Ask every worker whether it can do the work.

        Raises:
            UserError: One of them cannot.
        """
        asked = {
            address: self._client.submit(
                unfit, self._setup, self._wanted, self._time_limit, workers=[address], pure=False, key=self._key("fit")
            )
            for address in self._workers()
        }
        for address, future in asked.items():
            if why := self._answer(address, future):
                hint = "every worker needs the same versions, and the models and images under the same names and paths"
                raise UserError(f"worker {address} cannot do this work: {why}", hint=hint)

    def _answer(self, address: str, future: Any) -> str:
        """Why a worker cannot do the work; empty if it can or is gone, in which case it is examined when it returns."""
        while not future.done():
            # a task restricted to one worker waits forever if that has restarted under another address
            if address not in self._workers():
                future.release()
                return ""
            time.sleep(0.02)
        try:
            return str(future.result())
        except Exception as error:  # it cannot even import advbench, or died
            return f"{type(error).__name__}: {first_line(error)}"

    def _workers(self) -> dict[str, int]:
        """Address of each worker that can be used -> number of its threads.

        Raises:
            UserError: The scheduler is gone.
        """
        if self._client.status != "running":
            raise UserError(_GONE)
        # the answer covers every worker, which is too much to request for each unit
        if time.monotonic() - self._asked > LOOK_SECONDS:
            with _scheduler_there():
                found = self._client.scheduler_info(n_workers=-1)["workers"]
            self._threads = {address: facts["nthreads"] for address, facts in found.items()}
            self._asked = time.monotonic()
        return {address: threads for address, threads in self._threads.items() if address not in self._excluded}

    def _room(self) -> int:
        return AHEAD * max(1, sum(self._workers().values()))

    def _key(self, what: str) -> str:
        self._number += 1
        return f"advbench-{self._setup.run_id}-{what}-{self._number}-{time.time_ns()}"

    def _hand_out(self, job: Job, attempt: int) -> None:
        key = self._key(job.unit.unit_id)
        only = frozenset(self._workers()) if self._excluded else frozenset[str]()
        where = {"workers": list(only), "allow_other_workers": False} if only else {}
        task = (work_here, self._setup, self._wanted, job, self._time_limit)
        with _scheduler_there():
            future = self._client.submit(*task, key=key, pure=False, retries=0, **where)
        self._open[key] = _Open(job.unit, future, attempt, time.monotonic(), only)
        future.add_done_callback(lambda _: self._done.put(key))

    def _next_result(self) -> UnitResult | None:
        """The next finished unit; None after a while, or if a unit was resubmitted."""
        try:
            key = self._done.get(timeout=1)
        except queue.Empty:
            self._look()
            return None
        if key not in self._open:
            return None
        held = self._open.pop(key)
        outcome = self._outcome(held)
        if outcome is None:
            self._hand_out(self._prepare(held.unit), held.attempt + 1)
            return None
        seconds, attempts = time.monotonic() - held.since, outcome.attempts + held.attempt - 1
        return UnitResult(held.unit, outcome.done, outcome.error, seconds, attempts, outcome.reason)

    def _outcome(self, held: _Open) -> Outcome | None:
        """Outcome of a unit; None if it is to be submitted again.

        Raises:
            UserError: The scheduler is gone.
        """
        status = held.future.status
        if status == "finished":
            found: Outcome | str = held.future.result()
            if isinstance(found, str):  # from a worker that joined later; the scheduler soon forgets its address
                self._exclude(held, found)
            held.future.release()
            return None if isinstance(found, str) else found
        if status in ("cancelled", "lost"):
            raise UserError(_GONE)
        error = held.future.exception()
        held.future.release()
        if held.attempt < ATTEMPTS:  # its worker died, perhaps because of another task
            return None
        return Outcome(None, Reason.CRASHED, f"{type(error).__name__}: {first_line(error)}, {ATTEMPTS} times")

    def _exclude(self, held: _Open, why: str) -> None:
        for address in self._client.who_has([held.future]).get(held.future.key, ()):
            self._excluded[address] = why

    def _look(self) -> None:
        """Update the state of the workers, and stop waiting for workers that do not come back.

        Raises:
            UserError: The scheduler is gone, or has had no usable workers for a minute.
        """
        if workers := self._workers():
            self._idle_since = None
            for key, held in list(self._open.items()):
                if held.only and held.only.isdisjoint(workers):  # all of them are gone
                    self._open.pop(key).future.release()
                    self._hand_out(self._prepare(held.unit), held.attempt)
            found = {(str(key), where) for where, keys in self._client.processing().items() for key in keys}
            for key, where in sorted(found - self._seen):
                if key in self._open:
                    self._begun(self._open[key].unit, where)
            self._seen = found
            return
        self._idle_since = self._idle_since or time.monotonic()
        if time.monotonic() - self._idle_since > WAIT_SECONDS:
            others = "".join(
                f"; worker {address} cannot do this work: {why}" for address, why in self._excluded.items()
            )
            raise UserError(f"the cluster has had no workers for {WAIT_SECONDS} seconds{others}")

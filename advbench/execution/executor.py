"""Executors of units of work: sequentially in this process, or in several worker processes."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from advbench.execution.slots import Outcome, Slot, too_long
from advbench.execution.time_limit import OutOfTime, time_limit
from advbench.execution.unit_results import Done, Job
from advbench.execution.worker import Setup
from advbench.records.record import Reason
from advbench.records.unit import Unit


class UnitResult(NamedTuple):
    """Outcome of a unit: either its result, or the reason why there is none."""

    unit: Unit
    """Unit of work."""
    done: Done | None
    """Result; None if it failed."""
    error: str
    """Reason for the missing result."""
    seconds: float
    """Wall time, seconds."""
    attempts: int = 1
    """Number of attempts."""
    reason: Reason | None = None
    """Kind of failure; None if the unit succeeded."""


Begun = Callable[[Unit, str], None]
"""Function called when a unit is started, with the unit and the name of its worker."""


class Executor(Protocol):
    """Runs units of work, in this process or elsewhere.

    Example:
        >>> executor: Executor = Serial(Job, lambda job: Done(b""), time_limit=60)
        >>> list(executor.submit_all([]))
        []
    """

    def submit_all(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """Run units in any order, yielding one outcome each as they finish. Failures of units are not raised."""
        ...

    def close(self) -> None:
        """Stop at once, even in the middle of a unit."""
        ...


class Serial:
    """Runs units one after the other in this process.

    Args:
        prepare: Makes the job of a unit, including the results of earlier units that it needs.
        do: Function that runs a job.
        time_limit: Seconds per unit, enforced if the system has timers and this is the main thread.
        begun: Called when a unit is started.
    """

    def __init__(
        self,
        prepare: Callable[[Unit], Job],
        do: Callable[[Job], Done],
        time_limit: float,
        begun: Begun = lambda *_: None,
    ) -> None:
        self._prepare, self._do, self._time_limit, self._begun = prepare, do, time_limit, begun

    def submit_all(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """See :class:`Executor`."""
        for unit in units:
            start, done, error, reason = time.monotonic(), None, "", None
            self._begun(unit, "1")
            try:
                job = self._prepare(unit)
                with time_limit(self._time_limit):
                    done = self._do(job)
            except OutOfTime:
                error, reason = too_long(self._time_limit), Reason.TIME_LIMIT
            except Exception as failure:  # a unit may raise anything; only this unit fails
                error, reason = f"{type(failure).__name__}: {failure}", Reason.CRASHED
            yield UnitResult(unit, done, error, time.monotonic() - start, reason=reason)

    def close(self) -> None:
        """See :class:`Executor`."""


class Processes:
    """Runs units in separate processes on this machine; a process that dies or hangs is replaced.

    Args:
        prepare: Makes the job of a unit, including the results of earlier units that it needs.
        setups: Setup of each process; they differ only in the device.
        time_limit: Seconds per unit.
        begun: Called when a unit is started, from any thread; a worker's name is its number, counted from 1.
    """

    def __init__(
        self,
        prepare: Callable[[Unit], Job],
        setups: Sequence[Setup],
        time_limit: float,
        begun: Begun = lambda *_: None,
    ) -> None:
        self._prepare, self._begun = prepare, begun
        self._slots = [Slot(setup, time_limit) for setup in setups]
        self._outcomes: queue.Queue[UnitResult] = queue.Queue()

    def submit_all(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """See :class:`Executor`."""
        waiting: queue.SimpleQueue[Unit] = queue.SimpleQueue()
        for unit in units:
            waiting.put(unit)
        total = waiting.qsize()
        for number, slot in enumerate(self._slots[:total], 1):
            threading.Thread(target=self._serve, args=(slot, str(number), waiting), daemon=True).start()
        for _ in range(total):
            yield self._outcomes.get()

    def close(self) -> None:
        """See :class:`Executor`."""
        for slot in self._slots:
            slot.close()

    def _serve(self, slot: Slot, name: str, waiting: "queue.SimpleQueue[Unit]") -> None:
        """Give a process one unit after another until none is left."""
        while not slot.closed:
            try:
                unit = waiting.get_nowait()
            except queue.Empty:
                return
            start = time.monotonic()
            self._begun(unit, name)
            try:
                outcome = slot.do(self._prepare(unit))
            except Exception as error:  # results of earlier units are missing, or no process can be started
                outcome = Outcome(None, Reason.CRASHED, f"{type(error).__name__}: {error}")
            seconds = time.monotonic() - start
            done, reason, why, attempts = outcome
            self._outcomes.put(UnitResult(unit, done, why, seconds, attempts, reason))

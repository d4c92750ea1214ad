"""Executors of units of work: one after the other in this process, or in several processes beside it."""

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
    """Outcome of a unit: either a result, or the reason why there is none."""

    unit: Unit
    """Unit of work."""
    done: Done | None
    """Result; None if it failed."""
    error: str
    """Reason why there is no result."""
    seconds: float
    """Wall time, seconds."""
    attempts: int = 1
    """Number of attempts."""
    reason: Reason | None = None
    """Kind of failure; None where the unit was done."""


Begun = Callable[[Unit, str], None]
"""Function called with a unit that is begun and the name of the worker that does it."""


class Executor(Protocol):
    """Runs units of work, in this process or elsewhere.

    Example:
        >>> executor: Executor = Serial(Job, lambda job: Done(b""), time_limit=60)
        >>> list(executor.submit_all([]))
        []
    """

    def submit_all(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """Do units in any order; one outcome each, as they come. No unit makes it raise."""
        ...

    def close(self) -> None:
        """Stop at once, also in the middle of a unit."""
        ...


class Serial:
    """Runs units one after the other in this process.

    Args:
        prepare: Makes the job of a unit, with what it needs of earlier ones.
        do: Function that does a job.
        time_limit: Seconds for a unit. It is kept where the system has timers and this is the main thread.
        begun: Called when a unit is begun.
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
            except Exception as failure:  # whatever went wrong, it concerns this unit
                error, reason = f"{type(failure).__name__}: {failure}", Reason.CRASHED
            yield UnitResult(unit, done, error, time.monotonic() - start, reason=reason)

    def close(self) -> None:
        """See :class:`Executor`."""


class Processes:
    """Runs units in processes of their own on this machine; one that dies or hangs is replaced.

    Args:
        prepare: Makes the job of a unit, with what it needs of earlier ones.
        setups: The run, for each process; they differ in nothing but the device.
        time_limit: Seconds for a unit.
        begun: Called when a unit is begun, in any thread; a worker's name is its number, counted from 1.
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
        """Give a process one unit after the other, until there is none."""
        while not slot.closed:
            try:
                unit = waiting.get_nowait()
            except queue.Empty:
                return
            start = time.monotonic()
            self._begun(unit, name)
            try:
                outcome = slot.do(self._prepare(unit))
            except Exception as error:  # what it needs of earlier units is not there, or no process can be started
                outcome = Outcome(None, Reason.CRASHED, f"{type(error).__name__}: {error}")
            seconds = time.monotonic() - start
            done, reason, why, attempts = outcome
            self._outcomes.put(UnitResult(unit, done, why, seconds, attempts, reason))

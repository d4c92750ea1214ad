"""Executors of units of work: one after the other in this process, or in several processes beside it."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from advbench.execution.messages import Message, receive, send
from advbench.execution.tasks import Done
from advbench.execution.time_limit import OutOfTime, time_limit
from advbench.records.record import Reason
from advbench.records.unit import Unit

ATTEMPTS = 3
"""Number of attempts at a unit whose worker dies."""


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


class _Answer(NamedTuple):
    """Answer of a worker to a unit."""

    done: Done | None = None
    """Result; None where the unit failed."""
    reason: Reason | None = None
    """Kind of failure."""
    error: str = ""
    """Reason for the failure, as a sentence."""
    died: bool = False
    """Whether the worker's process ended."""


class Executor(Protocol):
    """Runs units of work, in this process or elsewhere.

    Example:
        >>> executor: Executor = Serial(lambda unit: Done(b""), time_limit=60)
        >>> executor.info()
        {'workers': 1}
    """

    def submit_all(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """Do units in any order; one outcome each, as they come. No unit makes it raise."""
        ...

    def info(self) -> dict[str, Any]:
        """The means of execution, for the manifest."""
        ...

    def close(self) -> None:
        """Stop at once, also in the middle of a unit."""
        ...


class Serial:
    """Runs units one after the other in this process.

    Args:
        do: Function that runs one unit.
        time_limit: Seconds for a unit. It is kept where the system has timers and this is the main thread.
    """

    def __init__(self, do: Callable[[Unit], Done], time_limit: float) -> None:
        self._do, self._time_limit = do, time_limit

    def submit_all(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """See :class:`Executor`."""
        for unit in units:
            start, done, error, reason = time.monotonic(), None, "", None
            try:
                with time_limit(self._time_limit):
                    done = self._do(unit)
            except OutOfTime:
                error, reason = _too_long(self._time_limit), Reason.TIME_LIMIT
            except Exception as failure:  # whatever went wrong, it concerns this unit
                error, reason = f"{type(failure).__name__}: {failure}", Reason.CRASHED
            yield UnitResult(unit, done, error, time.monotonic() - start, reason=reason)

    def info(self) -> dict[str, Any]:
        """See :class:`Executor`."""
        return {"workers": 1}

    def close(self) -> None:
        """See :class:`Executor`."""


def _too_long(seconds: float) -> str:
    return f"it took longer than the time limit of {seconds:g} seconds"


class Processes:
    """Runs units in processes of their own on this machine; one that dies or hangs is replaced.

    Args:
        setup: First message to each worker; see `advbench.execution.worker`.
        workers: Number of processes.
        time_limit: Seconds for a unit.
    """

    def __init__(self, setup: dict[str, Any], workers: int, time_limit: float) -> None:
        self._setup, self._count, self._time_limit = setup, workers, time_limit
        self._outcomes: queue.Queue[UnitResult] = queue.Queue()
        self._waiting: deque[tuple[Unit, int]] = deque()
        self._closed = False
        self._workers: dict[int, subprocess.Popen[bytes]] = {}

    def submit_all(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """See :class:`Executor`."""
        self._waiting.extend((unit, 1) for unit in units)
        total = len(self._waiting)
        for place in range(min(self._count, total)):
            threading.Thread(target=self._attend, args=(place,), daemon=True).start()
        for _ in range(total):
            yield self._outcomes.get()

    def info(self) -> dict[str, Any]:
        """See :class:`Executor`."""
        return {"workers": self._count}

    def close(self) -> None:
        """See :class:`Executor`."""
        self._closed = True
        self._waiting.clear()
        for worker in self._workers.values():
            _end(worker)

    def _attend(self, place: int) -> None:
        """Give a worker one unit after the other, until there is none."""
        while not self._closed:
            try:
                unit, attempt = self._waiting.popleft()
            except IndexError:
                return
            start = time.monotonic()
            answer = self._give(place, unit)
            if answer.died and attempt < ATTEMPTS and not self._closed:
                self._waiting.appendleft((unit, attempt + 1))
                continue
            seconds = time.monotonic() - start
            self._outcomes.put(UnitResult(unit, answer.done, answer.error, seconds, attempt, answer.reason))

    def _give(self, place: int, unit: Unit) -> _Answer:
        """Have a worker do a unit."""
        worker = self._workers.get(place)
        if worker is not None and worker.poll() is not None:
            _end(worker)
            worker = None
        if worker is None:
            worker = self._workers[place] = _start()
        expired = threading.Event()

        def end() -> None:
            expired.set()
            worker.kill()

        late = threading.Timer(self._time_limit, end)
        late.start()
        try:
            if worker.stdin is None or worker.stdout is None:
                raise EOFError("the worker has no pipes")
            send(worker.stdin, Message({"setup": self._setup, "unit": unit.to_json()}))
            answer = receive(worker.stdout)
        except (EOFError, OSError):
            code = worker.wait()
            if expired.is_set():
                return _Answer(reason=Reason.TIME_LIMIT, error=_too_long(self._time_limit))
            why = f"its process ended with code {code}, {ATTEMPTS} times"
            return _Answer(reason=Reason.CRASHED, error=why, died=True)
        finally:
            late.cancel()
        if error := answer.header["error"]:
            return _Answer(reason=Reason.CRASHED, error=error)
        return _Answer(Done(answer.content, answer.extra or None, answer.header["unknown"]))


def _start() -> "subprocess.Popen[bytes]":
    # One thread each: several that wait for each other's cores make everything slower, and results depend on their
    # number. A session of its own: Ctrl-C reaches the run alone, which ends its workers itself.
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return subprocess.Popen(
        [sys.executable, "-m", "advbench.execution.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | single,
        start_new_session=True,
    )


def _end(worker: "subprocess.Popen[bytes]") -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()

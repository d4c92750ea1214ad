"""Slots for worker processes: each holds one process, gives it one unit at a time, and replaces it when it fails.

The processes are managed by pebble, which enforces a task's time limit by killing its process. The executors of the
standard library and loky have no time limit, and lose every other open task if a process dies. Each slot needs a pool
of its own because a process that is killed while it sends a large result blocks all others in its pool.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, NamedTuple

from pebble import ProcessExpired, ProcessPool

from advbench.execution.unit_results import Done, Job
from advbench.execution.worker import Answer, Setup, begin, work
from advbench.records.record import Reason

ATTEMPTS = 3
"""Number of attempts at a unit whose process dies."""
START_SECONDS = 120
"""Seconds allowed for starting a process, in addition to the time limit of its unit."""


class Outcome(NamedTuple):
    """Outcome of a unit in a worker process."""

    done: Done | None
    """Result of the unit; None if there is none."""
    reason: Reason | None = None
    """Kind of failure."""
    error: str = ""
    """Reason for the missing result."""
    attempts: int = 1
    """Number of attempts."""


class Slot:
    """A slot for a worker process.

    Args:
        setup: Setup of the run that it works for.
        time_limit: Seconds per unit.
    """

    def __init__(self, setup: Setup, time_limit: float) -> None:
        self._setup, self._time_limit = setup, time_limit
        self._pool: ProcessPool | None = None
        self._lock = threading.Lock()
        self._closed = False

    def do(self, job: Job) -> Outcome:
        """Have the process run a unit; if it dies, a new process tries again.

        A process that is killed from outside may have used too much memory, so the last attempt attacks half as many
        images together.
        """
        code = 0
        for attempt in range(1, ATTEMPTS + 1):
            half = (len(job.unit.samples) + 1) // 2
            most = half if attempt == ATTEMPTS and code == -signal.SIGKILL else job.most
            try:
                answer = self._ask(work, (job._replace(most=most),), self._time_limit)
            except ProcessExpired as death:
                code = death.exitcode or 0
                self._drop()
            except TimeoutError:
                self._drop()
                return Outcome(None, Reason.TIME_LIMIT, too_long(self._time_limit), attempt)
            except CancelledError:
                break
            else:
                return Outcome(answer.done, None if answer.done else Reason.CRASHED, answer.error, attempt)
            if self._closed:
                break
        return Outcome(None, Reason.CRASHED, f"its process ended with code {code}, {ATTEMPTS} times", ATTEMPTS)

    def call(self, function: Callable[..., Answer], args: tuple[Any, ...], seconds: float) -> Answer:
        """Have the process call a function; failures are reported in the answer."""
        try:
            return self._ask(function, args, seconds)
        except TimeoutError:
            self._drop()
            return Answer(None, too_long(seconds))
        except (ProcessExpired, CancelledError) as error:
            self._drop()
            return Answer(None, f"its process ended: {error}")

    def _ask(self, function: Callable[..., Answer], args: tuple[Any, ...], seconds: float) -> Answer:
        """Have the process call a function and wait for the answer; its transfer counts towards the time limit.

        Raises:
            ProcessExpired: The process died.
            TimeoutError: It took too long.
            CancelledError: The slot was closed.
        """
        with self._lock:
            if self._closed:
                raise CancelledError
            if self._pool is None or not self._pool.active:
                self._pool = ProcessPool(1, initializer=begin, initargs=(self._setup, os.getpid()), context=_Fresh())
            pool = self._pool
        try:
            future = pool.schedule(function, args=args, timeout=seconds)
            answer: Answer = future.result(seconds + START_SECONDS)
        except RuntimeError as error:  # the pool is broken: its process died while it was idle, or could not start
            raise ProcessExpired(str(error)) from None  # type: ignore[no-untyped-call]
        return answer

    def _drop(self) -> None:
        """End the process, even in the middle of a unit."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()

    def close(self) -> None:
        """End the process for good."""
        self._closed = True
        self._drop()

    @property
    def closed(self) -> bool:
        """Whether it accepts no more units."""
        return self._closed


def too_long(seconds: float) -> str:
    """The error message of a unit that was ended at its time limit."""
    return f"it took longer than the time limit of {seconds:g} seconds"


class _Process(SpawnProcess):
    """A process that is started without the caller's script.

    `multiprocessing` would import that script in the new process, and a script without an
    `if __name__ == "__main__"` guard would start its run again there. Workers need nothing from it.
    """

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802 - the name that multiprocessing gives it
        with _starting, _no_script(), _one_thread(), _deaf():
            return SpawnProcess._Popen(process)


class _Fresh(SpawnContext):
    """Starts new interpreters without the caller's script."""

    Process = _Process


_starting = threading.Lock()


@contextmanager
def _no_script() -> Iterator[None]:
    """Make `multiprocessing` believe that the session is interactive."""
    main: dict[str, Any] = vars(sys.modules["__main__"])
    held: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(held)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Start processes that compute on one thread.

    Threads that compete for cores slow everything down, and results depend on their number. Libraries read these
    variables when they are imported.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    held = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(held)


@contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that ignore Ctrl-C: it reaches the run, which ends its workers itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

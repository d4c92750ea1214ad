"""How far a run has come, and how long it may still take."""

import time
from collections.abc import Callable

from advbench.execution.executor import UnitResult
from advbench.planning.forecast import describe_duration

Progress = Callable[[str, int, int], None]
"""Called with what is being done, units done, units in all."""


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

    def add(self, outcome: UnitResult) -> None:
        """One more is done."""
        self._done += 1
        self._unknown += len(outcome.unit.samples) if outcome.done is None else outcome.done.unknown
        passed = time.monotonic() - self._start
        left = passed / (self._done - self._first) * (self._total - self._done)
        unknown = f", {self._unknown} unknown" if self._unknown else ""
        unit = outcome.unit
        what = f"{unit.attack or unit.task} on {unit.model}{unknown}, {describe_duration(left)} left"
        self._progress(what, self._done, self._total)

"""Progress of a run, and the time that it may still take."""

import time
from collections.abc import Callable

from advbench.execution.executor import UnitResult
from advbench.planning.forecast import describe_duration

Progress = Callable[[str, int, int], None]
"""Function called with the current activity, the units done, and the units in all."""


class Count:
    """Reports the progress of a run, and the time that it may still take.

    Args:
        total: Number of units of the plan.
        done: Number of units that were done at the beginning.
        progress: Function that receives each report.
    """

    def __init__(self, total: int, done: int, progress: Progress) -> None:
        self._total, self._done, self._progress = total, done, progress
        self._first, self._start, self._unknown = done, time.monotonic(), 0
        progress("starting", done, total)

    def add(self, outcome: UnitResult) -> None:
        """Count one more unit as done."""
        self._done += 1
        self._unknown += len(outcome.unit.samples) if outcome.done is None else outcome.done.unknown
        passed = time.monotonic() - self._start
        left = passed / (self._done - self._first) * (self._total - self._done)
        unknown = f", {self._unknown} unknown" if self._unknown else ""
        unit = outcome.unit
        what = f"{unit.attack or unit.task} on {unit.model}{unknown}, {describe_duration(left)} left"
        self._progress(what, self._done, self._total)

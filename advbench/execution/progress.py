"""Progress of a run, and an estimate of the remaining time."""

import time
from collections.abc import Callable, Sequence

from advbench.execution.executor import UnitResult
from advbench.records.pace import Pace, describe_duration, describe_rate
from advbench.records.unit import Unit

Progress = Callable[[str, int, int], None]
"""Function called with the current activity, the number of units done, and the total."""


class Count:
    """Reports the progress of a run, its rate, and the estimated remaining time.

    Args:
        total: Number of units of the plan.
        units: The units that remain.
        progress: Function that receives each report.
    """

    def __init__(self, total: int, units: Sequence[Unit], progress: Progress) -> None:
        self._total, self._done, self._progress = total, total - len(units), progress
        self._first, self._start, self._unknown = self._done, time.monotonic(), 0
        self._pace = Pace(units)
        progress("starting", self._done, total)

    def add(self, outcome: UnitResult) -> None:
        """Count one more unit as done."""
        self._done += 1
        self._unknown += len(outcome.unit.samples) if outcome.done is None else outcome.done.unknown
        self._pace.add(outcome.unit, outcome.seconds)
        passed = time.monotonic() - self._start
        facts = [f"{outcome.unit.name} on {outcome.unit.model}"]
        if self._unknown:
            facts.append(f"{self._unknown} unknown")
        if passed > 0:
            facts.append(describe_rate(self._done - self._first, passed))
        facts.append(f"{describe_duration(self._pace.left(passed) or 0.0)} left")
        self._progress(", ".join(facts), self._done, self._total)

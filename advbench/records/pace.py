"""The pace of a run, and the time that the rest will take. Does not import torch."""

from collections import defaultdict
from collections.abc import Iterable

from advbench.records.unit import Unit


class Pace:
    """Estimates how long the remaining units will take, from the times of finished ones.

    Units differ by orders of magnitude, so they are not merely counted: each is weighted by its passes and images, and
    units of the same attack on the same model take about the same time per weight. An attack without finished units is
    assumed to be like the model's other units, or else like all others.

    Args:
        units: The units that remain.

    Example:
        >>> unit = Unit(unit_id="a", task="attack", model="m", dataset="d", samples=(0,), sample_ids=("ff",))
        >>> pace = Pace([unit] * 4)
        >>> pace.add(unit, seconds=2.0)
        >>> pace.left(elapsed=1.0)  # two at a time
        3.0
    """

    def __init__(self, units: Iterable[Unit]) -> None:
        self._open: dict[_Kind, float] = defaultdict(float)
        for unit in units:
            self._open[_kind(unit)] += _weight(unit)
        self._seconds: dict[_Kind, float] = defaultdict(float)
        self._weight: dict[_Kind, float] = defaultdict(float)

    def add(self, unit: Unit, seconds: float) -> None:
        """Count a unit as done.

        Args:
            unit: One of the units that remained.
            seconds: Wall time that it took.
        """
        kind, weight = _kind(unit), _weight(unit)
        self._open[kind] = max(0.0, self._open[kind] - weight)
        for level in _levels(kind):
            self._seconds[level] += seconds
            self._weight[level] += weight

    def left(self, elapsed: float) -> float | None:
        """Seconds until everything is done; None as long as nothing is.

        Args:
            elapsed: Wall time in which the units added so far were done by all workers, seconds.
        """
        spent = self._seconds[()]
        if not self._weight[()]:
            return None
        work = sum(weight * self._per_weight(kind) for kind, weight in self._open.items() if weight)
        return elapsed * work / spent if spent else 0.0

    def _per_weight(self, kind: "_Kind") -> float:
        level = next(level for level in _levels(kind) if self._weight[level])
        return self._seconds[level] / self._weight[level]


_Kind = tuple[str, ...]


def _kind(unit: Unit) -> _Kind:
    return unit.task, unit.model, unit.dataset, unit.attack


def _levels(kind: _Kind) -> tuple[_Kind, ...]:
    """From specific to general: the kind itself, its model and data set, its task, and everything."""
    return kind, kind[:3], kind[:1], ()


def _weight(unit: Unit) -> float:
    return max(unit.passes, 1.0) * max(len(unit.samples), 1)


def describe_duration(seconds: float) -> str:
    """Format a duration for people.

    Example:
        >>> describe_duration(0.2), describe_duration(75), describe_duration(5400)
        ('< 1 s', '75 s', '1.5 h')
    """
    if seconds < 1:
        return "< 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def describe_rate(units: int, seconds: float) -> str:
    """Format a rate of units for people.

    Example:
        >>> describe_rate(120, 10), describe_rate(6, 60), describe_rate(1, 3600)
        ('12 units a second', '6 units a minute', '1 unit an hour')
    """
    names = {1: "a second", 60: "a minute", 3600: "an hour"}
    length = next((length for length in names if units / seconds * length >= 1), 3600)
    rate = units / seconds * length
    shown = f"{rate:.2g}" if rate < 10 else f"{rate:.0f}"
    return f"{shown} unit{'' if shown == '1' else 's'} {names[length]}"

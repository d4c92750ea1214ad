"""The dask worker's side: each of its threads has a process for the units, which can be killed when it hangs.

Dask itself cannot kill a task, and a task that crashes its worker's process takes the other tasks with it.
"""

import multiprocessing
import threading
from typing import NamedTuple

from advbench import __version__
from advbench.execution.slots import Outcome, Slot
from advbench.execution.unit_results import Job
from advbench.execution.worker import Setup, examine
from advbench.planning.identity.code import code_digest
from advbench.planning.identity.run import library_versions

_slots: dict[int, tuple[Setup, Slot]] = {}
_lock = threading.Lock()


class Installed(NamedTuple):
    """The versions of advbench and of the packages that results depend on."""

    advbench: str
    """Version of advbench, with the digest of its code."""
    packages: dict[str, str]
    """Name of each of :data:`advbench.planning.identity.run.LIBRARIES` -> version."""

    @classmethod
    def here(cls) -> "Installed":
        """The code in this process."""
        return cls(f"{__version__} ({code_digest()})", library_versions())

    def difference(self, other: "Installed") -> str:
        """Description of the first difference; empty if there is none.

        Example:
            >>> Installed("1", {"torch": "2.11"}).difference(Installed("1", {"torch": "2.12"}))
            'torch 2.11 instead of 2.12'
        """
        if self.advbench != other.advbench:
            return f"advbench {self.advbench} instead of {other.advbench}"
        for name, version in self.packages.items():
            if version != other.packages[name]:
                return f"{name} {version} instead of {other.packages[name]}"
        return ""


def imported() -> None:
    """Do nothing: calling it makes a worker import this module, and torch with it."""


def unfit(setup: Setup, wanted: Installed, seconds: float) -> str:
    """Why this worker cannot work for a run: different versions, or missing models or images; empty if it can.

    Args:
        setup: The run that it would work for.
        wanted: The code that the run itself uses.
        seconds: Seconds for loading the models.
    """
    if difference := Installed.here().difference(wanted):
        return f"it has {difference}"
    return _slot(setup, seconds).call(examine, (), seconds).error


def work_here(setup: Setup, wanted: Installed, job: Job, seconds: float) -> Outcome | str:
    """Run a unit of work.

    Args:
        setup: The run that the unit belongs to.
        wanted: The code that the run itself uses.
        job: The unit, with the logits of its clean images.
        seconds: Seconds for the unit.

    Returns:
        The outcome; if this worker cannot work for the run, a text that says why.
    """
    held = _slots.get(threading.get_ident())
    if (held is None or held[0] != setup) and (why := unfit(setup, wanted, seconds)):
        drop()
        return why
    return _slot(setup, seconds).do(job)


def drop() -> None:
    """End the processes of this worker, even in the middle of a unit."""
    with _lock:
        held = list(_slots.values())
        _slots.clear()
    for _, slot in held:
        slot.close()


def _slot(setup: Setup, seconds: float) -> Slot:
    """The process of this thread, for a run."""
    # Under a nanny a worker is a daemon, and `multiprocessing` does not allow daemons to have children, which might
    # outlive them. These end by themselves when their worker does.
    multiprocessing.process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    thread = threading.get_ident()
    with _lock:
        held = _slots.get(thread)
        if held is not None and held[0] == setup:
            return held[1]
        slot = Slot(setup, seconds)
        _slots[thread] = setup, slot
    if held is not None:
        held[1].close()
    return slot

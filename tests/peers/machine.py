"""The machine that measurements run on."""

import platform
from collections.abc import Iterable, Mapping
from typing import Any

from advbench.planning.identity import environment


def processor() -> str:
    """The processor's name."""
    return environment.processor() or platform.processor() or platform.machine()


def processors(rows: Iterable[Mapping[str, Any]]) -> str:
    """The processors that stored rows were measured on; this machine's if there are no rows."""
    return " and ".join(dict.fromkeys(row["processor"] for row in rows)) or processor()


def busy_seconds() -> float:
    """Processor seconds of finished child processes and of their children."""
    import resource  # there is none on Windows

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

"""The machine that measurements run on."""

import platform

from advbench.planning.identity import environment


def processor() -> str:
    """The processor's name."""
    return environment.processor() or platform.processor() or platform.machine()


def busy_seconds() -> float:
    """Processor seconds of finished child processes and of their children."""
    import resource  # there is none on Windows

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

"""Waiting for what other processes do, with a limit: a test whose process died fails with a reason, not never."""

import subprocess
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Process = subprocess.Popen | BaseProcess
LIMIT = 300
"""Seconds after which a test gives up: far more than anything here takes, on a busy machine too."""


def until(happens: Callable[[], T], what: str, *processes: Process, log: Path | None = None, limit: float = LIMIT) -> T:
    """Wait until something happens, and give what is true then.

    Args:
        happens: Something true once it has happened.
        what: What is waited for, as a sentence.
        processes: Those without which it cannot happen.
        log: Where they write to; its end is told if they fail.
        limit: Seconds.

    Raises:
        AssertionError: A process ended before it happened, or the time is up.
    """
    stop = time.monotonic() + limit
    while True:
        ended = [code for process in processes if (code := _code(process)) is not None]
        if found := happens():
            return found
        told = log.read_text(errors="replace")[-2000:] if log is not None and log.exists() else ""
        assert not ended, f"expected that {what}; the process ended with code {ended[0]}\n{told}"
        assert time.monotonic() < stop, f"expected that {what}; it did not in {limit} seconds\n{told}"
        time.sleep(0.02)


def ended(process: Process, *, limit: float = LIMIT) -> int:
    """Wait until a process ends, and give its exit code; one that does not end is killed.

    Raises:
        AssertionError: The time is up.
    """
    try:
        until(lambda: _code(process) is not None, "the process ends", limit=limit)
    except AssertionError:
        process.kill()
        raise
    code = _code(process)
    assert code is not None
    return code


def _code(process: Process) -> int | None:
    return process.poll() if isinstance(process, subprocess.Popen) else process.exitcode

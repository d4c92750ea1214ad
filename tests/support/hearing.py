"""Processes that hear Ctrl-C: a job in the background is born deaf to it, and so is what it starts."""

import signal
import subprocess
from typing import Any


def start(command: list[Any], **options: Any) -> "subprocess.Popen[Any]":
    """Start a process to which SIGINT means what it means at a terminal."""
    return subprocess.Popen(command, preexec_fn=_hear, **options)


def _hear() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

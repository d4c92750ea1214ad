"""Where a run took place: versions, machine, commit. Recorded, but not part of its identity. Does not import torch."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    *("torch", "torchvision", "foolbox", "numpy", "pandas", "pyarrow", "scipy", "pillow", "safetensors", "pydantic"),
    *("efficientnet-lite-pytorch", "numba", "captum"),
)
"""Packages whose versions are recorded, if installed."""


def environment() -> dict[str, Any]:
    """Python, machine and commit, as far as known.

    Example:
        >>> environment()["python"].count(".")
        2
    """
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "commit": _commit(),
        "arguments": sys.argv[1:],
    }


def versions() -> dict[str, str]:
    """Name -> version, of `PACKAGES`."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """Name of the processor; empty if unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _commit() -> str:
    """Commit of the current folder, with a plus if there are uncommitted changes; empty outside of git."""
    command = ("git", "describe", "--always", "--dirty=+", "--abbrev=40", "--match=")
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - no user input in it
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()

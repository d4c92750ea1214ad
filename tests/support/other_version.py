"""Makes a worker of dask differ from the run: another torch, or a file that it lacks."""

import os
from pathlib import Path

from advbench.planning.identity import run as identity

lacks = os.environ.get("ADVBENCH_TEST_LACKS")


def dask_setup(worker):
    """What dask calls when the worker starts."""
    from advbench.execution.clusters import remote

    remote.library_versions = _another_torch if lacks is None else _after_losing_the_file


def _another_torch():
    return identity.library_versions() | {"torch": "1.0"}


def _after_losing_the_file():
    """Asked once the run is planned, which reads the file."""
    Path(lacks).unlink(missing_ok=True)
    return identity.library_versions()

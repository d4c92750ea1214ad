"""Makes a worker of dask differ from the run: another torch, or a file that it lacks."""

import os
from pathlib import Path

from advbench.planning.identity import run as identity

lacks = os.environ.get("ADVBENCH_TEST_LACKS")


def dask_setup(worker):
    """What dask calls when the worker starts."""
    from advbench.execution import remote

    if lacks is None:
        remote.library_versions = lambda: identity.library_versions() | {"torch": "1.0"}
    else:
        Path(lacks).unlink()

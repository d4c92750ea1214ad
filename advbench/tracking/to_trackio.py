"""Stores a run as a Trackio run."""

import os

from advbench.sanitize import slug
from advbench.tracking.entry import PROJECT, Entry


def keep(entry: Entry) -> str:
    """Store an entry as a Trackio run, on this machine unless its environment variables name a Space or a server.

    Only the entry is stored, and no system metrics.

    Args:
        entry: Entry of the run.

    Returns:
        The command that shows it, or its location.
    """
    import trackio

    alone = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    trackio.init(project=PROJECT, name=entry.name, config=entry.params | entry.tags, **alone)
    try:
        trackio.log(entry.metrics)
        for file in entry.files:
            trackio.log_artifact(str(file), name=slug(f"{entry.name} {file.name}"), type="report")
    finally:
        trackio.finish()
    place = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
    return place or f'this machine; `trackio show --project "{PROJECT}"` shows it'

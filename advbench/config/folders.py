"""Folders of the user's that advbench keeps things in."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Path of the user's cache, or of the folder that ADVBENCH_CACHE names; it may not exist yet."""
    from platformdirs import user_cache_path

    named = os.environ.get("ADVBENCH_CACHE")
    return Path(named) if named else user_cache_path("advbench", appauthor=False)

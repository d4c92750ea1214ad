"""Folders of the user's: that in which advbench keeps things, and those whose files it reads."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from advbench.errors import CLOSED, UserError
from advbench.sanitize import display_name


def cache_folder() -> Path:
    """Path of the user's cache, or of the folder that ADVBENCH_CACHE names; it may not exist yet."""
    from platformdirs import user_cache_path

    named = os.environ.get("ADVBENCH_CACHE")
    return Path(named) if named else user_cache_path("advbench", appauthor=False)


def files_below(folder: Path, suffix: str, *, deep: bool = True) -> Iterator[Path]:
    """All files in a folder and the folders in it whose names end so, hidden ones left out; in no order.

    `Path.glob` passes over a folder that it must not look into, and what is read is less than what is there.

    Args:
        folder: Folder to look in.
        suffix: Ending of the names, with its dot.
        deep: Whether to look into the folders in it too.

    Raises:
        UserError: One of the folders cannot be looked into.

    Example:
        >>> sorted(file.name for file in files_below(Path(__file__).parent, "ers.py"))
        ['folders.py']
    """
    for place, folders, names in os.walk(folder, onerror=_closed):
        if not deep:
            folders.clear()
        yield from (
            found
            for name in names
            if name.endswith(suffix) and not name.startswith(".") and (found := Path(place, name)).is_file()
        )


def _closed(error: OSError) -> NoReturn:
    where, why = display_name(os.fsdecode(error.filename), limit=200), (error.strerror or "unknown error").lower()
    raise UserError(f"cannot look into the folder {where}: {why}", hint=CLOSED) from None

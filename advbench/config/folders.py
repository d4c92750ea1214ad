"""The user's folders: advbench's cache, and those whose files it reads."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from advbench.errors import CLOSED, UserError
from advbench.sanitize import display_name


def cache_folder() -> Path:
    """Path of the user's cache, or of the folder that ADVBENCH_CACHE names; it need not exist yet."""
    from platformdirs import user_cache_path

    named = os.environ.get("ADVBENCH_CACHE")
    return Path(named) if named else user_cache_path("advbench", appauthor=False)


def files_below(folder: Path, suffix: str, *, deep: bool = True) -> Iterator[Path]:
    """All files in a folder and its subfolders with a given suffix, without hidden ones; in no particular order.

    `Path.glob` silently skips folders without read permission, so that some files would be missed.

    Args:
        folder: Folder to search.
        suffix: Suffix of the names, with its dot.
        deep: Whether to search subfolders too.

    Raises:
        UserError: One of the folders cannot be read.

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
    raise UserError(f"cannot read the folder {where}: {why}", hint=CLOSED) from None

"""The user's folders: advbench's cache, and those whose files it reads."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from advbench.errors import CLOSED, UserError
from advbench.sanitize import display_name


def cache_folder() -> Path:
    """Path of the user's cache, or of the folder that ADVBENCH_CACHE names; it need not exist yet."""
    from platformdirs import user_cache_path

    named = os.environ.get("ADVBENCH_CACHE")
    return Path(named) if named else user_cache_path("advbench", appauthor=False)


def refuse_in_data(out: Path, sources: Iterable[str | Path | None]) -> None:
    """Refuse a folder for results inside a folder whose images are read: the next use would take results for data.

    Args:
        out: Folder for the results, which need not exist.
        sources: Files and folders that are read; None stands for data that have no path.

    Raises:
        UserError: It is one of these folders, or inside one.

    Example:
        >>> refuse_in_data(Path("reports"), ["tiger.jpg", None])
    """
    place = out.absolute().resolve()
    for source in filter(str, (each for each in sources if each is not None)):  # Path("") is the current folder
        folder = Path(source)
        if folder.is_dir() and (read := folder.absolute().resolve()) in (place, *place.parents):
            where = "" if read == place else "inside "
            message = f"results cannot go to {display_name(out, limit=200)}, {where}the folder whose images are read"
            raise UserError(message, hint="choose another folder with --out")


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

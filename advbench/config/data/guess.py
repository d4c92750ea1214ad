"""Guess the kind of data set at a path from the names of its files. Does not import torch."""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from advbench.catalog.user_datasets import HUB

_SUFFIXES = {
    **dict.fromkeys((".bmp", ".jpeg", ".jpg", ".png", ".webp"), "folder"),
    **dict.fromkeys((".npz", ".npy", ".safetensors"), "arrays"),
    ".parquet": "parquet",
    ".tar": "webdataset",
}
"""File suffix -> data set whose files have it."""
_SAVED = ("dataset_dict.json", "state.json")
"""Files in a folder written by `save_to_disk` of the package datasets."""
_LOOKED_AT = 2000
"""Maximum number of file names that are looked at."""


def guessed_name(path: Path) -> str | None:
    """Guess the data set at a path; the files themselves are not opened.

    Args:
        path: A file, a folder, or a pattern such as `val-{000..049}.tar`.

    Returns:
        Name of a data set that is read from a path, such as "folder"; `hf/` with the path for data saved by the package
        datasets; None if there is nothing at the path, or nothing known.

    Example:
        >>> guessed_name(Path("val-{000..049}.tar")), guessed_name(Path("no/such/folder"))
        ('webdataset', None)
    """
    if not path.is_dir():
        of_several = any(sign in path.name for sign in "*?{")
        return _SUFFIXES.get(path.suffix.lower()) if of_several or path.is_file() else None
    if any((path / name).is_file() for name in _SAVED):
        return f"{HUB}{path.resolve()}"
    if (path / "labels.csv").is_file():
        return "folder"
    kinds = Counter(filter(None, (_SUFFIXES.get(suffix) for suffix in islice(_suffixes(path), _LOOKED_AT))))
    most = kinds.most_common(1)
    return most[0][0] if most else None


def _suffixes(folder: Path) -> Iterator[str]:
    for _, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(name).suffix.lower() for name in sorted(files) if not name.startswith("."))

"""Find the pictures that a person means: files, and folders with all below them."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from advbench.datasets.images.files import SUFFIXES, PictureError, status_of, why_not
from advbench.sanitize import display_name

UNREAD = (
    *(".avif", ".dib", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".pbm", ".pgm", ".pnm", ".ppm"),
    *(".tga", ".tif", ".tiff"),
)
"""Suffixes of pictures that other programs read; in a folder they are passed over."""


_KINDS = " ".join(SUFFIXES)


class Found(NamedTuple):
    """What `find_pictures` came back with."""

    pictures: tuple[Path, ...]
    """Files to read, in the order in which they were named; those of a folder sorted."""
    problems: tuple[PictureError, ...]
    """What could not be searched or led to nothing."""
    passed_over: tuple[Path, ...] = ()
    """Files in the folders with a suffix in `UNREAD`."""

    @property
    def unread(self) -> str:
        """What is said of the files that are passed over, in one sentence; empty if none are.

        Example:
            >>> Found((), (), (Path("a.gif"),)).unread
            "1 picture is passed over, 'a.gif': only .bmp .jpeg .jpg .png .webp files are looked for; save it as PNG"
        """
        if not self.passed_over:
            return ""
        count, first = len(self.passed_over), display_name(self.passed_over[0], limit=200)
        many = f"{count} pictures are passed over, such as" if count > 1 else "1 picture is passed over,"
        return f"{many} '{first}': only {_KINDS} files are looked for; save {'them' if count > 1 else 'it'} as PNG"

    @property
    def lacks(self) -> str:
        """Why some pictures of the folders are missing, in one sentence; empty if none are."""
        return str(self.problems[0]) if self.problems else self.unread


def find_pictures(paths: Iterable[str | Path]) -> Found:
    """Expand folders into the pictures below them, and collect what cannot be found.

    A file is taken whatever its suffix. A folder is searched with its subfolders, links included, for
    `SUFFIXES`; hidden files and folders in it are skipped. A file reached twice is taken once.

    Args:
        paths: Files and folders as a person named them.

    Returns:
        The pictures, and a problem for each path that is missing, unreadable or a folder without pictures.

    Example:
        >>> print(find_pictures(["no/such/tiger.jpg"]).problems[0])
        cannot read 'no/such/tiger.jpg': no such file or folder; check the spelling
    """
    pictures: dict[str, Path] = {}
    problems: list[PictureError] = []
    passed_over: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        try:
            is_folder = stat.S_ISDIR(status_of(path).st_mode)
        except PictureError as problem:
            problems.append(problem)
            continue
        for picture in _search(Path(path), problems) if is_folder else [Path(path)]:
            if is_folder and picture.suffix.lower() in UNREAD:
                passed_over.append(picture)
            else:
                pictures.setdefault(os.path.realpath(picture), picture)
    return Found(tuple(pictures.values()), tuple(problems), tuple(passed_over))


def _search(folder: Path, problems: list[PictureError]) -> Iterator[Path]:
    """Yield the pictures below a folder, those of unread kinds too, without recursion: strangers choose the depth."""
    visited: set[tuple[int, int]] = set()
    pending, fruitless = [folder], True
    while pending:
        here = pending.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = sorted(entry for entry in here.iterdir() if not entry.name.startswith("."))
            folders = [entry for entry in entries if entry.is_dir()]
        except OSError as error:
            problems.append(PictureError(here, why_not(error)))
            fruitless = False
            continue
        for entry in sorted({*entries} - {*folders}):
            suffix = entry.suffix.lower()
            fruitless = fruitless and suffix not in SUFFIXES
            if suffix in SUFFIXES or suffix in UNREAD:
                yield entry
        pending += reversed(folders)
    if fruitless:
        problems.append(PictureError(folder, f"no pictures in this folder; only {_KINDS} files are looked for"))

"""Atomic writes: a file exists completely or not at all. Does not import torch."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from advbench.errors import UserError

_ELSEWHERE = "choose another folder with --out"
ANOTHER_FILE = "choose another file, or make room for this one"
"""What to do where a file cannot be written whose place no option names."""


def write_atomic(path: Path, content: bytes, *, hint: str = _ELSEWHERE) -> Path:
    """Write a file so that it exists completely or not at all, even after a crash or a power cut.

    Args:
        path: Path of the file; missing folders are created. Devices and pipes are written to directly.
        content: Bytes of the file.
        hint: What to do if it cannot be written: the option that names its place.

    Returns:
        ``path``.

    Raises:
        UserError: If it cannot be written: no permission, no space, or a file where a folder is expected.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomic(Path(folder) / "a" / "b.txt", b"hello").read_bytes()
        b'hello'
    """
    temporary = path.parent / f".{path.name}.tmp-{uuid.uuid4().hex}"
    try:
        if path.is_char_device() or path.is_fifo():  # must not be replaced by a file
            path.write_bytes(content)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(f"cannot write {path}: {why}", hint=hint) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


@contextmanager
def folder_for_results(path: Path, *, hint: str = _ELSEWHERE) -> Iterator[Path]:
    """Make sure, before any work starts, that a folder exists and is writable.

    If the folder is still empty at the end, it is removed again, with the parents that were created for it.

    Args:
        path: Path of the folder.
        hint: What to do if it cannot be written to: the option that names it.

    Raises:
        UserError: If it cannot be created or written to.

    Example:
        >>> with tempfile.TemporaryDirectory() as here:
        ...     with folder_for_results(Path(here) / "a" / "b") as folder:
        ...         there = folder.is_dir()
        ...     there, (Path(here) / "a").exists()
        (True, False)
    """
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise UserError(f"cannot write to the folder {path}: {error.strerror}", hint=hint) from error
    try:
        yield path
    finally:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()


def _sync_folder(folder: Path) -> None:
    """Make the rename of a file durable, on systems that can open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

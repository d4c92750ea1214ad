"""How results are written so that nothing is lost: whole or not at all. No torch."""

import csv
import io
import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from advbench.errors import UserError
from advbench.records import COLUMNS, Record, as_row

_ELSEWHERE = "choose another folder with --out"
_FORMULA = re.compile(r"[=+\-@\t\r\n\0]")


def write_atomic(path: Path, content: bytes) -> Path:
    """Write a file so that it is there whole or not at all, also after a crash or a power cut.

    Args:
        path: Where; missing folders are made. To a device or a pipe it is written as to any other.
        content: What.

    Returns:
        ``path``.

    Raises:
        UserError: If it cannot be written: no permission, no space, a file in place of a folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomic(Path(folder) / "a" / "b.txt", b"hello").read_bytes()
        b'hello'
    """
    temporary = path.parent / f".{path.name}.tmp-{uuid.uuid4().hex}"
    try:
        if path.is_char_device() or path.is_fifo():  # a file must not take its place
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
        raise UserError(f"cannot write {path}: {why}", hint=_ELSEWHERE) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


@contextmanager
def folder_for_results(path: Path) -> Iterator[Path]:
    """A folder that is there, and can be written to, before any work starts.

    Where nothing was put into it in the end, it is removed again, with the parents that were made for it.

    Raises:
        UserError: If it cannot be made or written to.

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
        raise UserError(f"cannot write to the folder {path}: {error.strerror}", hint=_ELSEWHERE) from error
    try:
        yield path
    finally:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()


def write_records(stem: Path, records: Sequence[Record]) -> tuple[Path, Path]:
    """Write records as ``stem``.parquet (lossless) and ``stem``.csv (for spreadsheets).

    In the CSV a list is JSON, and a text that a spreadsheet would run as a formula is led by an apostrophe.

    Raises:
        UserError: As :func:`write_atomic`.
    """
    parquet = write_atomic(stem.with_suffix(".parquet"), as_parquet(records))
    text = io.StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *(map(_cell, as_row(record).values()) for record in records)])
    return parquet, write_atomic(stem.with_suffix(".csv"), text.getvalue().encode())


def as_parquet(records: Sequence[Record], metadata: Mapping[str, str] | None = None) -> bytes:
    """Records as a Parquet file.

    Args:
        records: The rows.
        metadata: What else to say in the file, by key.

    Example:
        >>> as_parquet([])[:4]
        b'PAR1'
    """
    import pyarrow as pa

    return parquet_of(pa.Table.from_pylist([as_row(record) for record in records], schema=schema()), metadata or {})


def parquet_of(table: Any, metadata: Mapping[str, str]) -> bytes:
    """An Arrow table as a Parquet file.

    Args:
        table: The rows.
        metadata: What else to say in the file, by key.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(dict(metadata)), sink, write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def guarded(text: str) -> str:
    """A text for a CSV: one that a spreadsheet would run as a formula is led by an apostrophe.

    Example:
        >>> guarded("=1+1"), guarded("tiger")
        ("'=1+1", 'tiger')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def _cell(value: Any) -> Any:
    """A value as it stands in a CSV."""
    if isinstance(value, tuple):
        return json.dumps(value)
    return guarded(value) if isinstance(value, str) else value


def schema() -> Any:
    """The Arrow schema: one column for each field of a record."""
    import pyarrow as pa

    types: dict[Any, Any] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    types |= {kind | None: arrow for kind, arrow in types.items()}
    types[tuple[int, ...] | None] = pa.list_(pa.int64())
    return pa.schema([(field.name, types[field.type]) for field in fields(Record)])


def _sync_folder(folder: Path) -> None:
    """Make the new name of a file durable; not every system can open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Records as Parquet and as CSV. Does not import torch."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from advbench.records.record import COLUMNS, Reason, Record, as_row
from advbench.records.storage.atomic import write_atomic

_FORMULA = re.compile(r"[=+\-@\t\r\n\0]")


def write_records(stem: Path, records: Sequence[Record]) -> tuple[Path, Path]:
    """Write records as ``stem``.parquet (lossless) and ``stem``.csv (for spreadsheets).

    In the CSV, lists are JSON, and a text that a spreadsheet would run as a formula gets a leading apostrophe.

    Raises:
        UserError: As :func:`write_atomic`.
    """
    parquet = write_atomic(stem.with_suffix(".parquet"), as_parquet(records))
    text = io.StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *(map(_cell, as_row(record).values()) for record in records)])
    return parquet, write_atomic(stem.with_suffix(".csv"), text.getvalue().encode())


def as_parquet(records: Sequence[Record], metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialise records as a Parquet file.

    Args:
        records: Rows of the table.
        metadata: Additional entries for the file's metadata.

    Example:
        >>> as_parquet([])[:4]
        b'PAR1'
    """
    import pyarrow as pa

    columns = [pa.array([getattr(record, field.name) for record in records], field.type) for field in schema()]
    return parquet_of(pa.table(columns, schema=schema()), metadata or {})


def parquet_of(table: Any, metadata: Mapping[str, str]) -> bytes:
    """Serialise an Arrow table as a Parquet file.

    Args:
        table: Rows as an Arrow table.
        metadata: Additional entries for the file's metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with_seal = "seal" in metadata  # it covers every byte, so the pages need no checksums
    pq.write_table(table.replace_schema_metadata(dict(metadata)), sink, write_page_checksum=not with_seal)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def guarded(text: str) -> str:
    """Escape a text for a CSV: one that a spreadsheet would run as a formula gets a leading apostrophe.

    Example:
        >>> guarded("=1+1"), guarded("tiger")
        ("'=1+1", 'tiger')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def _cell(value: Any) -> Any:
    """A value as written to a CSV."""
    if isinstance(value, tuple):
        return json.dumps(value)
    return guarded(value) if isinstance(value, str) else value


@cache
def schema() -> Any:
    """The Arrow schema: one column for each field of a record."""
    import pyarrow as pa

    types: dict[Any, Any] = {
        str: pa.string(),
        Reason: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
    }
    types |= {kind | None: arrow for kind, arrow in types.items()}
    types[tuple[int, ...] | None] = pa.list_(pa.int64())
    return pa.schema([(field.name, types[field.type]) for field in fields(Record)])

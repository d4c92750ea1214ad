"""The rows of one unit of work in a separate Parquet file, written once and sealed. Does not import torch."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from advbench.records.record import COLUMNS, Reason, Record
from advbench.records.storage.checksum import BLANK, is_intact, sealed
from advbench.records.storage.tables import as_parquet, parquet_of, schema
from advbench.records.unit import FORMAT, Unit

_TEXTS = tuple(field.name for field in fields(Record) if field.type in (str, str | None, Reason | None))
"""Columns with few distinct values, read as categories."""


def as_shard(records: Sequence[Record], unit_id: str) -> bytes:
    """Serialise the rows of a unit as a sealed Parquet file.

    Example:
        >>> read_shard(as_shard([], "ab"), "ab").num_rows
        0
    """
    return sealed(as_parquet(records, {"unit_id": unit_id, "format": str(FORMAT), "seal": BLANK}))


def read_shard(content: bytes, unit_id: str) -> Any:
    """Read the rows of a shard as an Arrow table.

    Args:
        content: Bytes of the file.
        unit_id: Id of the unit whose rows are expected.

    Raises:
        ValueError: The file was truncated or changed, or is the shard of another unit or version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_intact(content):
        raise ValueError("the file was truncated or changed")
    metadata = pq.read_metadata(pa.BufferReader(content))
    said = metadata.metadata
    if said[b"format"] != str(FORMAT).encode():
        raise ValueError(f"the file has format {said[b'format'].decode()}, not {FORMAT}")
    if said[b"unit_id"] != unit_id.encode():
        raise ValueError(f"the file holds the results of unit {said[b'unit_id'].decode()}")
    # only now: a shard of another version may lack requested columns
    return _rows_of(content, metadata)


def _rows_of(content: bytes, metadata: Any) -> Any:
    """The rows of a Parquet file with every column of a record; columns newer than the file are null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [name for name in _TEXTS if name in metadata.schema.names]
    file = pq.ParquetFile(pa.BufferReader(content), metadata=metadata, read_dictionary=texts)
    table = file.read(use_threads=False).replace_schema_metadata()
    for place, field in enumerate(schema()):
        if field.name not in table.column_names:
            missing = pa.nulls(len(table), field.type)
            table = table.add_column(
                place, field.name, missing.dictionary_encode() if field.name in _TEXTS else missing
            )
    return table


def check_unit(content: bytes, unit: Unit) -> None:
    """Check that a shard contains the rows of a unit, one for each of its images.

    Raises:
        ValueError: As :func:`read_shard`, or rows are missing.
    """
    table = read_shard(content, unit.unit_id)
    if tuple(table["sample_id"].to_pylist()) != unit.sample_ids:
        raise ValueError("the images are not those of the unit")


def gathered(tables: Sequence[Any], only: Sequence[str] = COLUMNS) -> Any:
    """Concatenate the Arrow tables of shards.

    Args:
        tables: Tables with the same columns.
        only: The columns of the tables.

    Example:
        >>> gathered([]).num_rows
        0
    """
    import pyarrow as pa

    columns = [
        pa.field(name, pa.dictionary(pa.int32(), kind) if name in _TEXTS else kind)
        for name in only
        for kind in [schema().field(name).type]
    ]
    return pa.concat_tables([pa.schema(columns).empty_table(), *tables]).unify_dictionaries()


def as_frame(table: Any) -> Any:
    """The rows of a run as a pandas frame; the table is consumed.

    Texts are categories, integers and booleans are nullable (`Int64`, `boolean`), other numbers are floats with NaN for
    unknown values, and lists of classes remain Arrow lists.

    Example:
        >>> as_frame(gathered([]))["eps"].dtype
        dtype('float64')
    """
    import pandas as pd
    import pyarrow as pa

    classes = schema().field("clean_topk").type
    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype(), classes: pd.ArrowDtype(classes)}
    frame = table.to_pandas(types_mapper=types.get, split_blocks=True, self_destruct=True)
    pa.default_memory_pool().release_unused()  # memory used for reading: a sixth of a gigabyte for a million rows
    return frame


def as_whole(table: Any, seals: Sequence[str]) -> bytes:
    """Serialise the rows of all shards as one sealed file, which identifies its shards.

    It contains nothing that the shards do not, but reading thousands of them takes seconds.

    Args:
        table: Result of :func:`gathered`.
        seals: Digests of the shards, in the order of the rows.
    """
    return sealed(parquet_of(table, {_SHARDS: _digest_of(seals), "format": str(FORMAT), "seal": BLANK}))


def read_whole(content: bytes, seals: Sequence[str]) -> Any:
    """Read the rows of all shards; None if the file is damaged or was made from other shards."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_intact(content):
        return None
    metadata = pq.read_metadata(pa.BufferReader(content))
    if metadata.metadata.get(_SHARDS.encode()) != _digest_of(seals).encode():
        return None
    return gathered([_rows_of(content, metadata)])


_SHARDS = "shards"


def _digest_of(seals: Sequence[str]) -> str:
    return hashlib.sha256("".join(seals).encode()).hexdigest()

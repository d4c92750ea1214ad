"""Parquet files as the Hugging Face hub stores them, a column of encoded images and one of labels; needs only pyarrow.

Opening a file reads only its labels. Images are read in file order in small batches, so that a large row group takes no
more memory than a small one; going back within a row group starts it again.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from advbench.catalog.cards import DatasetCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.files import PictureError, decode_picture
from advbench.datasets.sources.columns import LABELS, listed, pick, several_columns
from advbench.datasets.sources.label_sets import Truth, is_hot, truth_in_columns, truth_of
from advbench.datasets.sources.shards import shards
from advbench.errors import UserError, reason
from advbench.sanitize import display_name

_BATCH_BYTES = 16 * 2**20
"""Approximate size in bytes of the images that are read at once."""
_BATCH_ROWS = 256
"""Maximum number of images that are read at once."""
_BUFFERED: dict[str, Any] = {"memory_map": False, "pre_buffer": False, "buffer_size": 2**20}
"""Options to read page by page, rather than a whole column of a row group."""


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """The loader of data sets of Parquet files.

    Args:
        card: Card of the data set.
        source: A file, a folder or a pattern; a split for a folder that holds several; columns, if they cannot be
            found by their types and names.

    Raises:
        UserError: A file cannot be read, the column of images or labels is missing or ambiguous, images are stored only
            as paths, or a label is missing.
    """
    return open_shards(card.name, shards(source.path or Path(), ".parquet", source.split), source)


def open_shards(name: str, files: Sequence[Path], source: DataSource) -> Dataset:
    """Open several Parquet files as one data set.

    Args:
        name: Name of the data set.
        files: Paths of the files, at least one, in order.
        source: Columns, if they are named.

    Raises:
        UserError: As for :func:`load`.
    """
    with _opened(files[0]) as first:
        columns = _columns(first.schema_arrow, source, files[0])
    labels: list[Any] = []
    groups: list[_Group] = []
    for file in files:
        with _opened(file) as opened:
            groups += _groups(opened, file, columns)
            labels += _labels(opened, columns, file)
    starts = list(accumulate((group.rows for group in groups), initial=0))
    named = f"column {columns.label}" if columns.label else "columns"
    where = f"{named} of {display_name(files[0] if len(files) == 1 else files[0].parent, limit=200)}"
    truth = (
        truth_of(labels, len(labels), where, columns.names) if columns.label else _of_columns(labels, columns, where)
    )
    reader = _Reader(groups, starts)

    def read(number: int) -> Image.Image:
        data, what = reader.row(number)
        if data is None:
            raise PictureError(what, "there are no bytes in this row, but at most the path of a file; store the images")
        return decode_picture(data, what)

    stem = display_name(source.path.stem if source.path else name)
    images = tuple(f"{stem}_{number:05}" for number in range(len(labels)))
    return Dataset(name=name, images=images, read=read, **truth._asdict())


class _Columns(NamedTuple):
    """Columns of images and labels."""

    image: str
    """Path of the bytes: "image.bytes" in a struct."""
    label: str
    """Column of labels; empty if each label has its own column."""
    names: tuple[str, ...] | None
    """Names of the classes."""
    each: tuple[str, ...] = ()
    """Columns that may each say whether a label applies."""
    given: bool = False
    """Whether the user named these."""


class _Group(NamedTuple):
    """A row group."""

    file: Path
    number: int
    rows: int
    column: str
    """Path of the bytes of the images."""
    at_once: int
    """Number of rows to read at once."""


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(file, **_BUFFERED) as opened:
            yield opened
    except (pa.ArrowException, OSError, ValueError) as error:
        message = f"{display_name(file, limit=200)} cannot be read as Parquet: {reason(error)}"
        raise UserError(message, hint="fetch or save it again") from None


def _columns(schema: Any, source: DataSource, file: Path) -> _Columns:
    fields = {field.name: field for field in schema}
    names = _class_names(schema)
    images = [name for name, field in fields.items() if _bytes_in(field) is not None]
    paths = [name for name, field in fields.items() if pa.types.is_struct(field.type) and name not in images]
    # That a column holds integers is not enough: they may be widths or image numbers.
    labels = [name for name in fields if name in names or name.lower() in LABELS]
    image = pick(images, source.image_column, "image", display_name(file, limit=200), fields)
    if image is None:
        told = f"; column {paths[0]} holds no bytes" if paths else ""
        message = f"no column of {display_name(file, limit=200)} holds encoded images{told}"
        raise UserError(message, hint=f"store their bytes; paths are not followed. There are: {listed(fields)}")
    each = several_columns(source.label_column, fields)
    label = None if each else pick(labels, source.label_column, "label", display_name(file, limit=200), fields)
    if label is None and not each:
        whole = [name for name, field in fields.items() if pa.types.is_boolean(field.type) or _is_number(field.type)]
        each, given = tuple(whole), False
    else:
        given = bool(each)
    if label is None and len(each) < 2:
        raise _no_labels(file, fields)
    inside = _bytes_in(fields[image])
    if inside is None:
        hint = "expected a binary column, or the struct of bytes and path that the Hugging Face hub stores"
        raise UserError(f"column {image} of {display_name(file, limit=200)} holds {fields[image].type}", hint=hint)
    return _Columns(f"{image}{inside}", label or "", names.get(label or ""), each, given)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _no_labels(file: Path, there: Iterable[str]) -> UserError:
    hint = f'name it: label_column = "..."; or several of 0 and 1: "cat,dog". There are: {listed(there)}'
    return UserError(f"no column of {display_name(file, limit=200)} holds labels", hint=hint)


def _of_columns(rows: Sequence[Mapping[str, Any]], columns: _Columns, where: str) -> Truth:
    """The labels from columns of 0 and 1; other columns are left out, unless the user named them."""
    read = {name: [row[name] for row in rows] for name in columns.each}
    hot = read if columns.given else {name: values for name, values in read.items() if all(map(is_hot, values))}
    if len(hot) < 2:
        hint = 'name it: label_column = "..."; or several of 0 and 1: "cat,dog"'
        raise UserError(f"{where}: no column holds labels", hint=hint)
    return truth_in_columns(hot, where)


def _bytes_in(field: Any) -> str | None:
    """Path of the encoded images within a column; None if there are none."""
    kind = field.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return ""
    if pa.types.is_struct(kind) and (place := kind.get_field_index("bytes")) >= 0:
        inner = kind.field(place).type
        return ".bytes" if pa.types.is_binary(inner) or pa.types.is_large_binary(inner) else None
    return None


def _class_names(schema: Any) -> dict[str, tuple[str, ...]]:
    """Column -> names of its classes, as the package datasets stores them in the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        held = {column: each.get("feature", each) for column, each in features.items()}  # for a list, its items
        named = {column: feature["names"] for column, feature in held.items() if "names" in feature}
        return {column: tuple(map(str, names)) for column, names in named.items() if isinstance(names, list)}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):  # the content is untrusted
        return {}


def _groups(opened: Any, file: Path, columns: _Columns) -> list[_Group]:
    paths = {opened.schema.column(i).path: i for i in range(len(opened.schema))}
    if columns.image not in paths:
        raise UserError(
            f"{display_name(file, limit=200)} has no column {columns.image}, which the shards before it have"
        )
    groups = []
    for number in range(opened.metadata.num_row_groups):
        group = opened.metadata.row_group(number)
        each = group.column(paths[columns.image]).total_uncompressed_size / max(group.num_rows, 1)
        at_once = int(min(max(_BATCH_BYTES / max(each, 1), 1), _BATCH_ROWS))
        groups.append(_Group(file, number, group.num_rows, columns.image, at_once))
    return groups


def _labels(opened: Any, columns: _Columns, file: Path) -> list[Any]:
    if not columns.label:
        if missing := [name for name in columns.each if name not in opened.schema_arrow.names]:
            shown = display_name(file, limit=200)
            raise UserError(f"{shown} has no column {missing[0]}, which the shards before it have")
        rows: list[Any] = opened.read(columns=list(columns.each)).to_pylist()
        return rows
    if columns.label not in opened.schema_arrow.names:
        raise UserError(
            f"{display_name(file, limit=200)} has no column {columns.label}, which the shards before it have"
        )
    column = opened.read(columns=[columns.label]).column(columns.label)
    labels: list[Any] = column.to_pylist()
    return labels


class _Reader:
    """Read the bytes of single rows, best in ascending order; one thread at a time."""

    def __init__(self, groups: list[_Group], starts: list[int]) -> None:
        self._groups, self._starts = groups, np.array(starts)
        self._lock = Lock()
        self._open: tuple[int, Any, Iterator[Any]] | None = None
        self._first, self._batch = 0, [None][:0]

    def row(self, number: int) -> tuple[bytes | None, str]:
        """The bytes of a row, None if there are none, and its position for messages."""
        place = int(np.searchsorted(self._starts, number, side="right")) - 1
        group, row = self._groups[place], number - int(self._starts[place])
        what = f"row {number - int(self._starts[self._first_group(place)])} of {group.file}"
        with self._lock:
            try:
                return self._bytes(place, row), what
            except (pa.ArrowException, OSError, ValueError, StopIteration) as error:
                self._close()
                raise PictureError(what, f"the file is damaged ({reason(error)}); fetch it again") from None

    def _first_group(self, place: int) -> int:
        return place - self._groups[place].number

    def _bytes(self, place: int, row: int) -> bytes | None:
        if self._open is None or self._open[0] != place or row < self._first:
            self._begin(place)
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            self._batch = next(self._open[2])  # type: ignore[index]
        value: bytes | None = self._batch[row - self._first].as_py()  # type: ignore[attr-defined]
        return value

    def _begin(self, place: int) -> None:
        group = self._groups[place]
        file = self._open[1] if self._open and self._groups[self._open[0]].file == group.file else None
        if file is None:
            self._close()
            with _memory_of_the_system():
                file = pq.ParquetFile(group.file, **_BUFFERED)
        batches = file.iter_batches(group.at_once, [group.number], [group.column], use_threads=False)
        self._open = place, file, map(_flat, batches)
        self._first, self._batch = 0, []

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
        self._open, self._batch = None, []


@contextmanager
def _memory_of_the_system() -> Iterator[None]:
    """Open files whose pages are freed at once: pyarrow's own allocator keeps 150 MB in a run over many images."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _flat(batch: Any) -> Any:
    """The only column of a batch, extracted from its struct."""
    column = batch.column(0)
    return column.flatten()[0] if pa.types.is_struct(column.type) else column

"""Read parts of arrays in files on demand: `.npy`, `.npz` and `.safetensors`; nothing is unpickled.

Rows of an `.npy` file and of an uncompressed member of an `.npz` are read in place. A compressed member has to be
expanded before any image in it can be read: into memory if it is small, else into a temporary file that is deleted when
the process ends.
"""

import math
import os
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from advbench.config.folders import files_below
from advbench.errors import UserError, reason

IN_MEMORY = 64 * 2**20
"""Maximum size in bytes of an array that is expanded in memory."""
_AGAIN = "fetch or save it again"
_AT_ONCE = 2**20
_LOCAL_HEADER = 30
"""Number of bytes before the name in the header of a zip member."""
_TYPES = {"U8": "uint8", "F16": "float16", "F32": "float32", "F64": "float64", "BOOL": "bool"} | {
    f"{letter}{bits}": f"{name}{bits}" for letter, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}
"""Safetensors dtypes that numpy has."""


class Rows(Protocol):
    """An array whose rows can be read one by one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of its values."""

    def __getitem__(self, row: Any, /) -> Any:
        """A row, or all of them for `[:]`."""


Arrays = Mapping[str, Callable[[], Rows]]
"""Key -> function that opens the array."""


def arrays_in(path: Path) -> Arrays:
    """List the arrays in a file or a folder without opening them.

    Args:
        path: An `.npz` or `.safetensors` file, or a folder of `.npy` files.

    Raises:
        UserError: It is missing, damaged or of another kind.
    """
    if path.is_dir():
        found = {each.stem: _opener(_stored, each) for each in sorted(files_below(path, ".npy", deep=False))}
        if not found:
            hint = "name an .npz or .safetensors file, or a folder with x.npy and y.npy"
            raise UserError(f"there are no .npy files in {path}", hint=hint)
        return found
    if not path.is_file():
        raise UserError(f"there is no file or folder {path}", hint="check the spelling")
    if path.suffix == ".safetensors":
        return _tensors_in(path)
    if path.suffix == ".npz":
        return _members_of(path)
    raise UserError(f"{path} is not a file of arrays", hint="save it as .npz, .npy or .safetensors")


def _opener(open_: Callable[..., Rows], *given: Any) -> Callable[[], Rows]:
    return lambda: open_(*given)


class _Head(NamedTuple):
    """The header of an array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int
    """Size of the header in bytes."""

    @property
    def size(self) -> int:
        """Size of the values in bytes."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def _head(file: IO[bytes], what: str) -> _Head:
    """Read the header of an array in numpy's format.

    Raises:
        UserError: It is damaged, or the array holds Python objects, which could only be read by unpickling.
    """
    start = file.tell()
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise UserError(f"{what} is damaged or not a numpy array: {reason(error)}") from None
    if min(shape, default=0) < 0:
        raise UserError(f"{what} is damaged: its shape is {shape}", hint=_AGAIN)
    if dtype.hasobject:
        message = f"{what} holds pickled Python objects, which are never loaded: they can run code"
        raise UserError(message, hint="save images and labels as arrays of numbers of one shape each")
    return _Head(shape, fortran, dtype, file.tell() - start)


class _InPlace:
    """An array in a file, read row by row. A memory-mapped file would count towards the memory of the process."""

    def __init__(self, file: IO[bytes], start: int, head: _Head) -> None:
        self._file, self._start = os.dup(file.fileno()), start
        weakref.finalize(self, os.close, self._file)
        self.shape, self.dtype = head.shape, head.dtype
        if file.seek(0, os.SEEK_END) < start + head.size:
            raise ValueError("it is cut short")

    def __getitem__(self, row: Any) -> NDArray[Any]:
        shape = self.shape if isinstance(row, slice) else self.shape[1:]
        size = math.prod(shape) * self.dtype.itemsize
        data = os.pread(self._file, size, self._start + (0 if isinstance(row, slice) else row * size))
        return np.frombuffer(data, self.dtype).reshape(shape)


def _in_file(file: IO[bytes], start: int, head: _Head) -> Rows:
    """The values at an offset in an open file."""
    if head.fortran and len(head.shape) > 1:
        return np.memmap(file, head.dtype, "r", start, head.shape, "F")
    return _InPlace(file, start, head)


def _stored(path: Path, offset: int = 0, what: str = "") -> Rows:
    """The array at an offset in a file."""
    what = what or str(path)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            head = _head(file, what)
            return _in_file(file, offset + head.length, head) if head.size else np.empty(head.shape, head.dtype)
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"{what} cannot be read: {reason(error)}", hint=_AGAIN) from None


def _members_of(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}", hint=_AGAIN) from None
    names = [info for info in infos if info.filename.endswith(".npy")]
    return {info.filename.removesuffix(".npy"): _opener(_member, path, info) for info in names}


def _member(path: Path, info: zipfile.ZipInfo) -> Rows:
    what = f"{info.filename.removesuffix('.npy')} in {path}"
    try:
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
            with path.open("rb") as file:
                file.seek(info.header_offset)
                local = file.read(_LOCAL_HEADER)
            behind = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
            return _stored(path, info.header_offset + _LOCAL_HEADER + behind, what)
        with zipfile.ZipFile(path) as archive, archive.open(info) as member:
            head = _head(member, what)
            if head.size + head.length != info.file_size:
                raise UserError(f"{what} is damaged: its size does not match its shape", hint=_AGAIN)
            return _expanded(member, head, what)
    except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, ValueError, zlib.error) as error:
        raise UserError(f"{what} cannot be read: {reason(error)}", hint=_AGAIN) from None


def _expanded(member: IO[bytes], head: _Head, what: str) -> Rows:
    """A compressed array, expanded in memory or in an unnamed temporary file."""
    if head.size <= IN_MEMORY:
        values, done = np.empty(head.size, np.uint8), 0
        while done < head.size and (more := member.readinto(values[done : done + _AT_ONCE])):  # type: ignore[attr-defined]
            done += more
        if done < head.size:
            raise UserError(f"{what} is cut short", hint=_AGAIN)
        return values.view(head.dtype).reshape(head.shape, order="F" if head.fortran else "C")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if head.size > free // 2:
        size = f"{head.size / 1e9:,.1f} GB, and {tempfile.gettempdir()} has {free / 1e9:,.1f} GB left"
        raise UserError(f"{what} has {size}", hint="save it with numpy.savez, uncompressed, which is read in place")
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(member, file, _AT_ONCE)
        file.flush()
        return _in_file(file, 0, head)


class _Tensor:
    """A tensor of a safetensors file."""

    def __init__(self, part: Any, dtype: str) -> None:
        self._part = part
        self.shape = tuple(part.get_shape())
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    def __getitem__(self, row: Any) -> NDArray[Any]:
        values: NDArray[Any] = self._part[row]
        return values


def _tensors_in(path: Path) -> Arrays:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="np")
        names: list[str] = list(file.keys())  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}", hint=_AGAIN) from None
    return {name: _opener(_tensor, file, name, path) for name in names}


def _tensor(file: Any, name: str, path: Path) -> Rows:
    part = file.get_slice(name)
    if (kind := part.get_dtype()) not in _TYPES:
        hint = "save images as uint8 or float32, and labels as int64"
        raise UserError(f"{name} in {path} is of type {kind}, which numpy does not have", hint=hint)
    return _Tensor(part, _TYPES[kind])

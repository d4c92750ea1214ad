"""Read the IDX files in which MNIST and its successors are published."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advbench.errors import UserError

_HEAD = b"\0\0\x08"
"""Magic number of a file of unsigned bytes, without the number of dimensions."""


def unpacked(file: Path) -> bytes:
    """Read the bytes of a file, decompressed if its name ends in .gz.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if file.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"data file {file} cannot be read: {error}", hint="fetch it again") from None


def read_idx(file: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    Args:
        file: Gzipped if its name ends in .gz.

    Returns:
        The array, writable.

    Raises:
        UserError: The file cannot be read, is damaged or is of another kind.
    """
    data = unpacked(file)
    rank = data[3] if data.startswith(_HEAD) and len(data) > 3 else 0
    start = 4 + 4 * rank
    shape = [int.from_bytes(data[at : at + 4]) for at in range(4, start, 4)]
    if not rank or len(data) - start != math.prod(shape):
        raise UserError(f"data file {file} is damaged or not an IDX file of unsigned bytes", hint="fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()

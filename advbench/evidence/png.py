"""Writes 8-bit images as PNG files that `standalone.pixels` reads. Does not import torch."""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""An 8-bit image (C, H, W)."""
_STRATEGIES = (zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
_GREY, _COLOUR = 0, 2


def picture_png(values: Pixels) -> bytes:
    """Encode a photograph as a PNG: three channels as RGB, others stacked vertically in grey.

    Args:
        values: Image (C, H, W).

    Example:
        >>> picture_png(np.zeros((3, 2, 2), np.uint8))[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    Image.fromarray(_laid_out(values)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def noise_png(values: Pixels) -> bytes:
    """Encode noise as a PNG, with the same layout.

    PNG's filters and the search for repetitions, which help with photographs, make a file of noise 50 % larger and take
    a hundred times as long, and Pillow cannot switch off both.

    Args:
        values: Image (C, H, W) with few distinct values.

    Example:
        >>> len(noise_png(np.full((3, 32, 32), 128, np.uint8))) < 200
        True
    """
    rows = _laid_out(values)
    height, width = rows.shape[:2]
    unfiltered = np.zeros((height, 1 + rows[0].size), np.uint8)  # each row starts with the number of its filter
    unfiltered[:, 1:] = rows.reshape(height, -1)
    packed = min((_compressed(unfiltered.tobytes(), strategy) for strategy in _STRATEGIES), key=len)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR if rows.ndim == 3 else _GREY, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _laid_out(values: Pixels) -> Pixels:
    """Array (H, W, 3) for three channels, else (C * H, W)."""
    channels, height, width = values.shape
    laid = values.transpose(1, 2, 0) if channels == 3 else values.reshape(channels * height, width)
    return np.ascontiguousarray(laid)


def _compressed(content: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, strategy)
    return packer.compress(content) + packer.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

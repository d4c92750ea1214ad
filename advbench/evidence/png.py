"""Images of 8 bits as PNG files that `standalone.pixels` reads. No torch."""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""An image (C, H, W) of 8 bits."""
_STRATEGIES = (zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
_GREY, _COLOUR = 0, 2


def picture_png(values: Pixels) -> bytes:
    """A photograph as a PNG: three channels as RGB, others in grey under each other.

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
    """Noise as a PNG, laid out likewise.

    The filters of PNG and the search for repetitions, by which photographs gain, make a file of noise half as large
    again and take a hundred times as long, and Pillow has no way to do without both.

    Args:
        values: Image (C, H, W) with few different values.

    Example:
        >>> len(noise_png(np.full((3, 32, 32), 128, np.uint8))) < 200
        True
    """
    rows = _laid_out(values)
    height, width = rows.shape[:2]
    unfiltered = np.zeros((height, 1 + rows[0].size), np.uint8)  # each row is led by the number of its filter
    unfiltered[:, 1:] = rows.reshape(height, -1)
    packed = min((_compressed(unfiltered.tobytes(), strategy) for strategy in _STRATEGIES), key=len)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR if rows.ndim == 3 else _GREY, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _laid_out(values: Pixels) -> Pixels:
    """(H, W, 3) of three channels, else (C * H, W)."""
    channels, height, width = values.shape
    laid = values.transpose(1, 2, 0) if channels == 3 else values.reshape(channels * height, width)
    return np.ascontiguousarray(laid)


def _compressed(content: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, strategy)
    return packer.compress(content) + packer.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""Picture files in memory, those that Pillow does not write included."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from advbench.datasets.images.files import PictureError, read_picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
GREY, PALETTE, RGB, GREY_ALPHA, RGBA = 0, 3, 2, 4, 6
"""The colour types of PNG."""


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size, depth, colour_type, rows, extra=b""):
    """A PNG from its packed rows, for the kinds that Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0))
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def quadrants(mode="RGB", side=32):
    """Red, green over blue, white: no two orientations look alike."""
    image = Image.new("RGB", (side, side))
    half = side // 2
    for colour, corner in ((RED, (0, 0)), (GREEN, (half, 0)), (BLUE, (0, half)), (WHITE, (half, half))):
        image.paste(colour, (*corner, corner[0] + half, corner[1] + half))
    return image.convert(mode)


def refusal(path):
    """The message with which a path is refused, checked to be one printable line that names it."""
    with pytest.raises(PictureError, match=r"^cannot read '") as error:
        read_picture(path)
    message = str(error.value)
    assert message.isprintable()
    assert error.value.path == Path(path)
    return message.partition("': ")[2]

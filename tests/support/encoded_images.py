"""Small random pictures as encoded files, for data sets that hold such."""

import io

import numpy as np
from PIL import Image


def pixels(number: int, side: int = 8) -> np.ndarray:
    """The pixels of a picture, different for each number."""
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


def encoded(number: int, side: int = 8, kind: str = "PNG") -> bytes:
    """The same as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels(number, side)).save(file, kind)
    return file.getvalue()

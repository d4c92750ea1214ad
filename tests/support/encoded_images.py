"""Small random pictures, and files that hold such."""

import io

import numpy as np
from PIL import Image

from advbench.datasets.dataset import Dataset


def pixels(number: int, side: int = 8) -> np.ndarray:
    """The pixels of a picture, different for each number."""
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


def encoded(number: int, side: int = 8, kind: str = "PNG") -> bytes:
    """The same as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels(number, side)).save(file, kind)
    return file.getvalue()


def same(dataset: Dataset, number: int, expected: int) -> bool:
    """Whether an image of a data set is the picture of a number."""
    return np.array_equal(np.asarray(dataset.read(number)), pixels(expected))


def noise(width: int, height: int) -> Image.Image:
    """A picture of any size, different for each width."""
    return Image.fromarray(np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8))


def idx(array: np.ndarray) -> bytes:
    """Bytes in the format of MNIST's files."""
    head = b"\0\0\x08" + bytes([array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.astype(np.uint8).tobytes()

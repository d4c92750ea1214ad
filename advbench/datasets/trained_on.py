"""Ids of the images that a model was trained on, kept in a file beside its weights."""

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from advbench.datasets.images.ids import sample_id

SUFFIX = ".trained-on.txt"
"""What stands in place of `.safetensors` in the name of the file."""
_MOST_BYTES = 200_000_000
_ID = re.compile(r"[0-9a-f]{16}")


def ids_of_pixels(parts: Iterable[Tensor]) -> list[str]:
    """Ids of 8-bit images, the same that the images have as inputs of a model.

    Args:
        parts: Batches of images (n, C, H, W), uint8.

    Example:
        >>> ids_of_pixels([torch.zeros(1, 3, 2, 2, dtype=torch.uint8)]) == [sample_id(torch.zeros(3, 2, 2))]
        True
    """
    return [sample_id(image.to(torch.float32) / 255) for part in parts for image in part]


def file_beside(weights: Path) -> Path:
    """The file that belongs to a file of weights.

    Example:
        >>> file_beside(Path("mine/net.safetensors")).name
        'net.trained-on.txt'
    """
    return weights.with_name(weights.stem + SUFFIX)


def known_beside(weights: Path) -> frozenset[str]:
    """The ids that stand beside a file of weights; none where there is no such file, or another one.

    Example:
        >>> known_beside(Path("no/such.safetensors"))
        frozenset()
    """
    file = file_beside(weights)
    try:
        if file.stat().st_size > _MOST_BYTES:
            return frozenset()
        return frozenset(_ID.findall(file.read_text(encoding="ascii", errors="replace")))
    except OSError:
        return frozenset()

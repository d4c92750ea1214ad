"""Preprocessing by an image processor of transformers, without the normalisation, which the classifier does."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advbench.config.image_size import Size
from advbench.models.preprocess import covering

CONFIG = "preprocessor_config.json"
"""Name of the file that describes an image processor."""
_LARGEST = 4096
"""Maximum side of a scaled picture, pixels."""
_PROBES = ((97, 61), (61, 97))
"""Width and height of the pictures on which a processor is tested."""
_CLOSE = 1e-5


class ProcessorTransform:
    """Resizing and cropping by an image processor of transformers.

    Args:
        processor: An image processor of transformers that takes PIL images and returns arrays.

    Raises:
        ValueError: It does more to a picture than resize, crop, rescale and normalise it.
    """

    mean: tuple[float, ...]
    """Mean that it subtracts from values in [0, 1], for each channel."""
    std: tuple[float, ...]
    """Divisor after the subtraction, for each channel."""
    size: Size | None
    """Size of its output in pixels; None if that depends on the picture."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        for field in ("size", "crop_size"):
            _check_size(field, getattr(processor, field, None))
        self.mean, self.std = _normalisation(processor)
        self._mode = "L" if len(self.mean) == 1 else "RGB"
        self._shorter = _sides(getattr(processor, "size", None)).get("shortest_edge") if processor.do_resize else None
        shapes = {tuple(self._compared(width, height).shape[1:]) for width, height in _PROBES}
        height, width = next(iter(shapes))
        self.size = None if len(shapes) > 1 else height if height == width else (height, width)

    def __call__(self, image: Image.Image) -> Tensor:
        """Convert a picture of any size and mode to the input of a classifier: see :meth:`ResizeAndCrop.__call__`."""
        if self._shorter:
            covering(image.size, self._shorter)
        picture = image if image.mode == self._mode else image.convert(self._mode)
        pixels = self._made(picture, do_rescale=False, do_normalize=False)
        return torch.from_numpy(pixels.astype(np.float32)) / 255

    def _made(self, picture: Image.Image, **steps: bool) -> Any:
        return np.asarray(self._processor(picture, return_tensors="np", **steps)["pixel_values"][0])

    def _compared(self, width: int, height: int) -> Tensor:
        """The size of a processed random picture, after checking that the processor does nothing else to it."""
        channels = () if self._mode == "L" else (3,)
        noise = np.random.default_rng(0).integers(0, 256, (height, width, *channels), dtype=np.uint8)
        ours = self(Image.fromarray(noise))
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        theirs = torch.from_numpy(self._made(Image.fromarray(noise)))
        if ours.shape != theirs.shape or not ((ours - mean) / std - theirs).abs().max() <= _CLOSE * theirs.abs().max():
            raise ValueError("it does more to a picture than resize, crop, rescale and normalise it")
        return ours


def _sides(size: Any) -> Mapping[str, int]:
    """The sizes that a processor states, by name; empty if there are none."""
    found = dict(size) if size is not None else {}
    return {name: value for name, value in found.items() if value is not None}


def _check_size(field: str, size: Any) -> None:
    for name, value in _sides(size).items():
        if not 1 <= value <= _LARGEST:
            raise ValueError(f"expected {field} of 1 to {_LARGEST} pixels, got {name} {value}")


def _normalisation(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and divisor for values in [0, 1]; the processor's are for values in [0, 255] times a factor."""
    factor = 255 * float(processor.rescale_factor) if processor.do_rescale else 255.0
    if not factor > 0:
        raise ValueError(f"expected rescale_factor > 0, got {processor.rescale_factor}")
    stated = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    mean, std = (tuple(float(value) for value in np.atleast_1d(values)) for values in stated)
    if len(mean) != len(std) or len(mean) not in (1, 3) or not min(std) > 0:
        raise ValueError(f"expected image_mean and image_std > 0 of 1 or 3 channels, got {mean} and {std}")
    if abs(factor - 1) < 1e-6:
        return mean, std
    return tuple(value / factor for value in mean), tuple(value / factor for value in std)

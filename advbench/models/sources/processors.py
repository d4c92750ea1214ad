"""Pictures as transformers' image processors make them, read from the file that describes a processor."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advbench.config.image_size import Size, height_and_width
from advbench.errors import UserError
from advbench.models.preprocess import MAX_PIXELS, covering

CONFIG = "preprocessor_config.json"
"""Name of the file that describes an image processor."""
_WHOLE = ("ViT", "DeiT", "Beit", "Siglip", "Pvt")
"""Processors for which a size of one number is that of both sides."""
_SHORTEST = ("Bit", "CLIP", "MobileNetV1", "MobileNetV2")
"""Processors for which a size of one number is that of the shorter side."""
_CONVNEXT = "ConvNext"
"""Processor that cuts small inputs out of a larger picture, and squashes large ones."""
_SQUASHED_FROM = 384
SUPPORTED = tuple(sorted((*_WHOLE, *_SHORTEST, _CONVNEXT)))
"""Processors that are understood, without the ending "ImageProcessor"."""
_LARGEST = 4096
"""Longest side of an input, pixels."""


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A picture as an image processor of transformers hands it to the network, but for the normalisation.

    The pixels are those of transformers' own processors with the backend "pil".

    Args:
        resize: Height and width to squash the picture to, or the length of its shorter side; None: it stays as it is.
        crop: Height and width of the part that is cut out of the centre; None: all of it is kept.
        resample: PIL's number of the method of resampling.
        mean: Mean to be subtracted from values in [0, 1], for each channel.
        std: Divisor after that, for each channel.

    Example:
        >>> Processor(resize=8, crop=(6, 6), resample=2, mean=(0.5,) * 3, std=(0.5,) * 3).size
        6
    """

    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def size(self) -> Size | None:
        """Size of the result in pixels; None if it depends on the picture."""
        size = self.crop or (self.resize if isinstance(self.resize, tuple) else None)
        return size[0] if size and size[0] == size[1] else size

    def __call__(self, image: Image.Image) -> Tensor:
        """Make the input of a classifier.

        Args:
            image: A picture of any size and mode; its transparency is dropped.

        Returns:
            Values in [0, 1], each k / 255 for a whole k; shape (C, height, width), float32.

        Raises:
            UserError: The picture is so long and thin that scaling it would take too much memory.
        """
        mode = "L" if len(self.mean) == 1 else "RGB"
        picture = image if image.mode == mode else image.convert(mode)
        if self.resize is not None:
            height, width = covering(picture.size, self.resize) if isinstance(self.resize, int) else self.resize
            picture = picture.resize((width, height), Image.Resampling(self.resample))
        if self.crop is not None:
            top, left = (picture.height - self.crop[0]) // 2, (picture.width - self.crop[1]) // 2
            picture = picture.crop((left, top, left + self.crop[1], top + self.crop[0]))
        pixels = torch.from_numpy(np.array(picture, dtype=np.uint8))
        pixels = pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return pixels.contiguous().to(torch.float32) / 255


def read_processor(file: Path) -> Processor:
    """Read the description of an image processor.

    Args:
        file: A `preprocessor_config.json`, of any age.

    Raises:
        UserError: It cannot be read, or describes a processor that is not understood.
    """
    said = read_json(file)
    kind = _kind(said, file)
    try:
        resize, crop = _geometry(kind, said)
        mean, std = _normalisation(said)
        return Processor(resize=resize, crop=crop, resample=_resampling(said), mean=mean, std=std)
    except (KeyError, TypeError, ValueError) as error:
        what = f"it does not say {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"image processor {file} is not understood: {what}") from None


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        UserError: It cannot be read, or holds something else.
    """
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    if not isinstance(said, dict):
        raise UserError(f"{file} holds no JSON object")
    return said


def _kind(said: Mapping[str, Any], file: Path) -> str:
    named = str(said.get("image_processor_type") or said.get("feature_extractor_type") or "")
    kind = named
    for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(ending)
    if kind not in SUPPORTED:
        raise UserError(
            f"image processor {file} is {named or 'of no stated kind'}, which is not among those that are understood",
            hint=f"understood are: {', '.join(SUPPORTED)}\n"
            "otherwise make the classifier yourself, with its preprocess, and name the function: file.py:function",
        )
    return kind


def _geometry(kind: str, said: Mapping[str, Any]) -> tuple[int | tuple[int, int] | None, tuple[int, int] | None]:
    """What a picture is resized to, and what is cut out of it then."""
    if not said.get("do_resize", True):
        return None, _both(said["crop_size"]) if said.get("do_center_crop", False) else None
    size = said["size"]
    if kind == _CONVNEXT:
        edge = _whole(size["shortest_edge"] if isinstance(size, Mapping) else size)
        share = said.get("crop_pct") or 224 / 256
        return (int(edge / share), (edge, edge)) if edge < _SQUASHED_FROM else ((edge, edge), None)
    one = kind in _SHORTEST and not isinstance(size, Mapping)
    shorter = size if one else size.get("shortest_edge") if isinstance(size, Mapping) else None
    resize = _both(size) if shorter is None else _whole(shorter)
    crops = said.get("do_center_crop", kind in (*_SHORTEST, "DeiT"))
    crop = _both(said["crop_size"]) if crops else None
    if crop and any(part > whole for part, whole in zip(crop, height_and_width(resize), strict=True)):
        raise ValueError(f"expected crop_size within size, got {said['crop_size']} and {size}")
    return resize, crop


def _both(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        return _whole(size["height"]), _whole(size["width"])
    return _whole(size), _whole(size)


def _whole(side: Any) -> int:
    if not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= _LARGEST or side**2 > MAX_PIXELS:
        raise ValueError(f"expected a size from 1 to {_LARGEST} pixels, got {side}")
    return side


def _resampling(said: Mapping[str, Any]) -> int:
    number = said.get("resample", Image.Resampling.BILINEAR) if not said.get("do_resize", True) else said["resample"]
    return int(Image.Resampling(number))


def _normalisation(said: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and divisor for values in [0, 1]; the file's are for values in [0, 255] times a factor."""
    factor = 255 * float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 255.0
    if not factor > 0:
        raise ValueError(f"expected rescale_factor > 0, got {said['rescale_factor']}")
    if said.get("rescale_offset") or said.get("do_flip_channel_order"):
        raise ValueError("expected colours as they are, got rescale_offset or do_flip_channel_order")
    if not said.get("do_normalize", True):
        return (0.0,) * 3, (1 / factor,) * 3
    mean, std = (tuple(float(value) for value in said[name]) for name in ("image_mean", "image_std"))
    if len(mean) != len(std) or len(mean) not in (1, 3) or not min(std) > 0:
        raise ValueError(f"expected image_mean and image_std > 0 of 1 or 3 channels, got {mean} and {std}")
    if abs(factor - 1) < 1e-6:
        return mean, std
    return tuple(value / factor for value in mean), tuple(value / factor for value in std)

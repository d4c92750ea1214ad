"""From a picture to a classifier's input."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advbench.errors import UserError

MAX_PIXELS = 50_000_000
"""No picture is scaled to more pixels than this; a long, thin one would otherwise fill the memory."""


@dataclass(frozen=True, kw_only=True)
class ResizeAndCrop:
    """Resize the short side, cut out the centre, and turn the picture into a tensor.

    All of it happens on the 8-bit picture, so that the result is exactly representable as a PNG. The
    pixels are those that torchvision's `ImageClassification` transform gives before it normalises.

    Args:
        size: Height and width of the result in pixels; None keeps the picture as it is.
        resize: Length of the short side before cropping, at least `size`; None means `size`.
        interpolation: How pixels are resampled; always antialiased.
        mode: "RGB" for three channels, "L" for one grey channel.

    Raises:
        ValueError: `size` or `resize` is out of range.

    Example:
        >>> tiger = Image.new("RGB", (400, 279), "orange")
        >>> ResizeAndCrop(size=224, resize=256)(tiger).shape
        torch.Size([3, 224, 224])
    """

    size: int | None = None
    resize: int | None = None
    interpolation: Image.Resampling = Image.Resampling.BILINEAR
    mode: Literal["RGB", "L"] = "RGB"

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"expected size >= 1, got {self.size}")
        if self.resize is not None and (self.size is None or self.resize < self.size):
            raise ValueError(f"expected resize >= size, got resize {self.resize} with size {self.size}")

    def __call__(self, image: Image.Image) -> Tensor:
        """Make the input of a classifier.

        Args:
            image: A picture of any size and mode; its transparency is dropped.

        Returns:
            Values in [0, 1], each k / 255 for a whole k; shape (C, size, size), float32.

        Raises:
            UserError: The picture is so long and thin that scaling it would take too much memory.
        """
        picture = image if image.mode == self.mode else image.convert(self.mode)
        if self.size is not None:
            picture = _centre(_resized(picture, self.resize or self.size, self.interpolation), self.size)
        pixels = torch.from_numpy(np.array(picture, dtype=np.uint8))
        pixels = pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return pixels.contiguous().to(torch.float32) / 255


def _resized(image: Image.Image, short: int, interpolation: Image.Resampling) -> Image.Image:
    width, height = image.size
    long = int(short * max(width, height) / min(width, height))
    if short * long > MAX_PIXELS:
        raise UserError(
            f"the picture is too long and thin: {width} x {height} pixels would become {short} x {long}",
            hint="crop it first",
        )
    size = (short, long) if width <= height else (long, short)
    return image if image.size == size else image.resize(size, interpolation)


def _centre(image: Image.Image, size: int) -> Image.Image:
    # Rounded to even as torchvision does; another rule would shift odd margins by a pixel.
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))

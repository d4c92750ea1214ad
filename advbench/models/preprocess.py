"""Turn a picture into a classifier's input."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from advbench.config.image_size import Size, checked_size, height_and_width
from advbench.errors import UserError

MAX_PIXELS = 50_000_000
"""Maximum number of pixels of a scaled picture; a long, thin one could otherwise exhaust memory."""

DIFFERENTIABLE = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}
"""Resampling method -> its name in torch, where it has a gradient."""


@dataclass(frozen=True, kw_only=True)
class ResizeAndCrop:
    """Resize a picture until it covers the size, crop the centre, and convert it to a tensor.

    All steps work on the 8-bit picture, so that the result can be stored exactly as a PNG. The pixels equal those of
    torchvision's `ImageClassification` transform before normalisation.

    Args:
        size: Size of the result in pixels, side of a square or (height, width); None keeps the picture's size.
        resize: Size that the picture covers before it is cropped, at least `size`; for a square, the length of its
            short side. None means `size`.
        interpolation: Resampling method, always antialiased.
        mode: "RGB" for three channels, "L" for one grey channel.

    Raises:
        ValueError: `size` or `resize` is out of range.

    Example:
        >>> tiger = Image.new("RGB", (400, 279), "orange")
        >>> ResizeAndCrop(size=224, resize=256)(tiger).shape
        torch.Size([3, 224, 224])
    """

    size: Size | None = None
    resize: Size | None = None
    interpolation: Image.Resampling = Image.Resampling.BILINEAR
    mode: Literal["RGB", "L"] = "RGB"

    def __post_init__(self) -> None:
        size = None if self.size is None else height_and_width(checked_size("size", self.size))
        if self.resize is None:
            return
        resize = height_and_width(checked_size("resize", self.resize))
        if size is None or resize[0] < size[0] or resize[1] < size[1]:
            raise ValueError(f"expected resize >= size, got resize {self.resize} with size {self.size}")

    def __call__(self, image: Image.Image) -> Tensor:
        """Convert a picture to the input of a classifier.

        Args:
            image: A picture of any size and mode; transparency is dropped.

        Returns:
            Values in [0, 1], each k / 255 for a whole k; shape (C, height, width), float32.

        Raises:
            UserError: The picture is so long and thin that scaling it would take too much memory.
        """
        picture = image if image.mode == self.mode else image.convert(self.mode)
        if self.size is not None:
            picture = _centre(_covering(picture, self.resize or self.size, self.interpolation), self.size)
        pixels = torch.from_numpy(np.array(picture, dtype=np.uint8))
        pixels = pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return pixels.contiguous().to(torch.float32) / 255

    def differentiable(self, images: Tensor) -> Tensor:
        """The same as :meth:`__call__`, except for its rounding, with gradients with respect to every pixel.

        The resize is torch's, antialiased, with the same filters as Pillow's. Pillow also rounds to 8 bits after each
        of its two passes, and differs from this by a few levels at sharp edges.

        Args:
            images: Pictures of one size (N, C, H, W) in [0, 1], with as many channels as the mode has.

        Returns:
            Inputs (N, C, height, width) in [0, 1].

        Raises:
            ValueError: torch does not have this interpolation.
            UserError: The pictures are too long and thin.

        Example:
            >>> ResizeAndCrop(size=8, resize=10).differentiable(torch.rand(1, 3, 20, 30)).shape
            torch.Size([1, 3, 8, 8])
        """
        if self.interpolation not in DIFFERENTIABLE:
            known = " or ".join(DIFFERENTIABLE.values())
            raise ValueError(f"expected {known} interpolation, got {self.interpolation.name.lower()}")
        if self.size is None:
            return images
        sides = covering((images.shape[3], images.shape[2]), self.resize or self.size)
        if sides != tuple(images.shape[2:]):
            mode = DIFFERENTIABLE[self.interpolation]
            images = interpolate(images, sides, mode=mode, align_corners=False, antialias=True).clamp(0, 1)
        left, top, right, bottom = _box(sides, self.size)
        return images[..., top:bottom, left:right]


def _covering(image: Image.Image, size: Size, interpolation: Image.Resampling) -> Image.Image:
    """Scale the picture, keeping its proportions, so that it just covers the size."""
    height, width = covering(image.size, size)
    return image if image.size == (width, height) else image.resize((width, height), interpolation)


def through(steps: Iterable[Callable[[Any], Any]], image: Image.Image, mode: Literal["RGB", "L"] = "RGB") -> Tensor:
    """Apply another package's transform to a picture.

    Args:
        steps: Steps of the transform; the last returns a tensor (C, height, width) in [0, 1].
        image: A picture of any size and mode; transparency is dropped.
        mode: Mode in which the first step gets the picture.

    Returns:
        The tensor, float32.

    Example:
        >>> through([lambda picture: torch.zeros(3, *picture.size)], Image.new("L", (4, 2))).shape
        torch.Size([3, 4, 2])
    """
    made: Any = image if image.mode == mode else image.convert(mode)
    for step in steps:
        made = step(made)
    pixels: Tensor = made.to(torch.float32)
    return pixels


def covering(picture: tuple[int, int], size: Size) -> tuple[int, int]:
    """Height and width of a picture that is scaled until it just covers a size.

    Args:
        picture: Width and height of the picture, as PIL has them.
        size: Size to cover, in pixels.

    Raises:
        UserError: The picture is so long and thin that scaling it would take too much memory.

    Example:
        >>> covering((400, 300), 224), covering((400, 300), (100, 200))
        ((224, 298), (150, 200))
    """
    width, height = picture
    if isinstance(size, int):  # truncated as torchvision does
        high, wide = (int(size * height / width), size) if width <= height else (size, int(size * width / height))
    else:  # rounded as timm does
        ratio = min(height / size[0], width / size[1])
        high, wide = round(height / ratio), round(width / ratio)
    if high * wide > MAX_PIXELS:
        raise UserError(
            f"the picture is too long and thin: {width} x {height} pixels would become {wide} x {high}",
            hint="crop it first",
        )
    return high, wide


def _centre(image: Image.Image, size: Size) -> Image.Image:
    return image.crop(_box((image.height, image.width), size))


def _box(sides: tuple[int, int], size: Size) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a centre crop of that size, in a picture of that height and width."""
    # Rounded to even as torchvision does; another rule would shift odd margins by a pixel.
    height, width = height_and_width(size)
    left, top = round((sides[1] - width) / 2), round((sides[0] - height) / 2)
    return left, top, left + width, top + height

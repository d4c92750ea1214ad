"""A photograph as stored in its file, and the file of the attacked one."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advbench.config.image_size import height_and_width
from advbench.config.pictures.photograph import SavedAs, like
from advbench.datasets.images.files import (
    PictureError,
    StoredPicture,
    decode_picture,
    read_stored,
    upright,
)
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.preprocess import DIFFERENTIABLE, ResizeAndCrop
from advbench.pictures.files import as_picture


class Photograph(NamedTuple):
    """A photograph with the other contents of its file."""

    path: Path
    """Path of the file."""
    stored: StoredPicture
    """The picture in the orientation of the file, RGB or grey."""
    saved: SavedAs
    """Format in which the attacked photograph is saved."""

    @property
    def pixels(self) -> Tensor:
        """The pixels in the orientation of the file (C, H, W), multiples of 1/255."""
        values = torch.from_numpy(np.array(self.stored.picture, dtype=np.uint8))
        return (values.unsqueeze(0) if values.ndim == 2 else values.permute(2, 0, 1)).contiguous().float() / 255

    def file(self, pixels: Tensor) -> bytes:
        """The file with other pixels (C, H, W), multiples of 1/255, and everything else unchanged.

        EXIF data, including the orientation, and the colour profile are kept.
        """
        options: dict[str, Any] = {"exif": self.stored.exif} if self.stored.exif else {}
        if self.stored.profile is not None:
            options["icc_profile"] = self.stored.profile
        return encoded(as_picture(pixels), self.saved, **options)

    def saved_again(self, pixels: Tensor) -> Image.Image:
        """The picture in the file with other pixels (C, H, W), as displayed."""
        return decode_picture(self.file(pixels), self.path)

    def turned(self, picture: Image.Image) -> Image.Image:
        """Turn a picture from the orientation of the file to that in which it is displayed."""
        return upright(picture, self.stored.orientation)


def read_photograph(path: Path, model: Classifier, saved: SavedAs | None) -> Photograph:
    """Read a photograph to be attacked at its original size.

    Args:
        path: Path of the file.
        model: Classifier whose input is made from it.
        saved: Format for saving it; None: its own format.

    Raises:
        PictureError: It cannot be read, has 16 bits per channel, or is smaller than the model's input.
    """
    found = read_stored(path)
    if found.deep:
        raise PictureError(path, "the picture has 16 bits per channel, and attacks change 8; save it with 8 first")
    grey = found.picture.mode in ("1", "L")
    stored = found._replace(picture=found.picture.convert("L" if grey else "RGB"))
    width, height = upright(stored.picture, stored.orientation).size
    if model.input_size is not None:
        high, wide = height_and_width(model.input_size)
        if width < wide or height < high:
            size = f"{width} x {height} pixels, less than the {wide} x {high} of the model's input"
            raise PictureError(path, f"the picture has {size}; attack it at that size, without --size original")
    return Photograph(path, stored, saved or like(stored.format))


def known_preprocessing(model: Classifier) -> ResizeAndCrop:
    """The preprocessing steps of a model, if they are differentiable.

    Raises:
        UserError: They are custom code, or resize in a way that torch does not support.
    """
    steps, hint = model.preprocess, "attack at the size of its input: leave --size original out"
    if not isinstance(steps, ResizeAndCrop):
        why = f"--size original cannot see how {model.name} resizes pictures: that is custom code"
        raise UserError(why, hint=hint)
    if steps.interpolation not in DIFFERENTIABLE:
        how = steps.interpolation.name.lower()
        raise UserError(f"--size original has no gradient for how {model.name} resizes pictures: {how}", hint=hint)
    return steps


def encoded(picture: Image.Image, saved: SavedAs, **options: Any) -> bytes:
    """The file of a picture.

    Args:
        picture: Grey or RGB.
        saved: Format and quality.
        **options: Options for Pillow, such as `exif`.
    """
    if saved.quality is not None:
        options |= {"quality": saved.quality, "subsampling": 0}
    if saved.format == "WEBP":
        options |= {"lossless": True}
    if saved.format == "BMP":  # which stores nothing but pixels
        options = {}
    file = io.BytesIO()
    picture.save(file, format=saved.format, **options)
    return file.getvalue()

"""Effects of cameras and software. Images are (H, W, 3), float64 in [0, 1], with 256 levels."""

import io
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attacks.corruptions import filters
from attacks.corruptions.colours import from_hsv, to_hsv
from attacks.corruptions.constants import Constants
from attacks.corruptions.draws import Draws

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def brightness(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Brighter by a constant, with the same hue and saturation."""
    del draws
    hue, saturation, value = to_hsv(x).unbind(2)
    return from_hsv(torch.stack([hue, saturation, (value + constants[0]).clamp(0, 1)], 2))


def contrast(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Values closer to the mean of each channel; the constant is the fraction of the distance that remains."""
    del draws
    mean = x.mean((0, 1))
    return mean + constants[0] * (x - mean)


def saturate(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """More or less colourful; constants are the factor of the saturation and an offset added to it."""
    del draws
    hue, saturation, value = to_hsv(x).unbind(2)
    return from_hsv(torch.stack([hue, (saturation * constants[0] + constants[1]).clamp(0, 1), value], 2))


def elastic_transform(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Locally stretched and squeezed.

    Args:
        x: Image (H, W, 3).
        constants: Standard deviation for smoothing the displacements, their size before that, and how far the corners
            of an affine map move, as fractions of the image's side.
        draws: Random numbers of the image.
    """
    sigma, size, corner = constants
    height, width = x.shape[:2]
    if corner:
        x = _turned(x, corner * height, draws)
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    right, down = (_smooth(draws.between(-1, 1, height, width), sigma) * size * height for _ in range(2))
    return filters.sampled(x, rows + down, columns + right, "symmetric")


def _smooth(noise: Tensor, share: float) -> Tensor:
    """Noise smoothed by a Gaussian whose standard deviation is a fraction of each side."""
    sigmas = (share * noise.shape[0], share * noise.shape[1])
    return filters.gaussian_blur(noise, sigmas, truncate=3.0, border="symmetric")


def _turned(x: Tensor, most: float, draws: Draws) -> Tensor:
    """Apply an affine map that moves three corners of a central square at random, by at most ``most`` pixels."""
    height, width = x.shape[:2]
    middle = torch.tensor([height // 2, width // 2], dtype=torch.float64)
    third = min(height, width) // 3
    before = middle + third * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    after = before + draws.between(-most, most, 3, 2)
    ones = torch.ones(3, 1, dtype=torch.float64)
    # source columns and rows of each position
    back = torch.linalg.solve(torch.cat([after, ones], 1), before)
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    places = torch.stack([columns, rows, torch.ones_like(rows)], 2) @ back
    return filters.sampled(x, places[..., 1], places[..., 0], "mirror")


def pixelate(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Fewer pixels; the constant is the fraction of them that remains along each side."""
    del draws
    from PIL import Image

    height, width = x.shape[:2]
    small = _picture(x).resize((int(width * constants[0]), int(height * constants[0])), Image.Resampling.BOX)
    return _values(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg_compression(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Saved as a JPEG; the constant is its quality."""
    del draws
    from PIL import Image

    saved = io.BytesIO()
    _picture(x).save(saved, "JPEG", quality=int(constants[0]))
    with Image.open(saved) as picture:
        return _values(picture)


def _picture(x: Tensor) -> "Picture":
    """Convert an image of 256 levels to a Pillow image."""
    from PIL import Image

    height, width = x.shape[:2]
    values = (x * 255).round().to(torch.uint8).contiguous()
    return Image.frombytes("RGB", (width, height), values.numpy().tobytes())


def _values(picture: "Picture") -> Tensor:
    """Convert a Pillow image to an image (H, W, 3) of float64."""
    width, height = picture.size
    values = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return values.view(height, width, 3).double() / 255

"""Convert images in any common form to the float tensor in [0, 1] that attacks work on."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advbench.errors import first_line

CHANNELS = (1, 3, 4)
"""Possible numbers of channels of a picture."""

_LEAST = float(torch.tensor(1 / 255))
_WANTED = "expected images as a tensor (N, C, H, W) in [0, 1]"
_BY_HAND = "make a tensor of it first, such as torchvision.transforms.functional.to_tensor(picture).unsqueeze(0)"
_WITHIN = "normalised? leave that to the model: advbench.Classifier(network, num_classes=..., mean=..., std=...)"


def as_images(given: Any, *, alone: bool = False) -> Tensor:
    """Convert images in any common form to a tensor.

    Args:
        given: A tensor, an array, or a list of tensors, arrays or numbers. 8-bit values are divided by 255; channels
            that come last in an array or in 8-bit images, and cannot be anything else, are moved to the front.
        alone: Whether it is a single image, without a batch axis.

    Returns:
        Images (N, ...) in their own floating-point dtype; float32 for 8-bit images.

    Raises:
        ValueError: ``expected ..., got ...`` for files and pictures that have not been decoded, images of different
            sizes, and integers of more than 8 bits.

    Example:
        >>> as_images(np.full((2, 8, 8, 3), 255, np.uint8)).shape
        torch.Size([2, 3, 8, 8])
    """
    refuse_pictures(given)
    x = _tensor(given)
    if x.is_meta:
        raise ValueError(f"{_WANTED}, got a tensor on the meta device, which has no values")
    x = x.unsqueeze(0) if alone else x
    decoded = x.dtype == torch.uint8 or not (isinstance(given, Tensor) or _are_tensors(given))
    return _scaled(x.permute(0, 3, 1, 2).contiguous() if decoded and channels_last(x) else x)


def channels_last(x: Tensor) -> bool:
    """Whether the channels of images come last rather than first: only the last size can be a number of channels.

    Example:
        >>> channels_last(torch.zeros(2, 8, 8, 3)), channels_last(torch.zeros(2, 3, 8, 4))
        (True, False)
    """
    return x.ndim == 4 and x.shape[1] not in CHANNELS and x.shape[3] in CHANNELS


def check_pixels(x: Tensor) -> None:
    """Check that images can be attacked: there is at least one, and their values are in range.

    Args:
        x: Images (N, ...), floating point.

    Raises:
        ValueError: ``expected ..., got ...``, with what was probably forgotten.

    Example:
        >>> check_pixels(torch.tensor([[0.0, 255.0]]))
        Traceback (most recent call last):
        ValueError: expected images in [0, 1], got values from 0 to 255: did you forget / 255?
    """
    if x.ndim < 2:
        raise ValueError(f"{_WANTED}, got shape {tuple(x.shape)}")
    if not x.numel():
        raise ValueError(f"expected at least one image, got none: shape {tuple(x.shape)}")
    low, high = (float(bound) for bound in x.float().aminmax())
    if high == _LEAST:
        raise ValueError("expected images in [0, 1], got none above 1/255: divided by 255 twice, or values of 0 and 1?")
    if 0 <= low <= high <= 1:
        return
    if not bool(x.isfinite().all()):
        raise ValueError("expected images in [0, 1], got NaN or infinite values")
    if low > -0.01 and high < 1.01:
        hint = "rounded while they were resized? images.clamp(0, 1)"
    elif low >= 0 and 8 < high <= 255:
        hint = "did you forget / 255?"
    else:
        hint = _WITHIN if high <= 255 else "divide them by the largest value that a pixel can have"
    raise ValueError(f"expected images in [0, 1], got values from {low:g} to {high:g}: {hint}")


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate batches of images (n, ...) to one (N, ...), on the device of the first.

    Raises:
        ValueError: They have different sizes.

    Example:
        >>> joined([torch.zeros(2, 3), torch.zeros(1, 3)]).shape
        torch.Size([3, 3])
    """
    sizes = dict.fromkeys(tuple(part.shape[1:]) for part in parts)
    if len(sizes) > 1:
        first, other = list(sizes)[:2]
        raise ValueError(
            f"expected images of one size, got {first} and {other}: resize them, or attack them separately"
        )
    return parts[0] if len(parts) == 1 else torch.cat([part.to(parts[0].device) for part in parts])


def refuse_pictures(given: Any) -> None:
    """Refuse files and PIL images, one or several: how to preprocess them for the model is not known here.

    Raises:
        ValueError: ``expected ..., got ...``

    Example:
        >>> refuse_pictures((torch.zeros(1, 3, 8, 8), ["cat"]))
    """
    one = given
    while isinstance(one, list | tuple) and one:
        one = one[0]
    if isinstance(one, str | bytes | os.PathLike):
        raise ValueError(f"{_WANTED}, got the path {os.fsdecode(one)!r}: open the picture with PIL, and {_BY_HAND}")
    if isinstance(one, Image.Image):
        raise ValueError(f"{_WANTED}, got a PIL image: {_BY_HAND}")


def _tensor(given: Any) -> Tensor:
    """Convert images of any kind to a tensor of their own dtype."""
    if isinstance(given, Tensor):
        return given.detach().as_subclass(Tensor)
    if isinstance(given, list | tuple) and given and all(hasattr(each, "shape") for each in given):
        return joined([_tensor(each).unsqueeze(0) for each in given])
    try:
        # A copy, since torch needs writable memory in native byte order.
        array = np.array(given)
        array = array.astype(array.dtype.newbyteorder("="))
        array = array.astype(np.float64) if array.dtype == np.longdouble else array
        return torch.from_numpy(array)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(given).__name__
        kind += f" of {type(given[0]).__name__}" if isinstance(given, list | tuple) and given else ""
        why = first_line(error)
        raise ValueError(f"{_WANTED}, got {kind}: {why}") from error


def _are_tensors(given: Any) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(each, Tensor) for each in given)


def _scaled(x: Tensor) -> Tensor:
    """8-bit values divided by 255; all others unchanged."""
    if x.is_floating_point():
        return x
    if x.dtype != torch.uint8:
        hint = "images.to(torch.uint8) if its values are 0 to 255, images.float() if they are 0 and 1"
        raise ValueError(f"expected images of floats in [0, 1] or of 8 bits (uint8), got {x.dtype}: {hint}")
    return x.float() / 255

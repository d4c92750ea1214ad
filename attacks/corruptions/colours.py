"""Colours of images (H, W, 3) in [0, 1]."""

import torch
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a grey pixel."""


def luminance(x: Tensor) -> Tensor:
    """Brightness of each pixel (H, W)."""
    return x @ x.new_tensor(LUMINANCE)


def to_hsv(x: Tensor) -> Tensor:
    """Hue, saturation and value of each pixel (H, W, 3), all in [0, 1].

    Example:
        >>> to_hsv(torch.tensor([[[0.0, 0.5, 0.0]]])).flatten().tolist()
        [0.3333333432674408, 1.0, 0.5]
    """
    value, span = x.amax(2), x.amax(2) - x.amin(2)
    safe = torch.where(span > 0, span, 1.0)
    red, green, blue = x.unbind(2)
    hue = torch.where(value == red, (green - blue) / safe, 2 + (blue - red) / safe)
    # where two channels share the largest value, both give the same hue
    hue = torch.where((value == blue) & (value != red), 4 + (red - green) / safe, hue)
    hue = torch.where(span > 0, hue / 6, 0.0).remainder(1.0)
    saturation = torch.where(value > 0, span / torch.where(value > 0, value, 1.0), 0.0)
    return torch.stack([hue, saturation, value], 2)


def from_hsv(hsv: Tensor) -> Tensor:
    """Red, green and blue of each pixel (H, W, 3); the inverse of :func:`to_hsv`."""
    hue, saturation, value = hsv.unbind(2)
    place = (hue.unsqueeze(2) * 6 + hue.new_tensor([5.0, 3.0, 1.0])).remainder(6.0)
    fall = torch.minimum(place, 4 - place).clamp(0, 1)
    return (value.unsqueeze(2) * (1 - saturation.unsqueeze(2) * fall)).contiguous()

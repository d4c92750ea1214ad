"""Differentiable JPEG compression."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from attacks.queries.plain import whole_number

_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29),
    *(51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121),
    *(120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66),
    *([99] * 38),
)
"""Quantisation steps of the coefficients, row by row: annex K of the standard, which libjpeg scales by quality."""
_SIDE = 8
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_WHITE, _GREY = 255, 128


def jpeg(x: Tensor, quality: int) -> Tensor:
    """Compress images as in a JPEG file, with a gradient that passes straight through the rounding.

    Colours are kept at full resolution (4:4:4), and the quantisation steps are those of libjpeg, and so of Pillow. The
    result differs from Pillow's by a level here and there, since files are computed in integers, and by more within a
    block if a coefficient lies halfway between two steps: test final results on the actual file.

    Args:
        x: Images (N, C, H, W) in [0, 1], grey or RGB.
        quality: JPEG quality, 1 to 100.

    Returns:
        Images shaped like ``x``, multiples of 1/255.

    Raises:
        ValueError: If the quality is not a whole number in its range, or the images are not floats, or neither grey nor
            RGB.

    References:
        Shin and Song, JPEG-resistant adversarial images, 2017, for attacks through the compression;
        the gradient of rounding is that of Athalye et al., Obfuscated gradients give a false sense of security
        <https://arxiv.org/abs/1802.00420>, 2018.

    Example:
        >>> grey = torch.full((1, 3, 16, 16), 0.5).requires_grad_()
        >>> saved = jpeg(grey, quality=95)
        >>> bool((saved - grey).abs().max() < 1 / 255), bool(torch.autograd.grad(saved.sum(), grey)[0].gt(0.9).all())
        (True, True)
    """
    quality = whole_number("a JPEG quality", quality, least=-math.inf)
    if not 1 <= quality <= 100:
        raise ValueError(f"expected a JPEG quality of 1 to 100, got {quality}")
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"expected images as a tensor of float32 or float64, got {got}")
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"expected images (N, C, H, W) with 1 or 3 channels, got shape {tuple(x.shape)}")
    with torch.no_grad():
        saved = _saved(x, quality)
    # The transforms are inverses, so that without the rounding each value would be unchanged.
    return saved + (x - x.detach())


def _saved(x: Tensor, quality: int) -> Tensor:
    """Images (N, C, H, W) after saving."""
    height, width = x.shape[2:]
    planes = x * _WHITE
    mixed = torch.tensor(_TO_YCBCR, dtype=x.dtype, device=x.device)
    middle = torch.tensor([0.0, _GREY, _GREY], dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    if x.shape[1] == 3:
        planes = torch.einsum("ij,njhw->nihw", mixed, planes) + middle
    padded = pad(planes.round().clamp(0, _WHITE), (0, -width % _SIDE, 0, -height % _SIDE), mode="replicate")
    saved = _through_coefficients(padded - _GREY, _steps(quality, x))[..., :height, :width] + _GREY
    saved = saved.round().clamp(0, _WHITE)  # before the conversion to colours: ripples at edges go far beyond
    if x.shape[1] == 3:
        saved = torch.einsum("ij,njhw->nihw", mixed.inverse(), saved - middle).round().clamp(0, _WHITE)
    return saved / _WHITE


def _through_coefficients(planes: Tensor, steps: Tensor) -> Tensor:
    """Planes (N, C, H, W) with the coefficients of their blocks rounded to multiples of the steps (C, 1, 1, 8, 8)."""
    cosines = _cosines(planes)
    blocks = planes.unfold(2, _SIDE, _SIDE).unfold(3, _SIDE, _SIDE)
    coefficients = (cosines @ blocks @ cosines.T / steps).round()
    return (cosines.T @ (coefficients * steps) @ cosines).permute(0, 1, 2, 4, 3, 5).reshape(planes.shape)


def _cosines(like: Tensor) -> Tensor:
    """The matrix (8, 8) of the discrete cosine transform, whose rows have length 1."""
    place = torch.arange(_SIDE, dtype=like.dtype, device=like.device)
    matrix = torch.cos((2 * place + 1) * place.unsqueeze(1) * math.pi / (2 * _SIDE)) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _steps(quality: int, x: Tensor) -> Tensor:
    """Quantisation step of each coefficient of each channel in libjpeg at a quality: (C, 1, 1, 8, 8)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    tables = (_LUMA, _CHROMA, _CHROMA)[: x.shape[1]]
    scaled = [[min(max((value * scale + 50) // 100, 1), 255) for value in table] for table in tables]
    return torch.tensor(scaled, dtype=x.dtype, device=x.device).view(-1, 1, 1, _SIDE, _SIDE)

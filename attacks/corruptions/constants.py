"""Constants of each corruption at each severity, for images of the sizes of ImageNet, Tiny ImageNet and CIFAR.

The numbers are those of the programs that made ImageNet-C, Tiny-ImageNet-C and CIFAR-10-C. Plain data; does not import
torch.
"""

from collections.abc import Mapping

SEVERITIES = (1, 2, 3, 4, 5)
"""The five possible severities."""
COMMON = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The benchmark's fifteen corruptions, over which its mean is taken."""
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four corruptions that its authors set aside for model selection."""
CORRUPTIONS = (*COMMON, *EXTRA)
"""All nineteen corruptions."""

Constants = tuple[float, ...]
"""Constants of one corruption at one severity."""
Table = Mapping[str, tuple[Constants, ...]]
"""Name of a corruption -> its constants at each severity."""


def _each(*values: float) -> tuple[Constants, ...]:
    """One constant for each severity."""
    return tuple((value,) for value in values)


_SNOW = ((8, 3), (10, 4), (10, 4), (12, 6), (14, 12))
"""Radius and sigma of the motion of the flakes, for small images."""
_FLAKES = (
    (0.1, 0.2, 1, 0.6),
    (0.1, 0.2, 1, 0.5),
    (0.15, 0.3, 1.75, 0.55),
    (0.25, 0.3, 2.25, 0.6),
    (0.3, 0.3, 1.25, 0.65),
)
"""Mean, deviation, zoom and threshold of the flakes, for small images."""


def _snow(*whiter: float) -> tuple[Constants, ...]:
    return tuple((*flakes, *motion, share) for flakes, motion, share in zip(_FLAKES, _SNOW, whiter, strict=True))


_ZOOM_SMALL = tuple((end, 0.01) for end in (1.06, 1.11, 1.16, 1.21, 1.26))

IMAGENET: Table = {
    "gaussian_noise": _each(0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": _each(60, 25, 12, 5, 3),
    "impulse_noise": _each(0.03, 0.06, 0.09, 0.17, 0.27),
    "speckle_noise": _each(0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": _each(1, 2, 3, 4, 6),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": _each(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _each(0.4, 0.3, 0.2, 0.1, 0.05),
    # shares of the image's height: sigma, largest displacement before smoothing and after, and corner of the affine map
    "elastic_transform": tuple((0.01, 0.005 * 250 * share, 0) for share in (0.05, 0.065, 0.085, 0.1, 0.12)),
    "pixelate": _each(0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": _each(25, 18, 15, 10, 7),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}
"""For images of 128 pixels and more."""

TINY: Table = {
    "gaussian_noise": _each(0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": _each(250, 100, 50, 30, 15),
    "impulse_noise": _each(0.01, 0.02, 0.05, 0.08, 0.14),
    "speckle_noise": _each(0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": _each(0.5, 0.75, 1, 1.25, 1.5),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": _ZOOM_SMALL,
    "snow": _snow(0.8, 0.8, 0.7, 0.65, 0.6),
    "frost": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": _each(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _each(0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": ((0, 0, 0.08), (0.3, 0.05, 0.06), (0.08, 0.1, 0.06), (0.03, 0.1, 0.03), (0.03, 0.16, 0.02)),
    "pixelate": _each(0.9, 0.8, 0.7, 0.6, 0.5),
    "jpeg_compression": _each(65, 58, 50, 40, 25),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
}
"""For images of 48 to 127 pixels."""

CIFAR: Table = {
    "gaussian_noise": _each(0.04, 0.06, 0.08, 0.09, 0.1),
    "shot_noise": _each(500, 250, 100, 75, 50),
    "impulse_noise": _each(0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle_noise": _each(0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": _each(0.4, 0.6, 0.7, 0.8, 1),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": _ZOOM_SMALL,
    "snow": _snow(0.95, 0.9, 0.9, 0.85, 0.8),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": _each(0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": _each(0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": ((0, 0, 0.08), (0.2, 0.05, 0.07), (0.06, 0.08, 0.06), (0.04, 0.1, 0.05), (0.03, 0.1, 0.03)),
    "pixelate": _each(0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": _each(80, 65, 58, 50, 40),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}
"""For images of less than 48 pixels."""

VARIANTS: Mapping[str, tuple[int, Table]] = {"cifar": (0, CIFAR), "tiny": (48, TINY), "imagenet": (128, IMAGENET)}
"""Name of a table -> smallest length of the shorter side, in pixels, for which it is used, and the table."""
SMALLEST = 28
"""Smallest length of the shorter side, in pixels: on smaller images the constants for CIFAR make no sense."""


def constants_for(corruption: str, severity: int, side: int, variant: str = "auto") -> Constants:
    """The constants of a corruption.

    Args:
        corruption: One of `CORRUPTIONS`.
        severity: One of `SEVERITIES`.
        side: Number of pixels along the image's shorter side.
        variant: One of `VARIANTS`, or `auto` for the one meant for images of that size.

    Example:
        >>> constants_for("gaussian_noise", 3, side=32), constants_for("gaussian_noise", 3, side=224)
        ((0.08,), (0.18,))
    """
    if variant == "auto":
        variant = next(name for name in ("imagenet", "tiny", "cifar") if side >= VARIANTS[name][0])
    return VARIANTS[variant][1][corruption][severity - 1]

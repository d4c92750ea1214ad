"""Options for the size at which a picture is attacked, and for saving the result. Does not import torch."""

from dataclasses import dataclass

from advbench.errors import UserError
from advbench.sanitize import display_name

INPUT, ORIGINAL = "input", "original"
"""Sizes at which a picture can be attacked: that of the model's input, or its own."""
QUALITY = 95
"""Quality of a JPEG if none is given."""
FORMS = f"png, jpeg (of quality {QUALITY}) or jpeg:QUALITY"
"""The formats in which a picture can be saved."""
DEFAULT_KAPPA = 1.0
"""Logit margin that an attack on a photograph at its own size aims for."""

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WEBP": ".webp"}
"""Pillow's name of a format -> suffix of its files."""
_LABEL = ", original size"
_JPEG = ("jpeg", "jpg")


@dataclass(frozen=True)
class SavedAs:
    """How a picture is saved: lossless, or as a JPEG of some quality with full-resolution colour (4:4:4)."""

    format: str
    """One of the keys of `SUFFIXES`."""
    quality: int | None = None
    """Quality of a JPEG, 1 to 100; None for the other formats, which are lossless."""

    def __str__(self) -> str:
        return self.format.lower() if self.quality is None else f"{self.format.lower()}:{self.quality}"


def parse_saved_as(text: str) -> SavedAs:
    """Parse a format.

    Args:
        text: One of :data:`FORMS`.

    Raises:
        UserError: The format is unknown, or the quality out of range.

    Example:
        >>> parse_saved_as("jpeg:90")
        SavedAs(format='JPEG', quality=90)
        >>> parse_saved_as("jpeg:0")
        Traceback (most recent call last):
        advbench.errors.UserError: --save-as jpeg:0 has no quality from 1 to 100
        such as --save-as jpeg:95
    """
    name, colon, quality = text.strip().lower().partition(":")
    if name == "png" and not colon:
        return SavedAs("PNG")
    if name not in _JPEG:
        shown = display_name(text)
        raise UserError(f"--save-as '{shown}' is not a format for saving pictures", hint=f"there are: {FORMS}")
    if not colon:
        return SavedAs("JPEG", QUALITY)
    if not quality.isdecimal() or len(quality) > 3 or not 1 <= int(quality) <= 100:
        shown = display_name(text)
        raise UserError(f"--save-as {shown} has no quality from 1 to 100", hint=f"such as --save-as jpeg:{QUALITY}")
    return SavedAs("JPEG", int(quality))


def like(name: str) -> SavedAs:
    """The default way to save a picture that was read from a file of that format.

    Example:
        >>> str(like("JPEG")), str(like("BMP"))
        ('jpeg:95', 'bmp')
    """
    return SavedAs(name, QUALITY if name == "JPEG" else None)


def at_own_size(label: str, saved: SavedAs | None) -> str:
    """The label of pictures that are attacked at their own size, which is a separate threat.

    Example:
        >>> at_own_size("files", None), at_own_size("files", SavedAs("JPEG", 90))
        ('files, original size', 'files, original size, jpeg:90')
    """
    return f"{label}{_LABEL}" + ("" if saved is None else f", {saved}")

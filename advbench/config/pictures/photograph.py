"""The size at which a picture is attacked, and how the result is saved, as people write it. No torch."""

from dataclasses import dataclass

from advbench.errors import UserError
from advbench.sanitize import display_name

INPUT, ORIGINAL = "input", "original"
"""Sizes at which a picture can be attacked: that of the model's input, or its own."""
QUALITY = 95
"""Quality of a JPEG where none is named."""
FORMS = f"png, jpeg (of quality {QUALITY}) or jpeg:QUALITY"
"""How a picture can be saved."""
DEFAULT_KAPPA = 1.0
"""Logits to spare at which an attack on a photograph at its own size aims."""

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WEBP": ".webp"}
"""Pillow's name of a format -> what its files end in."""
_LABEL = ", original size"
_JPEG = ("jpeg", "jpg")


@dataclass(frozen=True)
class SavedAs:
    """How a picture is saved: without loss, or as a JPEG of some quality, with colours at full resolution (4:4:4)."""

    format: str
    """One of the keys of `SUFFIXES`."""
    quality: int | None = None
    """Quality of a JPEG, 1 to 100; None for the other formats, which lose nothing."""

    def __str__(self) -> str:
        return self.format.lower() if self.quality is None else f"{self.format.lower()}:{self.quality}"


def parse_saved_as(text: str, *, option: str = "--save-as") -> SavedAs:
    """A format as a person writes it.

    Args:
        text: One of :data:`FORMS`.
        option: Name of the option in messages.

    Raises:
        UserError: Another format, or a quality out of range.

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
        raise UserError(f"{option} '{shown}' is no format in which pictures are saved", hint=f"there are: {FORMS}")
    if not colon:
        return SavedAs("JPEG", QUALITY)
    if not quality.isdecimal() or len(quality) > 3 or not 1 <= int(quality) <= 100:
        shown = display_name(text)
        raise UserError(f"{option} {shown} has no quality from 1 to 100", hint=f"such as {option} jpeg:{QUALITY}")
    return SavedAs("JPEG", int(quality))


def like(name: str) -> SavedAs:
    """How a picture is saved that comes from a file of that format, if nothing else is asked for.

    Example:
        >>> str(like("JPEG")), str(like("BMP"))
        ('jpeg:95', 'bmp')
    """
    return SavedAs(name, QUALITY if name == "JPEG" else None)


def at_own_size(label: str, saved: SavedAs | None) -> str:
    """The label of pictures that are attacked at their own size: a threat of its own.

    Example:
        >>> at_own_size("files", None), at_own_size("files", SavedAs("JPEG", 90))
        ('files, original size', 'files, original size, jpeg:90')
    """
    return f"{label}{_LABEL}" + ("" if saved is None else f", {saved}")

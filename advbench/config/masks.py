"""Parse masks, which say what an attack may change. Does not import torch."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from advbench.errors import UserError
from advbench.sanitize import display_name

FORMS = "a picture (white may change), box:x,y,width,height, border:8 or saliency:5%"
"""The forms of a mask."""
SHAPES = ("square", "circle")
"""The shapes of a patch."""
PLACES = 100
"""Number of positions at which a patch is measured on a single picture; with several pictures, one on each."""

_ONLY = ", only "
_NUMBERS = {"box": 4, "border": 1, "saliency": 1}


@dataclass(frozen=True)
class MaskSpec:
    """A mask as the user wrote it; pixels are those of the model's input."""

    text: str
    """The mask as written."""
    kind: Literal["box", "border", "saliency", "picture"]
    """Its kind of source."""
    numbers: tuple[float, ...] = ()
    """Left, top, width and height of a box, the width of a border, or the share that saliency keeps, percent."""

    @property
    def path(self) -> Path:
        """The file of a mask that is a picture."""
        return Path(self.text)

    @property
    def per_image(self) -> bool:
        """Whether each image has its own mask."""
        return self.kind == "saliency"

    def digest(self) -> str:
        """Hexadecimal digest of the mask; for a picture, it depends on the content of its file.

        Raises:
            UserError: The file cannot be read.
        """
        if self.kind != "picture":
            return self.text
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise UserError(f"cannot read the mask {display_name(self.text)}: {error.strerror}") from None


def parse_mask(text: str, *, option: str = "--mask") -> MaskSpec:
    """Parse a mask.

    Args:
        text: One of :data:`FORMS`; anything other than the last three is the path of a picture.
        option: Name of the option in messages.

    Raises:
        UserError: The numbers after the colon are missing or invalid.

    Example:
        >>> parse_mask("box:10,20,30,30").numbers
        (10.0, 20.0, 30.0, 30.0)
        >>> parse_mask("border:0")
        Traceback (most recent call last):
        advbench.errors.UserError: --mask border:0 allows nothing to change
        a mask is a picture (white may change), box:x,y,width,height, border:8 or saliency:5%
    """
    kind, colon, rest = text.strip().partition(":")
    hint = f"a mask is {FORMS}"
    if not text.strip():
        raise UserError(f"{option} is empty", hint=hint)
    if not colon or kind not in _NUMBERS:
        return MaskSpec(text.strip(), "picture")
    percent = kind == "saliency"
    parts = [part.strip() for part in rest.split(",")]
    whole = r"\d+(\.\d+)?%" if percent else r"\d+"
    if len(parts) != _NUMBERS[kind] or not all(re.fullmatch(whole, part) for part in parts):
        raise UserError(f"{option} {display_name(text)} is not a mask", hint=hint)
    numbers = tuple(float(part.rstrip("%")) for part in parts)
    said = f"{kind}:{','.join(parts)}"
    if not all(numbers[2:] if kind == "box" else numbers):
        raise UserError(f"{option} {said} allows nothing to change", hint=hint)
    if percent and numbers[0] > 100:
        raise UserError(f"{option} {said} is more than the whole image", hint=hint)
    return MaskSpec(said, kind, numbers)  # type: ignore[arg-type]


def with_mask(label: str, mask: str, folder: Path = Path()) -> str:
    """The label of a data set under a mask; a label that already has the mask stays unchanged.

    The mask is part of the label because attacks under different masks are different threats: they are not resumed,
    compared, or reported as one.

    Args:
        label: Label of the data set.
        mask: Its mask, as written.
        folder: Folder that a relative path of a picture starts from.

    Example:
        >>> with_mask("digits", "border:2"), with_mask("digits, only border:2", "border:2")
        ('digits, only border:2', 'digits, only border:2')
    """
    if _ONLY in label:
        return label
    spec = parse_mask(mask, option="mask")
    if spec.kind != "picture":
        return f"{label}{_ONLY}{spec.text}"
    try:
        content = f" ({hashlib.sha256((folder / spec.path).read_bytes()).hexdigest()[:8]})"
    except OSError:  # reading the mask itself reports the error
        content = ""
    return f"{label}{_ONLY}{spec.path.name}{content}"


def mask_in(label: str) -> str:
    """The mask that the label of a data set ends with; empty if everything may change.

    Example:
        >>> mask_in("digits, only border:2"), mask_in("digits")
        ('border:2', '')
    """
    return label.partition(_ONLY)[2]


def without_mask(label: str) -> str:
    """The label of a data set, without its mask.

    Example:
        >>> without_mask("digits, only border:2")
        'digits'
    """
    return label.partition(_ONLY)[0]


def parse_share(text: str) -> float:
    """Parse the share of a picture that a patch covers: `5%` or `0.05`.

    Args:
        text: Percentage or fraction.

    Raises:
        UserError: It is not a number, not above zero, or more than the whole picture.

    Example:
        >>> parse_share("5%"), parse_share("0.05")
        (0.05, 0.05)
        >>> parse_share("0")
        Traceback (most recent call last):
        advbench.errors.UserError: --share 0 covers nothing
        write it like 5%
    """
    number, percent = (text.strip()[:-1], True) if text.strip().endswith("%") else (text, False)
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        raise UserError(f"--share {text!r} is not a share of a picture", hint="write it like 5%") from None
    if not share > 0:
        raise UserError(f"--share {text} covers nothing", hint="write it like 5%")
    if share > 1:
        hint = f"did you mean --share {number}%?" if not percent and share <= 100 else "write it like 5%"
        raise UserError(f"--share {text} is more than the whole picture", hint=hint)
    return share

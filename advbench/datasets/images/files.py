"""Read untrusted pictures: refuse what is dangerous, and decode the rest as a person sees it.

Files and their names are untrusted: only four formats are decoded, limits are checked on the header before any pixel is
decoded, and anything unreadable raises a one-line `PictureError`.
"""

import io
import os
import re
import stat
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from advbench.errors import CLOSED, UserError
from advbench.sanitize import display_name

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Pillow's names of the formats that are decoded."""
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
"""Suffixes of the files to find in a folder, in upper or lower case."""
MAX_PIXELS = 50_000_000
"""Maximum number of pixels of a picture."""
MAX_BYTES = 100_000_000
"""Maximum size of a file in bytes."""
MAX_SCANS = 100
"""Maximum number of scans in a JPEG; encoders write about ten."""

_SIGNATURES = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG)|(?P<WebP>RIFF....WEBP)|(?P<GIF>GIF8)|(?P<TIFF>II\*\0|MM\0\*)"
    rb"|(?P<AVIF>....ftypavi[fs])|(?P<HEIC>....ftyp(?:hei|hev|mif1))|(?P<PDF>%PDF)",
    re.DOTALL,
)
# A marker that opens a JPEG segment or ends the file: 00 is stuffing, d0 to d7 occur inside a scan.
_MARKER = re.compile(rb"\xff+([\x02-\xcf\xd9-\xfe])")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(UserError):
    """A picture, or a folder of them, that cannot be read; the message is one line.

    Args:
        path: The file or folder, as named by the user.
        reason: Why, and what to do next.

    Example:
        >>> print(PictureError("tiger.gif", "GIF is not accepted: save it as PNG"))
        cannot read 'tiger.gif': GIF is not accepted: save it as PNG
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"cannot read '{display_name(path, limit=200)}': {reason}")
        self.path = Path(path)


def read_picture(path: str | Path, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """Read a picture file as a person sees it; see :func:`decode_picture`.

    Args:
        path: A JPEG, PNG, WebP or BMP file, whatever its suffix; at most 100 MB and 50 megapixels.
        mode: `"RGB"`, or `"L"` for grey.

    Returns:
        The decoded picture in that mode, without metadata and independent of the file.

    Raises:
        PictureError, ValueError: The file is missing or not a regular file, or as for :func:`decode_picture`.
    """
    return decode_picture(_read_file(path), path, mode)


def decode_picture(data: bytes, name: str | Path, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """Decode a picture as a person sees it: upright, opaque, 8 bits per channel.

    Transparency is composited over white, 16-bit values keep their high byte, and the orientation recorded by a camera
    is applied, but colour profiles are not. From a photograph with several views, the first is read.

    Args:
        data: Contents of a JPEG, PNG, WebP or BMP file; at most 100 MB and 50 megapixels.
        name: File or entry that the data comes from, for messages.
        mode: `"RGB"`, or `"L"` for grey.

    Raises:
        PictureError: The picture is empty, too large, damaged, animated or of another format.
        ValueError: The mode is not one of these.
    """
    if mode not in ("RGB", "L"):
        raise ValueError(f"expected mode 'RGB' or 'L', got {mode!r}")
    stored = decode_stored(data, name)
    picture = upright(stored.picture, stored.orientation).convert(mode)
    picture.info.clear()
    return picture


class StoredPicture(NamedTuple):
    """A picture as stored in its file, before it is turned upright."""

    picture: Image.Image
    """Pixels, opaque, 8 bits per channel, in the orientation of the file."""
    format: str
    """One of `FORMATS`."""
    orientation: int
    """EXIF orientation; 1 is upright."""
    deep: bool
    """Whether the file has 16 bits per channel."""
    exif: bytes
    """EXIF data from the camera; empty if there is none."""
    profile: bytes | None
    """Colour profile of the file, which is not applied."""


def read_stored(path: str | Path) -> StoredPicture:
    """Read a picture file as it is stored; otherwise as :func:`read_picture`."""
    return decode_stored(_read_file(path), path)


def decode_stored(data: bytes, name: str | Path) -> StoredPicture:
    """Decode a picture as it is stored; otherwise as :func:`decode_picture`."""
    _check_size(name, len(data))
    with warnings.catch_warnings():
        # Pillow warns about faults that it repairs; a warning would print untrusted text unescaped.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = _open_header(name, data)
        _check_header(name, image, data)
        deep = _is_deep(image)
        opaque = _decode(name, image)
        orientation = _orientation(image)
    exif, profile = image.info.get("exif"), image.info.get("icc_profile")
    return StoredPicture(
        picture=opaque,
        format="JPEG" if image.format == "MPO" else str(image.format),
        orientation=orientation if orientation in _UPRIGHT else 1,
        deep=deep,
        exif=exif if isinstance(exif, bytes) else b"",
        profile=profile if isinstance(profile, bytes) else None,
    )


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """A stored picture as a person sees it.

    Example:
        >>> upright(Image.new("L", (4, 2)), 6).size
        (2, 4)
    """
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def status_of(path: str | Path) -> os.stat_result:
    """The status of a file or folder.

    Raises:
        PictureError: There is none with that name, or it is inaccessible.
    """
    # Path("") is the current folder, which is not what an empty shell variable means.
    if not str(path):
        raise PictureError(path, "the name is empty; name a picture or a folder")
    try:
        return Path(path).stat()
    except OSError as error:
        raise PictureError(path, why_not(error)) from None
    except ValueError:
        raise PictureError(path, "no file can have this name; check the spelling") from None


def why_not(error: OSError) -> str:
    """Why a file or folder cannot be read, and what to do next."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "no such file or folder; check the spelling"
    if isinstance(error, PermissionError):
        return f"no permission; {CLOSED}"
    return f"{(error.strerror or type(error).__name__).lower()}; copy it to another place and try that"


def _read_file(path: str | Path) -> bytes:
    status = status_of(path)
    if stat.S_ISDIR(status.st_mode):
        raise PictureError(path, "this is a folder; name a picture in it")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(path, "this is a pipe or a device; save the picture to a file first")
    _check_size(path, status.st_size)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PictureError(path, why_not(error)) from None


def _check_size(path: str | Path, size: int) -> None:
    if size == 0:
        raise PictureError(path, "the file is empty; fetch or save it again")
    if size > MAX_BYTES:
        shown = f"{size / 1e6:,.0f} MB, more than {MAX_BYTES / 1e6:.0f} MB"
        raise PictureError(path, f"the file has {shown}; save a smaller copy")


def _open_header(path: str | Path, data: bytes) -> ImageFile:
    """Read the header; the pixels stay encoded."""
    signature = _SIGNATURES.match(data)
    kind = signature.lastgroup if signature else None
    if kind and kind.upper() not in FORMATS:
        raise PictureError(path, f"{kind} is not accepted: save it as PNG")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        size = f"more than {MAX_PIXELS / 1e6:.0f} megapixels"
        raise PictureError(path, f"the picture has {size}; save a smaller copy") from None
    except Exception:  # a damaged header makes Pillow raise many kinds of error
        if kind:
            raise PictureError(path, f"the {kind} is damaged; fetch or save it again") from None
        raise PictureError(path, "this is not a JPEG, PNG, WebP or BMP picture; save it as PNG") from None


def _check_header(path: str | Path, image: ImageFile, data: bytes) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        size = f"{width:,} x {height:,} pixels, more than {MAX_PIXELS / 1e6:.0f} megapixels"
        raise PictureError(path, f"the picture has {size}; save a smaller copy")
    if image.format in ("JPEG", "MPO"):
        # A scan is a pass over all pixels: a file of one megabyte could keep a processor busy for minutes.
        if _scans(data) > MAX_SCANS:
            raise PictureError(path, f"the JPEG has more than {MAX_SCANS} scans; save it as PNG")
    elif getattr(image, "is_animated", False):
        raise PictureError(path, "the picture is animated; save the frame you mean as PNG")


def _is_deep(image: ImageFile) -> bool:
    """Whether a picture has 16 bits per channel, of which Pillow keeps 8 if there are several channels."""
    layout = image.tile[0].args if image.tile and image.format == "PNG" else ""
    return image.mode.startswith("I") or ";16" in str(layout)


def _scans(jpeg: bytes) -> int:
    """Count the scans of the first picture in the file, and stop if there are too many."""
    position = scans = 0
    while scans <= MAX_SCANS and (marker := _MARKER.search(jpeg, position)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        position = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return scans


def _decode(path: str | Path, image: ImageFile) -> Image.Image:
    """Decode to 8 bits per channel, opaque."""
    try:
        _mend_transparent_colour(image)
        image.load()
        return _opaque(image)
    except Exception as error:  # as for the header
        reason = f"the {image.format} is damaged or cut off ({display_name(str(error))})"
        raise PictureError(path, f"{reason}; fetch or save it again") from None


def _mend_transparent_colour(image: ImageFile) -> None:
    """Convert a PNG's transparent colour to 8 bits; Pillow does so only for the pixels."""
    colour: Any = image.info.get("transparency")
    match image.tile[0].args if image.tile else None:
        case "L;2" | "L;4" as packed if isinstance(colour, int):
            image.info["transparency"] = colour * (85 if packed == "L;2" else 17)
        case "RGB;16B" if isinstance(colour, tuple):
            image.info["transparency"] = tuple(value >> 8 for value in colour)


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        grey[values == image.info.get("transparency")] = 255
        return Image.fromarray(grey)
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a picture with damaged metadata is still a picture
        return None

"""Read pictures from strangers: find them, refuse what is dangerous, decode the rest as a person sees it.

Files and their names are untrusted: four formats are decoded and no others, limits are checked on the
header before any pixel is decoded, and what cannot be read becomes a `PictureError` of one line.
"""

import io
import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from advbench.errors import UserError
from advbench.sanitize import display_name

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Pillow's names of the formats that are decoded."""
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
"""What a file found in a folder must end in, in any case."""
MAX_PIXELS = 50_000_000
"""Width times height of the largest picture."""
MAX_BYTES = 100_000_000
"""Size of the largest file."""
MAX_SCANS = 100
"""Passes over the picture that a JPEG may ask for; encoders write about ten."""

_SIGNATURES = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG)|(?P<WebP>RIFF....WEBP)|(?P<GIF>GIF8)|(?P<TIFF>II\*\0|MM\0\*)"
    rb"|(?P<AVIF>....ftypavi[fs])|(?P<HEIC>....ftyp(?:hei|hev|mif1))|(?P<PDF>%PDF)",
    re.DOTALL,
)
# A marker that opens a JPEG segment or ends the file: 00 is stuffing, d0 to d7 stand inside a scan.
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
        path: The file or folder as it was named.
        reason: Why, and what to do next.

    Example:
        >>> print(PictureError("tiger.gif", "GIF is not accepted: save it as PNG"))
        cannot read 'tiger.gif': GIF is not accepted: save it as PNG
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"cannot read '{display_name(path, limit=200)}': {reason}")
        self.path = Path(path)


class Found(NamedTuple):
    """What `find_pictures` came back with."""

    pictures: tuple[Path, ...]
    """Files to read, in the order in which they were named; those of a folder sorted."""
    problems: tuple[PictureError, ...]
    """What could not be searched or led to nothing."""


def find_pictures(paths: Iterable[str | Path]) -> Found:
    """Expand folders into the pictures below them, and collect what cannot be found.

    A file is taken whatever its suffix. A folder is searched with its subfolders, links included, for
    `SUFFIXES`; hidden files and folders in it are skipped. A file reached twice is taken once.

    Args:
        paths: Files and folders as a person named them.

    Returns:
        The pictures, and a problem for each path that is missing, unreadable or a folder without pictures.

    Example:
        >>> print(find_pictures(["no/such/tiger.jpg"]).problems[0])
        cannot read 'no/such/tiger.jpg': no such file or folder; check the spelling
    """
    pictures: dict[str, Path] = {}
    problems: list[PictureError] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        try:
            is_folder = stat.S_ISDIR(_status(path).st_mode)
        except PictureError as problem:
            problems.append(problem)
            continue
        for picture in _search(Path(path), problems) if is_folder else [Path(path)]:
            pictures.setdefault(os.path.realpath(picture), picture)
    return Found(tuple(pictures.values()), tuple(problems))


def read_picture(path: str | Path, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """Read a picture file as a person sees it; see :func:`decode_picture`.

    Args:
        path: A JPEG, PNG, WebP or BMP file, whatever its suffix; at most 100 MB and 50 megapixels.
        mode: `"RGB"`, or `"L"` for grey.

    Returns:
        The decoded picture in that mode, without metadata and independent of the file.

    Raises:
        PictureError, ValueError: The file is missing or not a regular file, or as :func:`decode_picture`.
    """
    return decode_picture(_read_file(path), path, mode)


def decode_picture(data: bytes, name: str | Path, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """Decode a picture as a person sees it: upright, opaque, 8 bits a channel.

    Transparency is laid over white, 16-bit values keep their high byte, the orientation that a camera
    recorded is applied, colour profiles are not. Of a photograph with several views, the first is read.

    Args:
        data: Contents of a JPEG, PNG, WebP or BMP file; at most 100 MB and 50 megapixels.
        name: File or entry that they come from, for messages.
        mode: `"RGB"`, or `"L"` for grey.

    Raises:
        PictureError: The picture is empty, too large, damaged, animated or of another format.
        ValueError: The mode is another one.
    """
    if mode not in ("RGB", "L"):
        raise ValueError(f"expected mode 'RGB' or 'L', got {mode!r}")
    _check_size(name, len(data))
    with warnings.catch_warnings():
        # Pillow warns about faults that it mends; a warning would print the stranger's text as it is.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = _open_header(name, data)
        _check_header(name, image, data)
        opaque = _decode(name, image)
        turn = _UPRIGHT.get(_orientation(image))
    picture = (opaque.transpose(turn) if turn is not None else opaque).convert(mode)
    picture.info.clear()
    return picture


def _status(path: str | Path) -> os.stat_result:
    # Path("") is the current folder, which is not what an empty shell variable means.
    if not str(path):
        raise PictureError(path, "the name is empty; name a picture or a folder")
    try:
        return Path(path).stat()
    except OSError as error:
        raise PictureError(path, _why(error)) from None
    except ValueError:
        raise PictureError(path, "no file can have this name; check the spelling") from None


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "no such file or folder; check the spelling"
    if isinstance(error, PermissionError):
        return "no permission; change its access rights or copy it to a place of yours"
    return f"{(error.strerror or type(error).__name__).lower()}; copy it to another place and try that"


def _search(folder: Path, problems: list[PictureError]) -> Iterator[Path]:
    """Yield the pictures below a folder, without recursion: strangers choose the depth."""
    visited: set[tuple[int, int]] = set()
    pending, fruitless = [folder], True
    while pending:
        here = pending.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = sorted(entry for entry in here.iterdir() if not entry.name.startswith("."))
            folders = [entry for entry in entries if entry.is_dir()]
        except OSError as error:
            problems.append(PictureError(here, _why(error)))
            fruitless = False
            continue
        for entry in sorted({*entries} - {*folders}):
            if entry.suffix.lower() in SUFFIXES:
                fruitless = False
                yield entry
        pending += reversed(folders)
    if fruitless:
        kinds = " ".join(SUFFIXES)
        problems.append(PictureError(folder, f"no pictures in this folder; only {kinds} files are looked for"))


def _read_file(path: str | Path) -> bytes:
    status = _status(path)
    if stat.S_ISDIR(status.st_mode):
        raise PictureError(path, "this is a folder; name a picture in it")
    if not stat.S_ISREG(status.st_mode):
        raise PictureError(path, "this is a pipe or a device; save the picture to a file first")
    _check_size(path, status.st_size)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PictureError(path, _why(error)) from None


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


def _scans(jpeg: bytes) -> int:
    """Count the scans of the first picture in the file, and stop where there are too many."""
    position = scans = 0
    while scans <= MAX_SCANS and (marker := _MARKER.search(jpeg, position)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        position = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return scans


def _decode(path: str | Path, image: ImageFile) -> Image.Image:
    """Decode to 8 bits a channel, opaque."""
    try:
        _mend_transparent_colour(image)
        image.load()
        return _opaque(image)
    except Exception as error:  # as for the header
        reason = f"the {image.format} is damaged or cut off ({display_name(str(error))})"
        raise PictureError(path, f"{reason}; fetch or save it again") from None


def _mend_transparent_colour(image: ImageFile) -> None:
    """Bring a PNG's transparent colour to 8 bits, as Pillow does with the pixels but not with it."""
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

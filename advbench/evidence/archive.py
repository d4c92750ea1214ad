"""Archive file: a zip of pictures and claims with a digest over every byte. Does not import torch."""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from advbench.errors import UserError
from advbench.evidence.claims import Claims, members, read_claims
from advbench.evidence.png import Pixels, noise_png, picture_png
from advbench.evidence.standalone import LIMIT, pixels
from advbench.records.storage.checksum import BLANK, is_intact, sealed

SIGNATURE = b"ed25519:"
"""Prefix of the signature in the comment of the zip."""
UNSIGNED = SIGNATURE + b"0" * 128 + b" "
"""Placeholder for the signature before it is made."""
MOST_BYTES = 2**32
"""Size in bytes of the largest file that is read."""
TEXTS = ("README.txt", "check.py", "claims.json", "manifest.json", "report.json")
"""Names of the files that are not pictures."""
OWN = {"README.txt": "README.txt", "check.py": "standalone.py"}
"""Name of a file that is the same in every archive -> its name in this package."""
_GREY = np.uint8(128)
_WHEN = (1980, 1, 1, 0, 0, 0)


class Archive(NamedTuple):
    """An archive with a correct digest and well-formed claims; its pictures are read on demand."""

    file: zipfile.ZipFile
    """The opened zip."""
    content: bytes
    """All bytes of the file."""
    claims: Claims
    """Claims of the archive."""

    @property
    def sha256(self) -> str:
        """Digest of the whole file, to compare with the one that its author published."""
        return hashlib.sha256(self.content).hexdigest()

    def image(self, data: int, place: int) -> Pixels:
        """A clean image (C, H, W).

        Raises:
            UserError: It cannot be read, or its shape differs from the claim.
        """
        return self._pixels(f"images/{data}/{place}.png", data)

    def adversarial(self, threat: int, place: int, clean: Pixels) -> Pixels:
        """An adversarial image (C, H, W), given the clean one.

        Raises:
            UserError: It cannot be read, or its shape differs from the claim.
        """
        return clean + self._pixels(f"deltas/{threat}/{place}.png", self.claims.threats[threat].data) - _GREY

    def text(self, name: str) -> bytes:
        """The content of a file that is not a picture.

        Raises:
            UserError: It is damaged.
        """
        return _read(self.file, name)

    def _pixels(self, name: str, data: int) -> Pixels:
        try:
            found: Pixels = pixels(self.file, name, self.claims.data[data].shape)
        except Exception as error:  # a decoder may raise anything on a broken picture
            raise UserError(f"{name} in the archive cannot be read: {str(error)[:200]}") from None
        return found


class NotIntactError(UserError):
    """The file is not as it was written."""


def write_archive(
    claims: Claims, images: Iterable[tuple[str, Pixels]], texts: Mapping[str, bytes], *, signed: bool = False
) -> bytes:
    """Build the content of an archive; the same input gives the same bytes.

    Args:
        claims: Claims of the archive.
        images: Name and content of each picture that the claims need.
        texts: Name and content of the manifest and the report.
        signed: Whether to leave room for a signature.

    Returns:
        The file; if it is to be signed, without its digest, which also covers the signature.
    """
    every = {name: own_text(name) for name in OWN} | {"claims.json": claims.text().encode(), **texts}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in sorted(every.items()):
            file.writestr(zipfile.ZipInfo(name, _WHEN), content, zipfile.ZIP_DEFLATED, 9)
        for name, values in images:
            picture = noise_png(values) if name.startswith("deltas/") else picture_png(values)
            file.writestr(zipfile.ZipInfo(name, _WHEN), picture, zipfile.ZIP_STORED)
        file.comment = (UNSIGNED if signed else b"") + BLANK.encode()
    content = buffer.getvalue()
    return content if signed else sealed(content)


def own_text(name: str) -> bytes:
    """A file that this package puts into every archive.

    Args:
        name: Its name in the archive, a key of `OWN`.
    """
    # a checkout may have different line endings
    return (resources.files("advbench.evidence") / OWN[name]).read_bytes().replace(b"\r\n", b"\n")


def change_of(clean: Pixels, adversarial: Pixels) -> Pixels:
    """Encode an adversarial image as the archive stores it: its difference from the clean one, offset by 128."""
    return adversarial - clean + _GREY


def read_archive(path: Path) -> Archive:
    """Open an archive that may come from a stranger.

    Raises:
        NotIntactError: The digest of its bytes is not the one stored in it.
        UserError: It is not an evidence archive, is too large, or is malformed.

    Example:
        >>> read_archive(Path("none.zip"))
        Traceback (most recent call last):
        advbench.errors.UserError: cannot read none.zip: No such file or directory
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES >> 30} GiB")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if not content[:-64].endswith(BLANK.encode()[:-64]):
        raise UserError(f"{path} is not an evidence archive", hint="advbench evidence DIR makes one")
    if not is_intact(content):
        raise NotIntactError(f"{path} was truncated or changed after it was made")
    try:
        file = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, OverflowError) as error:
        raise UserError(f"{path} is not a readable zip file: {str(error)[:200]}") from None
    if any(each.file_size > LIMIT for each in file.infolist()):
        raise UserError(f"{path} contains a file that is larger than {LIMIT >> 20} MiB")
    claims = read_claims(_read(file, "claims.json").decode("ascii", "replace"))
    if sorted(file.namelist()) != sorted(members(claims) | set(TEXTS)):
        raise UserError(f"{path} does not contain exactly the files that its claims need")
    return Archive(file, content, claims)


def _read(file: zipfile.ZipFile, name: str) -> bytes:
    try:
        return file.read(name)
    except Exception as error:  # zipfile and zlib raise many kinds of errors for damaged and hostile files
        raise UserError(f"{name} in the archive cannot be read: {str(error)[:200]}") from None

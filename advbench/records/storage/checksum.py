"""A digest inside a file that covers every byte of it, so that the file can be verified anywhere.

The file is written with zeros in place of the digest and hashed, and then the digest replaces the zeros. Parquet and
safetensors both have room for such a text in their metadata.
"""

import hashlib
import re

_MARK = b"sha256-of-this-file-with-zeros-here:"
_SEAL = re.compile(re.escape(_MARK) + rb"([0-9a-f]{64})")

BLANK = (_MARK + b"0" * 64).decode()
"""Placeholder to write into the file's metadata before :func:`sealed`."""


def sealed(content: bytes) -> bytes:
    """Replace the zeros of `BLANK` in the content by its digest.

    Raises:
        ValueError: `BLANK` does not occur exactly once.

    Example:
        >>> is_intact(sealed(b"some data " + BLANK.encode()))
        True
    """
    if content.count(BLANK.encode()) != 1:
        raise ValueError(f"expected one blank seal in the content, got {content.count(BLANK.encode())}")
    digest = hashlib.sha256(content).hexdigest().encode()
    return content.replace(BLANK.encode(), _MARK + digest)


def seal_of(content: bytes) -> str | None:
    """The digest in the content, or None if the content is not, bit for bit, what :func:`sealed` returned.

    Example:
        >>> len(seal_of(sealed(b"some data " + BLANK.encode())))
        64
    """
    seals = list(_SEAL.finditer(content))
    if len(seals) != 1:
        return None
    found = seals[0]
    whole = memoryview(content)  # no copy: it may hold the rows of a large run
    digest = hashlib.sha256(whole[: found.start(1)])
    digest.update(b"0" * 64)
    digest.update(whole[found.end(1) :])
    return digest.hexdigest() if digest.hexdigest().encode() == found[1] else None


def is_intact(content: bytes) -> bool:
    """Whether the content is, bit for bit, what :func:`sealed` returned.

    Example:
        >>> is_intact(sealed(b"some data " + BLANK.encode()).replace(b"some", b"Some"))
        False
    """
    return seal_of(content) is not None

"""Signatures of archives with an ed25519 key pair, using the package cryptography (extra `sign`)."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.errors import UserError, not_installed
from advbench.evidence.archive import SIGNATURE, UNSIGNED
from advbench.records.storage.checksum import BLANK, sealed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAKE_KEYS = "openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem -pubout -out key.pub"
"""Commands that make a key pair."""
_HEAD = b"advbench evidence 1\n"
_ROOM = len(UNSIGNED) + len(BLANK)


def read_private_key(path: Path) -> "Ed25519PrivateKey":
    """Read a signing key from a PEM file without a password.

    Raises:
        UserError: It cannot be read or is of another kind, or the package cryptography is not installed.
    """
    found: Ed25519PrivateKey = _key(path, "private")
    return found


def read_public_key(path: Path) -> "Ed25519PublicKey":
    """Read a verification key from a PEM file.

    Raises:
        UserError: It cannot be read or is of another kind, or the package cryptography is not installed.
    """
    found: Ed25519PublicKey = _key(path, "public")
    return found


def signed(content: bytes, key: "Ed25519PrivateKey") -> bytes:
    """Sign and seal an archive with room for a signature; the digest covers the signature.

    Args:
        content: Result of :func:`advbench.evidence.archive.write_archive`.
        key: Private key of the archive's author.
    """
    signature = key.sign(_message(content)).hex().encode()
    return sealed(content[:-_ROOM] + SIGNATURE + signature + b" " + content[-len(BLANK) :])


def signature_problem(content: bytes, key: "Ed25519PublicKey") -> str:
    """The problem with an archive's signature; empty if the owner of the key signed exactly these bytes.

    Args:
        content: All bytes of the file.
        key: Public key of the expected signer.
    """
    from cryptography.exceptions import InvalidSignature

    room = content[-_ROOM : -len(BLANK)]
    if not room.startswith(SIGNATURE):
        return "the archive is not signed"
    try:
        signature = bytes.fromhex(room[len(SIGNATURE) : -1].decode("ascii"))
        key.verify(signature, _message(content[:-_ROOM] + UNSIGNED + BLANK.encode()))
    except (ValueError, InvalidSignature):
        return "the signature was not made with that key for this archive"
    return ""


def _message(content: bytes) -> bytes:
    """The signed message: the digest of the file with zeros in place of signature and digest."""
    return _HEAD + hashlib.sha256(content).hexdigest().encode()


def _key(path: Path, kind: str) -> Any:
    """The key in a file, checked to be an ed25519 key of that kind."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise not_installed("a signature", "cryptography", "sign") from None
    try:
        content = path.read_bytes()
        private = kind == "private"
        found: Any = (
            serialization.load_pem_private_key(content, None) if private else serialization.load_pem_public_key(content)
        )
    except OSError as error:
        raise UserError(f"cannot read the key {path}: {error.strerror}") from None
    except TypeError:
        raise UserError(
            f"the key {path} has a password", hint="decrypt it first: openssl pkey -in KEY -out FILE"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(f"{path} does not contain a {kind} key in PEM format", hint=MAKE_KEYS) from None
    if not isinstance(found, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise UserError(f"{path} does not contain an ed25519 {kind} key", hint=MAKE_KEYS)
    return found

"""Key pairs in files; importing it needs the package cryptography."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519


def write_keys(folder, private=None, password=None):
    """A key pair as PEM files."""
    private = ed25519.Ed25519PrivateKey.generate() if private is None else private
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(private.private_bytes(serialization.Encoding.PEM, form, hidden))
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "key.pub").write_bytes(public)
    return folder / "key.pem", folder / "key.pub"

"""Digests of weights without a published digest: the first file seen is trusted from then on."""

import json

from advbench.config.folders import cache_folder
from advbench.errors import UserError
from advbench.records.storage.atomic import write_atomic

FILE = "pins.json"
"""Name of the file with the digests, in the user's cache."""


def check_pin(name: str, sha256: str) -> None:
    """Remember the digest of weights on first use, and refuse different ones under that name later.

    If the cache cannot be written, nothing is remembered, and no error is raised.

    Args:
        name: Name of the weights.
        sha256: Digest of their file.

    Raises:
        UserError: They differ from the first time, or the file with the digests is damaged.
    """
    file = cache_folder() / FILE
    try:
        pins = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        known = pins.get(name)
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"the digests in {file} cannot be read: {error}", hint="delete the file; the next use writes a new one"
        ) from None
    if known not in (None, sha256):
        raise UserError(
            f"the weights of {name} differ from those first used here: "
            f"sha256 {sha256[:16]}... instead of {str(known)[:16]}...",
            hint=f"if that is intended, delete their line in {file}",
        )
    if known is None:
        try:
            write_atomic(file, json.dumps(pins | {name: sha256}, indent=1, sort_keys=True).encode())
        except UserError:
            return

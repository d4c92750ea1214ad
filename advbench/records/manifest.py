"""Validates the manifest of a run, which anybody may edit. Does not import torch."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from advbench.config.fields import AS_IT_WAS
from advbench.config.suite import Suite

_KINDS: dict[str, tuple[Any, str]] = {
    "run_id": (str, "a text"),
    "status": (str, "a text"),
    "started": (int | float, "a number"),
    "finished": (int | float, "a number"),
    "suite": (Mapping, "a table"),
    **dict.fromkeys(("identity", "environment", "versions", "classes", "notes", "halved"), (Mapping, "a table")),
    "spared": (list, "a list"),
}
"""Key -> type of its value, and the type in words."""
_NEEDED = ("run_id", "suite")
_LATEST = 253_402_300_800
"""Timestamp of the start of the year 10,000, which no date can represent, seconds."""


def version_of(manifest: Any) -> int:
    """The version of the format in a manifest.

    Raises:
        ValueError: It is not a manifest.

    Example:
        >>> version_of({"format": 2})
        2
    """
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise ValueError("it is not the manifest of a run: it has no format")
    return found


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Check that a manifest contains everything that its readers rely on.

    Raises:
        ValueError: A key is missing, its value has the wrong type, or the suite is invalid.

    Example:
        >>> check_manifest({"run_id": "ab", "suite": {}, "identity": None})
        Traceback (most recent call last):
        ValueError: expected identity to be a table, got None
    """
    for name in _NEEDED:
        if name not in manifest:
            raise ValueError(f"expected {name}, got none")
    for name, (kind, word) in _KINDS.items():
        value = manifest.get(name)
        if name in manifest and (not isinstance(value, kind) or isinstance(value, bool)):
            raise ValueError(f"expected {name} to be {word}, got {value!r:.80}")
        if isinstance(value, int | float) and not 0 <= value < _LATEST:
            raise ValueError(f"expected {name} to be a time in seconds, got {value}")
    identity = manifest.get("identity", {})
    for name in ("plugins", "models"):
        if not isinstance(identity.get(name, {}), Mapping):
            raise ValueError(f"expected identity.{name} to be a table, got {identity[name]!r:.80}")
    try:
        Suite.model_validate(manifest["suite"], context=AS_IT_WAS)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"its suite is invalid: {where}: {first['msg'].removeprefix('Value error, ')}") from None

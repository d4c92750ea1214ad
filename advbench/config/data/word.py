"""The parts of a data set written as one word. Does not import torch."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advbench.errors import UserError
from advbench.sanitize import display_name

PATHS = ("path", "root", "classes")
"""Keys whose values are paths."""

_KEY = re.compile(r",\s*([A-Za-z_]+)=")


def parted(text: str) -> tuple[str, dict[str, str]]:
    """Split a data set written as one word into its parts.

    Args:
        text: `NAME[:PATH][,KEY=VALUE...]`; a comma starts a key only if `KEY=` follows.

    Returns:
        The name, and the value of each key as written.

    Raises:
        UserError: A key is given twice.

    Example:
        >>> parted("folder:one, two/,split=test")
        ('folder', {'path': 'one, two/', 'split': 'test'})
    """
    first, *rest = _KEY.split(text)
    name, colon, path = first.partition(":")
    pairs = [("path", path)] if colon else []
    pairs += zip(rest[::2], rest[1::2], strict=True)
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(key for key in fields if [each for each, _ in pairs].count(key) > 1)
        raise UserError(f"the key '{twice}' is given twice in {display_name(text)}")
    return name.strip(), fields


def at_home(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with `~` in paths replaced by the home folder, because no shell does that after a colon.

    Example:
        >>> at_home({"path": "val", "split": "~"})
        {'path': PosixPath('val'), 'split': '~'}
    """
    return {key: Path(value).expanduser() if key in PATHS else value for key, value in fields.items()}

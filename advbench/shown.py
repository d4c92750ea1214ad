"""How results look at a prompt and in a log: one line each, whatever they hold. No torch."""

from dataclasses import fields
from typing import Any

_LONGEST = 60
"""Characters of one value."""
_FEW = 8
"""Entries that are worth writing out."""


def one_line(result: Any) -> str:
    """The repr of a dataclass or a named tuple in one line: large values are told by their kind and size.

    Example:
        >>> from typing import NamedTuple
        >>> import numpy as np
        >>> class Found(NamedTuple):
        ...     name: str
        ...     ids: tuple[int, ...]
        ...     image: np.ndarray
        >>> one_line(Found("a", tuple(range(1000)), np.zeros((3, 4, 4))))
        "Found(name='a', ids=<tuple of 1000>, image=<ndarray (3, 4, 4)>)"
    """
    names = getattr(result, "_fields", None) or [field.name for field in fields(result) if field.repr]
    return f"{type(result).__name__}({', '.join(f'{name}={_brief(getattr(result, name))}' for name in names)})"


def _brief(value: Any) -> str:
    kind = type(value).__name__
    if getattr(value, "shape", ()):
        return f"<{kind} {tuple(value.shape)}>"
    size = len(value) if hasattr(value, "__len__") and not isinstance(value, str | bytes) else 0
    if size <= _FEW and len(text := repr(value)) <= _LONGEST and "\n" not in text:
        return text
    return f"{value[:_LONGEST]!r}..." if isinstance(value, str) else f"<{kind} of {size}>" if size else f"<{kind}>"

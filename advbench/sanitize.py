"""Names from strangers, made safe to show and to write; and how numbers of things are written."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

_LONGEST_SLUG = 80
_RESERVED_ON_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)

_LONGEST = 60
"""Maximum number of characters of one value."""
_FEW = 8
"""Maximum number of entries that are written out."""


def display_name(name: str | Path, *, limit: int = 80) -> str:
    r"""Make a name safe to print: one line, no control characters, a bounded length.

    Line breaks, ANSI and bidirectional controls and all other invisible characters are shown as escapes.
    Markup is kept: code that prints with rich or writes HTML must still escape it.

    Args:
        name: Path or any other untrusted text.
        limit: Largest number of characters to return, at least 10; a longer name loses its middle.

    Returns:
        Printable text.

    Raises:
        ValueError: The limit is below 10.

    Example:
        >>> display_name("tiger\x1b[31m\n.jpg")
        'tiger\\x1b[31m\\n.jpg'
        >>> display_name("a very long name.jpg", limit=12)
        'a v...me.jpg'
    """
    if limit < 10:
        raise ValueError(f"expected limit >= 10, got {limit}")
    shown = _escaped(str(name))
    if len(shown) <= limit:
        return shown
    head = (limit - 3) // 3
    return f"{shown[:head]}...{shown[3 + head - limit :]}"


def told_apart(names: Sequence[str], *, limit: int) -> list[str]:
    """Number names that :func:`display_name` would make look the same by cutting them.

    Args:
        names: Texts that will be cut, in one table.
        limit: Number of characters they will be cut to, at least 10.

    Returns:
        The names, uncut, with a number at the end of those that would look the same, which cutting keeps.

    Example:
        >>> names = told_apart(["resnet50, first of two, no bn", "resnet50, other of two, no bn"], limit=20)
        >>> [display_name(name, limit=20) for name in names]
        ['resne... no bn no. 1', 'resne... no bn no. 2']
    """
    cut = [display_name(name, limit=limit) for name in names]
    return [
        f"{name} no. {cut[: place + 1].count(cut[place])}" if name != cut[place] and cut.count(cut[place]) > 1 else name
        for place, name in enumerate(names)
    ]


def printable(text: str) -> str:
    r"""Make a text of several lines safe to print: no control characters except the line breaks.

    Args:
        text: Message that contains untrusted names.

    Example:
        >>> printable("cannot read tiger\x1b[31m\ncheck the spelling")
        'cannot read tiger\\x1b[31m\ncheck the spelling'
    """
    return "\n".join(map(_escaped, text.split("\n")))


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def slug(name: str) -> str:
    """Turn a name into one that every file system accepts.

    Accents are dropped; anything other than `A-Z a-z 0-9 . _ -` becomes a dash.

    Args:
        name: Text to turn into a slug.

    Returns:
        1 to 80 of those characters; the first is neither a dot nor a dash.

    Example:
        >>> slug("../Émile & the tiger.jpg")
        'Emile-the-tiger.jpg'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = _shorten(re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip(".-")) or "unnamed"
    return _shorten(f"_{safe}") if _RESERVED_ON_WINDOWS.match(safe) else safe


def unique_slugs(names: Iterable[str]) -> list[str]:
    """Give each name a unique slug, distinct even on case-insensitive file systems.

    Args:
        names: Texts to turn into slugs; repeats are allowed.

    Returns:
        As many slugs, in the same order.

    Example:
        >>> unique_slugs(["tiger", "tiger", "Tiger?"])
        ['tiger', 'tiger-2', 'Tiger-3']
    """
    slugs: dict[str, str] = {}
    counts: dict[str, int] = {}
    for base in map(slug, names):
        candidate, count = base, counts.get(base.lower(), 1)
        while candidate.lower() in slugs:
            count += 1
            candidate = f"{base[: _LONGEST_SLUG - 1 - len(str(count))]}-{count}"
        counts[base.lower()] = count
        slugs[candidate.lower()] = candidate
    return list(slugs.values())


def _shorten(text: str) -> str:
    # Windows drops a dot at the end of a name.
    return text[:_LONGEST_SLUG].rstrip(".-")


def one_line(result: Any) -> str:
    """One-line repr of a dataclass or a named tuple: large values are shown by type and size.

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


def count_of(number: int, what: str) -> str:
    """A number of things in words.

    Args:
        number: How many there are.
        what: One of them, whose plural ends in s.

    Example:
        >>> count_of(1, "gate"), count_of(2000, "gate")
        ('1 gate', '2,000 gates')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"

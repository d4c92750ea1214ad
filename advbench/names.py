"""Names from strangers, made safe to show and to write."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_LONGEST_SLUG = 80
_RESERVED_ON_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def display_name(name: str | Path, *, limit: int = 80) -> str:
    r"""Make a name safe to print: one line, no control characters, a bounded length.

    Line breaks, ANSI and bidirectional controls and all else that cannot be seen are shown as escapes.
    Markup is kept: what prints with rich or writes HTML must still escape it.

    Args:
        name: A path or any other text from a stranger.
        limit: The most characters to return, at least 10; a longer name loses its middle.

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
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))
    if len(shown) <= limit:
        return shown
    head = (limit - 3) // 3
    return f"{shown[:head]}...{shown[3 + head - limit :]}"


def slug(name: str) -> str:
    """Turn a name into one that every file system takes.

    Accents are dropped; whatever is not `A-Z a-z 0-9 . _ -` becomes a dash.

    Args:
        name: Any text.

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
    """Give each name a slug of its own, distinct even where capitals do not count.

    Args:
        names: Any texts, repeats allowed.

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

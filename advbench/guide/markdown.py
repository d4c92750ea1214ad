"""Pieces of Markdown: tables and texts that mean the same in a terminal, on GitHub and on a site."""

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`+[^`]*`+|<https?://[^>\s]+>)")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""A table; a column without any text is left out, and so is a table without rows.

    Args:
        headings: Headings of the columns.
        rows: Texts of the cells, in Markdown.

    Example:
        >>> print(table(["name", "", "note"], [["a", "", "b | c"]]))
        | name | note |
        |---|---|
        | a | b \| c |
    """
    found = [[_cell(cell) for cell in row] for row in rows]
    shown = [i for i in range(len(headings)) if any(row[i] for row in found)]
    if not shown:
        return ""
    lines = [[headings[i] for i in shown], *([row[i] for i in shown] for row in found)]
    first, *rest = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([first, "|" + "---|" * len(shown), *rest])


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))


def plain(text: str) -> str:
    r"""A text from the code as Markdown that shows the same characters; what stands between backticks stays as it is.

    Example:
        >>> print(plain("a <name> of `<x>`, 2 * 3"))
        a \<name> of `<x>`, 2 \* 3
    """
    parts = _CODE.split(text)
    return "".join(part if i % 2 else re.sub(r"([<*])", r"\\\1", part) for i, part in enumerate(parts))


def code(text: str) -> str:
    """A text as code in a line; empty if it is.

    Example:
        >>> code("steps"), code("")
        ('`steps`', '')
    """
    return f"`{text}`" if text else ""


def joined(*parts: str) -> str:
    """Paragraphs with an empty line between them; empty ones are left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())

"""Docstrings in Google's style as Markdown."""

import inspect
import re
from typing import NamedTuple

from advbench.guide.markdown import joined, plain

_SECTION = re.compile(
    r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples|References|Deviations|Note):[ ]*\n", re.MULTILINE
)
_LISTED = ("Args", "Attributes", "Raises")
_HEADINGS = {"Args": "Arguments"}


class Docstring(NamedTuple):
    """A docstring, taken apart."""

    text: str
    """What stands before the first section."""
    sections: dict[str, str]
    """Name of each section, such as "Args" -> its text, without the indentation."""

    @property
    def first(self) -> str:
        """The first paragraph as Markdown, in one line."""
        return inline(" ".join(self.text.partition("\n\n")[0].split()))


def taken_apart(docstring: str) -> Docstring:
    r"""The parts of a docstring.

    Args:
        docstring: Text as `inspect.cleandoc` gives it.

    Example:
        >>> taken_apart("Add.\n\nArgs:\n    x: A number.\n").sections
        {'Args': 'x: A number.'}
    """
    text, *parts = _SECTION.split(docstring + "\n")
    return Docstring(
        text.strip(), {name: inspect.cleandoc("\n" + body) for name, body in zip(parts[::2], parts[1::2], strict=True)}
    )


def as_markdown(docstring: str, *, leave_out: tuple[str, ...] = ()) -> str:
    r"""A docstring as Markdown.

    Args:
        docstring: Text as `inspect.cleandoc` gives it.
        leave_out: Names of sections to leave out.

    Example:
        >>> print(as_markdown("Add ``x``.\n\nArgs:\n    x: A number.\n"))
        Add `x`.
        <BLANKLINE>
        **Arguments**
        <BLANKLINE>
        - `x`: A number.
    """
    text, sections = taken_apart(docstring)
    return joined(prose(text), *(_section(name, body) for name, body in sections.items() if name not in leave_out))


def _section(name: str, body: str) -> str:
    if name.startswith("Example"):
        return f"```python\n{body}\n```"
    heading = f"**{_HEADINGS.get(name, name)}**"
    return joined(heading, _items(body) if name in _LISTED else prose(body))


def _items(body: str) -> str:
    """The entries of a section, as a list."""
    found = re.findall(r"^([\w.*]+(?:, [\w.*]+)*)(?: \([^)]*\))?: ((?:.|\n[ ]+)*)", body, re.MULTILINE)
    return "\n".join(f"- `{name}`: {inline(' '.join(text.split()))}" for name, text in found) or prose(body)


def prose(text: str) -> str:
    """Paragraphs as Markdown; those that are indented stay as they are, which makes them code."""
    paragraphs = re.split(r"\n{2,}", text.strip("\n"))
    return joined(*(each if each.startswith("    ") else inline(each) for each in paragraphs))


def inline(text: str) -> str:
    """A text without line breaks of its own meaning, as Markdown.

    Example:
        >>> inline("See :class:`attacks.PGD` and ``x``::")
        'See `attacks.PGD` and `x`:'
    """
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text).replace("``", "`")
    return plain(re.sub(r"::$", ":", text))

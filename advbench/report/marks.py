"""How a verdict looks in each form of the report."""

from typing import NamedTuple

from advbench.errors import ExitCode


class Mark(NamedTuple):
    """How one verdict looks."""

    style: str
    """On a terminal, as rich names it."""
    sign: str
    """In Markdown."""
    state: str
    """Its class in the style sheet of the HTML page."""


_UNDECIDED = Mark("bold yellow", "⚠️", "warn")
MARKS = {
    ExitCode.OK: Mark("bold green", "✅", "good"),
    ExitCode.FAILED: Mark("bold red", "❌", "bad"),
    ExitCode.USAGE: _UNDECIDED,
    ExitCode.INCOMPLETE: _UNDECIDED,
    ExitCode.NOTHING: _UNDECIDED,
}
"""The exit code of a verdict -> how the verdict looks."""

"""The look of a verdict in each format of the report."""

from typing import NamedTuple

from advbench.errors import ExitCode


class Mark(NamedTuple):
    """The look of one verdict."""

    style: str
    """Style on a terminal, in the notation of rich."""
    sign: str
    """Sign shown in Markdown."""
    state: str
    """Class in the style sheet of the HTML page."""


_UNDECIDED = Mark("bold yellow", "⚠️", "warn")
MARKS = {
    ExitCode.OK: Mark("bold green", "✅", "good"),
    ExitCode.FAILED: Mark("bold red", "❌", "bad"),
    ExitCode.USAGE: _UNDECIDED,
    ExitCode.INCOMPLETE: _UNDECIDED,
    ExitCode.NOTHING: _UNDECIDED,
}
"""Exit code of a verdict -> its look."""

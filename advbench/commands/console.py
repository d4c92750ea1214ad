"""Where commands print: results to standard output, progress to standard error."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Standard output, as wide as the terminal."""
    from rich.console import Console

    # A pipe has no width; 100 columns keep every table whole.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 100)


def progress(quiet: bool) -> Any:
    """A context that shows progress on standard error; see :func:`advbench.report.progress.progress_on`."""
    from advbench.report.progress import progress_on

    return progress_on(sys.stderr, quiet=quiet)

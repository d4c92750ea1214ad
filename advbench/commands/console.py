"""Where commands print: results to standard output, progress to standard error."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.names import display_name

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Standard output, as wide as the terminal."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            if error := sys.exception():
                raise error  # the command line knows what to do; rich would end with the code of a failed gate

    # A pipe has no width; 100 columns keep every table whole.
    return Output(highlight=False, width=None if sys.stdout.isatty() else 100)


def announce_code(model: str) -> None:
    """Say on standard error that a model of the user's own runs code, before it does.

    Raises:
        UserError: There is no such model.
    """
    import click

    from advbench.own_models import model_card

    if (file := model_card(model).runs) and Path(file).exists():
        click.echo(f"note: {display_name(file, limit=200)} is run as code", err=True)


def progress(quiet: bool) -> Any:
    """A context that shows progress on standard error; see :func:`advbench.report.progress.progress_on`."""
    from advbench.report.progress import progress_on

    return progress_on(sys.stderr, quiet=quiet)

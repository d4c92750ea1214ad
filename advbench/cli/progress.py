"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_QUIET_SECONDS = 30
"""Seconds between two plain lines."""


@contextmanager
def progress_on(stream: TextIO, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on a stream.

    Args:
        stream: Stream to write to, usually standard error.
        quiet: Whether to show nothing.

    Yields:
        A function to call with what is being done, how much is done and how much there is.

    Example:
        >>> import io
        >>> with progress_on(io.StringIO(), quiet=True) as progress:
        ...     progress("tiger.jpg: pass 3", 0, 1)
    """
    if quiet:
        yield lambda what, done, total: None
    elif stream.isatty():
        yield from _bar(stream)
    else:
        yield _lines(stream)


def _bar(stream: TextIO) -> Iterator[Callable[[str, int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _lines(stream: TextIO) -> Callable[[str, int, int], None]:
    last = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _QUIET_SECONDS:
            last = time.monotonic()
            stream.write(f"{what} ({done} of {total} done)\n")
            stream.flush()

    return show

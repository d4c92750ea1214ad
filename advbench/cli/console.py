"""Output of the commands: results alone on standard output, progress on standard error."""

import atexit
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from functools import cache
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from advbench.sanitize import display_name

if TYPE_CHECKING:
    from rich.console import Console

_RESULTS: ContextVar[TextIO | None] = ContextVar("results", default=None)
_STDOUT = 1
"""Descriptor of standard output."""


class Command(click.Command):
    """A command that keeps standard output for its results; see :func:`results_alone`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; an option whose value is missing does not take the next option for it."""
        options = {name: param for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)}
        for option, value in pairwise(takewhile(lambda arg: arg != "--", args)):
            if value in options and _needs_value(options.get(option)):
                say = f"write {option}={value} if that is its value"
                raise click.BadOptionUsage(
                    option, f"Option {option!r} requires an argument, got option {value!r}: {say}."
                )
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with results_alone():
            return super().invoke(ctx)


def _needs_value(param: click.Parameter | None) -> bool:
    """Whether it is an option that cannot stand alone; one with a text as its `flag_value` can."""
    alone = isinstance(param, click.Option) and (param.is_flag or param.count or isinstance(param.flag_value, str))
    return isinstance(param, click.Option) and not alone


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


@contextmanager
def results_alone() -> Iterator[None]:
    """A context in which everything that models, plug-ins and libraries print goes to standard error.

    Standard output is reached by :func:`print_result` and :func:`console` alone.
    """
    with _kept_stdout() as stream, redirect_stdout(sys.stderr):
        token = _RESULTS.set(stream)
        try:
            yield
            stream.flush()
        finally:
            _RESULTS.reset(token)


@contextmanager
def _kept_stdout() -> Iterator[TextIO]:
    """Standard output for whoever is given it; to all others, its descriptor leads to standard error."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper) or not _is_descriptor(stream):
        yield stream  # of a caller in this process, which catches what is printed
        return
    stream.flush()
    kept = os.fdopen(os.dup(_STDOUT), "w", encoding=stream.encoding, errors=stream.errors)
    _lead_to_stderr()
    try:
        yield kept
    finally:
        with suppress(OSError):
            stream.flush()  # whoever held on to it has printed to standard error
        os.dup2(kept.fileno(), _STDOUT)
        silence(kept)  # what could not be written is not tried again
        kept.close()
        _quiet_at_exit()


def _is_descriptor(stream: TextIO) -> bool:
    try:
        return stream.fileno() == _STDOUT
    except (OSError, ValueError):  # it is closed, or in memory
        return False


def _lead_to_stderr() -> None:
    try:
        os.dup2(sys.stderr.fileno(), _STDOUT)
    except (OSError, ValueError):  # there is none
        _lead_nowhere(_STDOUT)


def silence(stream: TextIO) -> None:
    """Send what is still to be written nowhere, or Python tries again when it ends."""
    _lead_nowhere(stream.fileno())


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


@cache
def _quiet_at_exit() -> None:
    """Lead standard output away once more when the program ends: some print in their last moments, or from buffers."""

    @atexit.register
    def end() -> None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            _lead_to_stderr()


def results() -> TextIO:
    """Standard output, where results go."""
    return _RESULTS.get() or sys.stdout


def print_result(text: str) -> None:
    """Print a result of a command, and the end of the line, to standard output."""
    click.echo(text, file=results())


def console() -> "Console":
    """Standard output for tables, as wide as the terminal."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            if error := sys.exception():
                raise error  # the command line knows what to do; rich would end with the code of a failed gate

    # A pipe has no width; 100 columns keep every table whole.
    return Output(highlight=False, width=None if results().isatty() else 100, file=results())


def announce_code(*models: str) -> None:
    """Say on standard error that models of the user's own run code, before they do, each file once.

    Raises:
        UserError: There is no such model.
    """
    from advbench.catalog.user_models import model_card

    for file in dict.fromkeys(model_card(model).runs for model in models):
        if file and Path(file).exists():
            click.echo(f"note: {display_name(file, limit=200)} is run as code", err=True)


@contextmanager
def progress(quiet: bool) -> Iterator[Any]:
    """A context that shows progress on standard error, and what had to be assumed or left out, each once.

    See :func:`advbench.cli.progress.progress_on`.
    """
    from advbench.cli.progress import progress_on

    logger, notes = logging.getLogger("advbench"), _Notes()
    level = logger.level
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    try:
        with progress_on(sys.stderr, quiet=quiet) as told:
            yield told
    finally:
        logger.removeHandler(notes)
        logger.setLevel(level)


class _Notes(logging.Handler):
    """Prints each message once, on standard error."""

    def __init__(self) -> None:
        super().__init__()
        self._said = set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        if (note := record.getMessage()) not in self._said:
            self._said.add(note)
            click.echo(f"note: {display_name(note, limit=400)}", err=True)

"""The command line. Nothing heavy is imported before a command runs."""

import atexit
import errno
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from advbench import __version__
from advbench.catalog.registry import resolve
from advbench.cli.console import silence
from advbench.errors import CLOSED, ExitCode, UserError
from advbench.sanitize import display_name, printable

COMMANDS = {
    "attack": "advbench.cli.attack:attack",
    "run": "advbench.cli.run:run",
    "resume": "advbench.cli.run:resume",
    "prove": "advbench.cli.prove:prove",
    "watch": "advbench.cli.watch:watch",
    "universal": "advbench.cli.universal:universal",
    "patch": "advbench.cli.patch:patch",
    "train": "advbench.cli.train:train",
    "report": "advbench.cli.report:report",
    "compare": "advbench.cli.compare:compare",
    "baseline": "advbench.cli.baseline:baseline",
    "explain": "advbench.cli.explain:explain",
    "verify": "advbench.cli.verify:verify",
    "evidence": "advbench.cli.evidence:evidence",
    "check": "advbench.cli.evidence:check",
    "models": "advbench.cli.listings:models",
    "attacks": "advbench.cli.listings:attacks",
    "datasets": "advbench.cli.datasets:datasets",
    "flags": "advbench.cli.listings:flags",
    "guide": "advbench.cli.guide:guide",
    "schema": "advbench.cli.doctor:schema",
    "doctor": "advbench.cli.doctor:doctor",
}
"""Name -> "module:attr" of the command, in the order of `advbench --help`."""

# Threads that spin while they wait make a busy machine many times slower; but waking those that sleep takes as long as
# their share of one photograph. So they spin for some microseconds. Torch reads both when it is imported: GNU's OpenMP
# heeds the second, others the first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Matplotlib says twice that it cannot keep its fonts in a home that is read-only: nothing that concerns a result.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

# The process ends with the command: what it still holds, torch above all, need not be looked through for garbage.
atexit.register(gc.freeze)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Commands(click.Group):
    """Commands imported when they are asked for, whose user errors end with one clear message and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command: click.Command | None = resolve(COMMANDS[cmd_name]) if cmd_name in COMMANDS else None
        return command

    def main(self, *args: Any, **extra: Any) -> Any:
        _open_streams()
        try:
            return super().main(*args, **extra)
        except OSError as error:  # results are written elsewhere, so that this is what was to be printed
            if error.errno not in (*_NO_ROOM, errno.EPIPE):
                raise
            sys.exit(_output_lost(error))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _pipe_may_close():
            try:
                return super().make_context(*args, **extra)
            except KeyboardInterrupt:  # click's 1 would be a gate that failed
                click.echo("interrupted", err=True)
                raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None

    def invoke(self, ctx: click.Context) -> Any:
        with _pipe_may_close():
            try:
                return super().invoke(ctx)
            except UserError as error:
                click.echo(f"error: {printable(str(error))}", err=True)
                ctx.exit(error.exit_code)
            except OSError as error:
                if error.filename is None or error.errno in (*_NO_ROOM, errno.EPIPE):
                    raise
                click.echo(f"error: {_out_of_reach(error)}", err=True)
                ctx.exit(ExitCode.USAGE)
            except KeyboardInterrupt:
                click.echo("interrupted; what was finished is saved", err=True)
                ctx.exit(ExitCode.INTERRUPTED)


@contextmanager
def _pipe_may_close() -> Iterator[None]:
    """End before click does if whoever reads the output has read enough; its 1 would be a gate that failed."""
    try:
        yield
    except BrokenPipeError as error:
        raise click.exceptions.Exit(_output_lost(error)) from None


def _out_of_reach(error: OSError) -> str:
    """What is to be said of a file or folder that the system did not let a command see, and what to do next."""
    place, reason = Path(os.fsdecode(error.filename)), (error.strerror or type(error).__name__).lower()
    if not isinstance(error, PermissionError):
        return f"cannot read or write {display_name(place, limit=200)}: {reason}\ncheck the spelling"
    # A folder that is closed to us closes all that lies in it.
    closed = (each for each in reversed(place.parents) if each.exists() and not os.access(each, os.X_OK))
    named = display_name(next(closed, place), limit=200)
    return f"no permission to read or write {named}\n{CLOSED}"


def _output_lost(error: OSError) -> ExitCode:
    """Report that the output cannot be written, if anything can still be reported; the exit code."""
    closed = error.errno == errno.EPIPE
    silence(sys.stdout)
    try:
        if not closed:
            click.echo(f"error: cannot write the output: {error.strerror}", err=True)
    except OSError:
        closed = False
    silence(sys.stderr)
    return ExitCode.PIPE_CLOSED if closed else ExitCode.USAGE


def _open_streams() -> None:
    """See to it that there is an output of both kinds, and that no character stops it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this: they want none
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal or pipe has every character


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """Print the versions of advbench, torch and Python, without importing torch."""
    if not wanted or ctx.resilient_parsing:
        return
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from advbench.cli.console import print_result

    try:
        torch = f"torch {version('torch')}"
    except PackageNotFoundError:
        torch = "without torch"
    print_result(f"advbench, version {__version__} ({torch}, Python {platform.python_version()})")
    ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the versions and exit."
)
def main() -> None:
    """Measure how easily an image classifier is fooled, with numbers you can trust."""

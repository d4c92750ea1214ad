"""The command line. Nothing heavy is imported before a command runs."""

import errno
import os
import sys
from io import TextIOWrapper
from typing import Any

import click

from advbench import __version__
from advbench.errors import UserError
from advbench.registry import resolve

COMMANDS = {
    "attack": "advbench.commands.attack:attack",
    "run": "advbench.commands.run:run",
    "resume": "advbench.commands.run:resume",
    "universal": "advbench.commands.universal:universal",
    "train": "advbench.commands.train:train",
    "report": "advbench.commands.report:report",
    "compare": "advbench.commands.compare:compare",
    "baseline": "advbench.commands.baseline:baseline",
    "explain": "advbench.commands.explain:explain",
    "verify": "advbench.commands.inspect_run:verify",
    "models": "advbench.commands.listings:models",
    "attacks": "advbench.commands.listings:attacks",
    "datasets": "advbench.commands.listings:datasets",
    "schema": "advbench.commands.inspect_run:schema",
    "doctor": "advbench.commands.inspect_run:doctor",
}
"""Name -> "module:attr" of the command, in the order of `advbench --help`."""

# Threads that spin while they wait make a busy machine many times slower; torch reads this when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class _Commands(click.Group):
    """Commands imported when they are asked for, whose user errors end with one clear message and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command: click.Command | None = resolve(COMMANDS[cmd_name]) if cmd_name in COMMANDS else None
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted; what was finished is saved", err=True)
            ctx.exit(130)
        except OSError as error:  # results are written elsewhere, so that this is what the command prints
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again when it ends
            click.echo(f"error: cannot write the output: {error.strerror}", err=True)
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Measure how easily an image classifier is fooled, with numbers that can be believed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal or pipe has every character

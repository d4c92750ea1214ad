"""The guide's page of the command line, made of the commands themselves."""

from collections.abc import Iterator

import click

from advbench.cli.main import COMMANDS, main
from advbench.guide.markdown import code, joined, plain, table


def body() -> str:
    """Every command with its arguments and options."""
    # with its settings: a command remembers the names of its help option from the first context that it sees
    root = click.Context(main, info_name="advbench", **main.context_settings)
    rows = [(f"[{name}](#advbench-{name})", plain(_command(root, name).get_short_help_str(200))) for name in COMMANDS]
    return joined(
        "`advbench COMMAND --help` says the same. Results go to standard output, progress and messages to standard "
        "error; the exit codes are on `advbench guide reference/exit-codes`.",
        table(["command", ""], rows),
        *(section for name in COMMANDS for section in _sections(root, name)),
    )


def _command(parent: click.Context, name: str) -> click.Command:
    group = parent.command
    command = group.get_command(parent, name) if isinstance(group, click.Group) else None
    if command is None:
        raise LookupError(f"expected a command, got {name!r}")
    return command


def _sections(parent: click.Context, name: str) -> Iterator[str]:
    """A command, and those below it."""
    command = _command(parent, name)
    context = click.Context(command, info_name=name, parent=parent)
    rows = [(code(record[0]), plain(record[1])) for each in command.params if (record := each.get_help_record(context))]
    yield joined(
        f"## {context.command_path}",
        f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```",
        plain("\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))),
        table(["option", "meaning"], rows),
    )
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from _sections(context, each)

"""`advbench verify`: checks the files of a run."""

import json
from pathlib import Path

import click

from advbench.cli.console import Command, print_result
from advbench.cli.imports import first_imports
from advbench.errors import ExitCode
from advbench.sanitize import count_of


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--plugin", "plugins", multiple=True, metavar="MODULE", help="Plugin module of the run; repeatable.")
@click.option(
    "--allow-code", is_flag=True, help="Allow running the code of your own models that the run was made with."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def verify(ctx: click.Context, /, folder: Path, plugins: tuple[str, ...], allow_code: bool, as_json: bool) -> None:
    """Check the files of a run and its adversarial images.

    The saved images are classified again.

    The exit code is 1 if anything is wrong.
    """
    with first_imports():
        from advbench.execution.verify import verify as check

    found = check(folder, plugins, allow_code=allow_code)
    if as_json:
        print_result(json.dumps(found._asdict(), indent=2))
    else:
        for problem in found.problems:
            print_result(problem)
        verdict = count_of(len(found.problems), "problem") if found.problems else "no problems"
        checked = f"{count_of(found.units, 'unit')} and {count_of(found.images, 'adversarial image')}"
        print_result(f"{checked} checked: {verdict}")
    ctx.exit(ExitCode.FAILED if found.problems else ExitCode.OK)

"""`advbench baseline`: keep the outcome of each image of a run, for comparison with later runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from advbench import __version__
from advbench.cli.console import Group, console
from advbench.records.run_folder import RunFolder
from advbench.sanitize import count_of

if TYPE_CHECKING:
    from advbench.analysis.baseline import Baseline

DEFAULT_BASELINE = Path("advbench-baseline.json")
"""Default path of the baseline."""
_ANOTHER_FILE = "choose another file with --baseline"

_folder = click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
_file = click.option(
    "--baseline", "path", type=click.Path(path_type=Path), default=DEFAULT_BASELINE, show_default=True, metavar="FILE",
    help="Baseline file, to be committed.",
)  # fmt: skip


@click.group(cls=Group)
def baseline() -> None:
    """Keep a run as the baseline for later runs (gate max_drop_pp)."""


@baseline.command()
@_folder
@_file
def write(folder: Path, path: Path) -> None:
    """Write a baseline from the run in DIR."""
    from advbench.errors import UserError

    if path.exists():
        hint = f"to replace it: advbench baseline update {folder} --baseline {path}"
        raise UserError(f"{path} already exists", hint=hint)
    made = of_run(folder)
    made.write(path, hint=_ANOTHER_FILE)
    _say(path, made)


@baseline.command()
@_folder
@_file
def update(folder: Path, path: Path) -> None:
    """Replace the baseline with the run in DIR, and show what changes."""
    from advbench.analysis.baseline import read_baseline
    from advbench.analysis.compare import compare
    from advbench.report.terminal import compared

    old, made = read_baseline(path), of_run(folder)
    found = compare(old.outcomes(), made.outcomes())
    console().print(compared(found))
    made.write(path, hint=_ANOTHER_FILE)
    _say(path, made)


def of_run(folder: Path) -> "Baseline":
    """Make a baseline from the run in a folder.

    Raises:
        UserError: The run is not finished, stopped when it was decided, or the folder is not that of a run.
    """
    from advbench.analysis.baseline import Baseline
    from advbench.analysis.run_analysis import RunAnalysis
    from advbench.errors import UserError
    from advbench.records.stored_run import read_run, refuse_part

    run = read_run(folder)
    if not run.complete:
        raise UserError(f"the run in {folder} is not finished", hint=f"finish it: {RunFolder(folder).resuming}")
    refuse_part(run, "a baseline")
    analysis = RunAnalysis.of(run)
    if analysis.frame.empty:
        raise UserError(f"the run in {folder} has no images")
    return Baseline.of(analysis.frame, run_id=run.manifest["run_id"], version=__version__, eps=analysis.budgets or {})


def _say(path: Path, made: "Baseline") -> None:
    images = sum(len(each.samples) for each in made.images)
    told = f"{count_of(len(made.cells), 'number')} on {count_of(images, 'image')}"
    click.echo(f"written: {path} ({told}); commit it", err=True)

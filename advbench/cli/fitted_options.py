"""What `advbench universal` and `advbench patch` share: options, how a file is used, how a result is printed."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from advbench.catalog import DEFAULT_MODEL
from advbench.catalog.user_models import OWN, model_card
from advbench.cli.console import console, print_result
from advbench.cli.data_options import chosen_images, chosen_options
from advbench.cli.model_options import announce, description
from advbench.config.goals import FORMS_TEXT, parse_goal
from advbench.records.record import as_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from advbench.datasets.images.files import PictureError

PICTURES = click.argument("paths", nargs=-1, metavar="[PICTURE]...")
"""Pictures and folders of them."""
DATA = chosen_options("Images of a data set in place of pictures", limit=None)
"""A data set instead of pictures."""
MODEL = click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME", help=f"Name from `advbench models`, or {OWN}."
)
"""The model to fit to."""
WEIGHTS = click.option(
    "--weights", metavar="FILE", type=click.Path(path_type=Path), help="State dict to load into the model."
)
"""Weights of the model."""
GOALS = f"{FORMS_TEXT}."
"""All goals, for help texts."""
GOAL = click.option("--goal", default="untargeted", show_default=True, metavar="GOAL", help=GOALS)
"""The goal to fit for."""
OWN_GOAL = click.option("--goal", metavar="GOAL", help=f"Default: the goal it was fitted for. {GOALS}")
"""The goal to measure it by."""
HELD_OUT = click.option(
    "--held-out",
    type=click.FloatRange(0, 0.9, min_open=True),
    default=0.2,
    show_default=True,
    help="Fraction of the pictures held out to measure the fooling rate.",
)
"""How many pictures are held out."""
SEED = click.option(
    "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of all random draws."
)
"""Seed of all random draws."""
DEVICE = click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
"""Where to compute."""
BATCH = click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Pictures per batch."
)
"""Pictures in a batch where it is used."""
OUT = click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Folder for the results.")
"""The folder for results."""
JSON = click.option("--json", "as_text", is_flag=True, help="Print JSON.")
"""Whether to print JSON."""
QUIET = click.option("--quiet", is_flag=True, help="Show no progress and no table.")
"""Whether to print nothing."""


class Measured(Protocol):
    """Measurements of a universal perturbation or a patch."""

    @property
    def problems(self) -> "tuple[PictureError, ...]":
        """Pictures that were skipped."""
        ...

    def as_row(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        ...


def used(options: dict[str, Any]) -> dict[str, Any]:
    """Read the options of a command that uses a file, and announce the code it runs.

    Args:
        options: Name -> value, as click gives them.
    """
    goal, model, data = options["goal"], options["model"], chosen_images(options, limit=None)
    about = description(options, model)
    announce(model, about)
    return options | {
        "about": about,
        "data": data,
        "goal": parse_goal(goal) if goal else None,
        "model": model and model_card(model).name,
    }


def tell(measured: Measured, table: "Callable[[Any], RenderableType]", *, as_text: bool, quiet: bool) -> None:
    """Print the measurements, and which pictures were skipped.

    Args:
        measured: Result of the command.
        table: Makes a table of it.
        as_text: Whether to print JSON.
        quiet: Whether to print no table.
    """
    for problem in measured.problems:
        click.echo(f"left out: {problem}", err=True)
    if as_text:
        print_result(as_json([measured.as_row()]))
    elif not quiet:
        console().print(table(measured))

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
"""A data set in their place."""
MODEL = click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME", help=f"See `advbench models`; or {OWN}."
)
"""The model to make it for."""
WEIGHTS = click.option("--weights", metavar="FILE", type=click.Path(path_type=Path), help="State dict of the model.")
"""Weights of the model."""
GOALS = f"{FORMS_TEXT}."
"""The goals that there are, for the help."""
GOAL = click.option("--goal", default="untargeted", show_default=True, metavar="GOAL", help=GOALS)
"""The goal to make it for."""
OWN_GOAL = click.option("--goal", metavar="GOAL", help=f"Default: the one it was made for. {GOALS}")
"""The goal to measure it by."""
HELD_OUT = click.option(
    "--held-out",
    type=click.FloatRange(0, 0.9, min_open=True),
    default=0.2,
    show_default=True,
    help="Fraction of the pictures not fitted to, which tell how often it fools.",
)
"""How many pictures are held out."""
SEED = click.option(
    "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Of all that is random."
)
"""Seed of all random draws."""
DEVICE = click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
"""Where to compute."""
BATCH = click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Pictures at once."
)
"""Pictures in a batch where it is used."""
OUT = click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Where the results go.")
"""The folder for results."""
JSON = click.option("--json", "as_text", is_flag=True, help="Print JSON.")
"""Whether to print JSON."""
QUIET = click.option("--quiet", is_flag=True, help="No progress and no table.")
"""Whether to print nothing else."""


class Measured(Protocol):
    """What was measured of a change for many pictures."""

    @property
    def problems(self) -> "tuple[PictureError, ...]":
        """Pictures that were left out."""
        ...

    def as_row(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        ...


def used(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a command that uses a file, read; what the model is taken for is announced.

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
    """Print what was measured, and which pictures were left out.

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

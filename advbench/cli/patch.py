"""`advbench patch`: a patch that fools wherever it is, made, measured and put into pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.catalog import DEFAULT_MODEL
from advbench.catalog.user_models import OWN, model_card
from advbench.cli.attack import conclude
from advbench.cli.console import Group, console, print_result, progress
from advbench.cli.data_options import chosen_images, chosen_options
from advbench.cli.model_options import F, announce, described, description
from advbench.config.goals import FORMS_TEXT, parse_goal
from advbench.config.masks import PLACES, SHAPES, parse_share
from advbench.records.record import as_json
from advbench.sanitize import slug

if TYPE_CHECKING:
    from advbench.pictures.universal.patch_measure import PatchMeasured

_PICTURES = click.argument("paths", nargs=-1, metavar="[PICTURE]...")
_DATA = chosen_options("Images of a data set in place of pictures", limit=None)
_FILE = click.argument("patch", type=click.Path(path_type=Path), metavar="PATCH")
_WEIGHTS = click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="State dict of the model.")
_GOALS = f"{FORMS_TEXT}."
_SEED = click.option(
    "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Of all that is random."
)
_DEVICE = click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
_OUT = click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Where the results go.")
_JSON = click.option("--json", "as_text", is_flag=True, help="Print JSON.")
_QUIET = click.option("--quiet", is_flag=True, help="No progress and no table.")
_USED = (
    click.option("--model", metavar="NAME", help="Default: the one it was made for, with the same weights."),
    _WEIGHTS,
    described(labels=False),
    click.option("--goal", metavar="GOAL", help=f"Default: the one it was made for. {_GOALS}"),
    _SEED,
    _DEVICE,
    click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Pictures at once."),
    _OUT,
    _JSON,
    _QUIET,
)


def _with_model(command: F) -> F:
    """Give a command the options of a model on which a patch is used."""
    for option in reversed(_USED):
        command = option(command)
    return command


@click.group(cls=Group)
def patch() -> None:
    """A patch that fools a model wherever it is in a picture."""


@patch.command()
@_PICTURES
@_DATA
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME", help=f"See `advbench models`; or {OWN}."
)
@_WEIGHTS
@described(labels=False)
@click.option("--goal", default="untargeted", show_default=True, metavar="GOAL", help=_GOALS)
@click.option(
    "--share", default="5%", show_default=True, metavar="SHARE", help="Of the picture, that the patch covers at most."
)
@click.option("--shape", type=click.Choice(SHAPES), default="square", show_default=True)
@click.option(
    "--rotation",
    type=click.FloatRange(0, 180),
    default=20.0,
    show_default=True,
    metavar="DEGREES",
    help="Largest angle either way.",
)
@click.option(
    "--min-scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.7,
    show_default=True,
    metavar="FRACTION",
    help="Smallest side, of the largest.",
)
@click.option("--steps", type=click.IntRange(min=1), default=200, show_default=True, help="Gradient steps.")
@click.option(
    "--held-out",
    type=click.FloatRange(0, 0.9, min_open=True),
    default=0.2,
    show_default=True,
    help="Fraction of the pictures not fitted to, which tell how often it fools.",
)
@_SEED
@_DEVICE
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Placed patches in each step."
)
@_OUT
@_JSON
@_QUIET
def fit(model: str, as_text: bool, quiet: bool, **options: Any) -> None:
    """Make a patch for pictures (files or folders of them), or for one.

    It is put at random places, turned and scaled; of one picture, other places of it tell how often it fools.
    """
    options["data"] = chosen_images(options, limit=None)
    options["goal"] = parse_goal(options["goal"])
    options["share"] = parse_share(options["share"])
    name, about = model_card(model).name, description(options, model)
    options["out"] = options["out"] or Path("reports") / f"patch-{slug(name)}"
    announce(model, about)
    with progress(quiet) as told:
        from advbench.pictures.universal.patch_config import PatchFit
        from advbench.pictures.universal.patch_fit import fit_patch

        measured = fit_patch(PatchFit(model=name, about=about, **options), told)
    _tell(measured, as_text, quiet)


@patch.command(name="eval")
@_FILE
@_PICTURES
@_DATA
@click.option(
    "--places",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Random places on each picture. Default: 1, or {PLACES} on a single picture.",
)
@_with_model
def evaluate(as_text: bool, quiet: bool, **options: Any) -> None:
    """Measure how often PATCH fools a model, at random places on pictures, and draw some of them."""
    from advbench.pictures.universal.patch_config import PatchUse
    from advbench.pictures.universal.patch_measure import measure_patch

    options["out"] = options["out"] or Path("reports") / f"patch-eval-{slug(options['patch'].stem)}"
    with progress(quiet) as told:
        measured = measure_patch(PatchUse(**_used(options)), told)
    _tell(measured, as_text, quiet)


@patch.command()
@_FILE
@_PICTURES
@_DATA
@_with_model
@click.pass_context
def apply(ctx: click.Context, /, as_text: bool, quiet: bool, **options: Any) -> None:
    """Put PATCH into pictures at a random place and write the results, as `advbench attack` does."""
    from advbench.pictures.universal.patch_config import PatchUse
    from advbench.pictures.universal.patch_measure import apply_patch

    with progress(quiet) as told:
        outcomes = apply_patch(PatchUse(**_used(options)), told)
    conclude(ctx, outcomes, as_text=as_text, quiet=quiet)


def _used(options: dict[str, Any]) -> dict[str, Any]:
    goal, model, data = options["goal"], options["model"], chosen_images(options, limit=None)
    about = description(options, model)
    announce(model, about)
    return options | {
        "about": about,
        "data": data,
        "goal": parse_goal(goal) if goal else None,
        "model": model and model_card(model).name,
    }


def _tell(measured: "PatchMeasured", as_text: bool, quiet: bool) -> None:
    from advbench.pictures.terminal import patch as table

    for problem in measured.problems:
        click.echo(f"left out: {problem}", err=True)
    if as_text:
        print_result(as_json([measured.as_row()]))
    elif not quiet:
        console().print(table(measured))

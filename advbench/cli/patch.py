"""`advbench patch`: fits a patch that fools wherever it is placed, measures it, and puts it into pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.catalog.user_models import model_card
from advbench.cli.attack import conclude
from advbench.cli.console import Group, progress
from advbench.cli.data_options import chosen_images
from advbench.cli.fitted_options import (
    BATCH,
    DATA,
    DEVICE,
    GOAL,
    HELD_OUT,
    JSON,
    MODEL,
    OUT,
    OWN_GOAL,
    PICTURES,
    QUIET,
    SEED,
    WEIGHTS,
    tell,
    used,
)
from advbench.cli.imports import first_imports
from advbench.cli.model_options import announce, described, description, with_options
from advbench.config.goals import parse_goal
from advbench.config.masks import PLACES, SHAPES, parse_share
from advbench.sanitize import slug

if TYPE_CHECKING:
    from advbench.pictures.universal.patch_measure import PatchMeasured

_FILE = click.argument("patch", type=click.Path(path_type=Path), metavar="PATCH")
_USED = (
    click.option("--model", metavar="NAME", help="Default: the model it was fitted for, with the same weights."),
    WEIGHTS,
    described(labels=False),
    OWN_GOAL,
    SEED,
    DEVICE,
    BATCH,
    OUT,
    JSON,
    QUIET,
)
_with_model = with_options(_USED)
"""Adds the options of the model on which it is used."""


@click.group(cls=Group)
def patch() -> None:
    """A patch that fools a model wherever it is placed in a picture."""


@patch.command()
@PICTURES
@DATA
@MODEL
@WEIGHTS
@described(labels=False)
@GOAL
@click.option(
    "--share",
    default="5%",
    show_default=True,
    metavar="SHARE",
    help="Largest share of the picture that the patch covers.",
)
@click.option("--shape", type=click.Choice(SHAPES), default="square", show_default=True)
@click.option(
    "--rotation",
    type=click.FloatRange(0, 180),
    default=20.0,
    show_default=True,
    metavar="DEGREES",
    help="Largest rotation in either direction.",
)
@click.option(
    "--min-scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.7,
    show_default=True,
    metavar="FRACTION",
    help="Smallest scale, relative to the largest.",
)
@click.option("--steps", type=click.IntRange(min=1), default=200, show_default=True, help="Gradient steps.")
@HELD_OUT
@SEED
@DEVICE
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Placed patches per step.")
@OUT
@JSON
@QUIET
def fit(
    *,
    model: str,
    share: str,
    shape: str,
    rotation: float,
    min_scale: float,
    as_text: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Fit a patch to pictures (files or folders of them), or to a single one.

    The patch is placed at random, rotated and scaled. For a single picture, its fooling rate is measured at other
    random places. A folder that holds the result of another fit is refused.
    """
    options["data"] = chosen_images(options, limit=None)
    options["goal"] = parse_goal(options["goal"])
    largest = parse_share(share)
    name, about = model_card(model).name, description(options, model)
    options["out"] = options["out"] or Path("reports") / f"patch-{slug(name)}"
    announce(model, about)
    with progress(quiet) as told:
        with first_imports():
            from advbench.pictures.universal.options import Fit
            from advbench.pictures.universal.patch_fit import fit_patch
            from attacks import Placing

        placing = Placing(share=largest, shape=shape, max_rotation=rotation, min_scale=min_scale)
        measured = fit_patch(Fit(model=name, about=about, **options), placing, told)
    _tell(measured, as_text=as_text, quiet=quiet)


@patch.command(name="eval")
@_FILE
@PICTURES
@DATA
@click.option(
    "--places",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Random places per picture. Default: 1, or {PLACES} for a single picture.",
)
@_with_model
def evaluate(as_text: bool, quiet: bool, **options: Any) -> None:
    """Measure how often PATCH fools a model, at random places on pictures, and draw some of them."""
    from advbench.pictures.universal.options import PatchUse
    from advbench.pictures.universal.patch_measure import measure_patch

    options["out"] = options["out"] or Path("reports") / f"patch-eval-{slug(options['patch'].stem)}"
    with progress(quiet) as told:
        measured = measure_patch(PatchUse(**used(options)), told)
    _tell(measured, as_text=as_text, quiet=quiet)


@patch.command()
@_FILE
@PICTURES
@DATA
@_with_model
@click.pass_context
def apply(ctx: click.Context, /, as_text: bool, quiet: bool, **options: Any) -> None:
    """Put PATCH into pictures at a random place and write the results, as `advbench attack` does."""
    from advbench.pictures.universal.options import PatchUse
    from advbench.pictures.universal.patch_measure import apply_patch

    with progress(quiet) as told:
        outcomes = apply_patch(PatchUse(**used(options)), told)
    conclude(ctx, outcomes, as_text=as_text, quiet=quiet)


def _tell(measured: "PatchMeasured", *, as_text: bool, quiet: bool) -> None:
    from advbench.pictures.terminal import patch as table

    tell(measured, table, as_text=as_text, quiet=quiet)

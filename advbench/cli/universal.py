"""`advbench universal`: fits, measures and applies one perturbation that fools a model on most pictures."""

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
from advbench.config.budgets import NORMS, parse_eps
from advbench.config.goals import parse_goal
from advbench.errors import UserError
from advbench.sanitize import slug

if TYPE_CHECKING:
    from advbench.pictures.universal.arrays import Told
    from advbench.pictures.universal.measure import Measured

_FILE = click.argument("perturbation", type=click.Path(path_type=Path), metavar="PERTURBATION")
_USED = (
    click.option("--norm", type=click.Choice(NORMS), help="Norm of another project's array. Default: linf."),
    click.option("--eps", metavar="SIZE", help="Clip such an array to this size. Default: its own size."),
    click.option(
        "--scale",
        type=click.Choice(["1", "255"]),
        help="Largest pixel value in the units of such an array. Default: inferred from its values.",
    ),
    click.option("--model", metavar="NAME", help="Default: the model it was fitted for."),
    WEIGHTS,
    described(labels=False),
    click.option("--resize", is_flag=True, help="Resize it for a model with another input size."),
    OWN_GOAL,
    DEVICE,
    BATCH,
    JSON,
    QUIET,
)
_with_model = with_options(_USED)
"""Adds the options of the model on which it is used."""


@click.group(cls=Group)
def universal() -> None:
    """One perturbation that fools a model on most pictures."""


@universal.command()
@PICTURES
@DATA
@MODEL
@WEIGHTS
@described(labels=False)
@click.option(
    "--algorithm",
    type=click.Choice(["steps", "deepfool"]),
    default="steps",
    show_default=True,
    help="steps: gradient steps over random views; deepfool: the original algorithm.",
)
@GOAL
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True)
@click.option("--eps", metavar="SIZE", help="Largest change allowed. Default: 10/255 for linf.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Gradient steps. Default: 800; for deepfool, 10 passes over the pictures.",
)
@HELD_OUT
@SEED
@DEVICE
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures per step.")
@OUT
@JSON
@QUIET
def fit(*, model: str, algorithm: str, norm: str, eps: str | None, as_text: bool, quiet: bool, **options: Any) -> None:
    """Fit a perturbation to pictures (files or folders of them).

    A checkpoint is kept: run the same command again to continue an interrupted fit. A folder that
    holds the result of another fit is refused.
    """
    if eps is None and norm != "linf":
        raise UserError(f"{norm} has no default budget", hint="give one, such as --eps 5")
    options["data"] = chosen_images(options, limit=None)
    largest = parse_eps(eps or "10/255", norm)
    options["goal"] = parse_goal(options["goal"])
    options["steps"] = options["steps"] or {"steps": 800, "deepfool": 10}[algorithm]
    name, about = model_card(model).name, description(options, model)
    options["out"] = options["out"] or Path("reports") / f"universal-{slug(name)}"
    announce(model, about)
    with progress(quiet) as told:
        with first_imports():
            from advbench.pictures.universal.fit import Method, fit_perturbation
            from advbench.pictures.universal.options import Fit

        method = Method(algorithm=algorithm, norm=norm, eps=largest)
        measured = fit_perturbation(Fit(model=name, about=about, **options), method, told)
    _tell(measured, as_text=as_text, quiet=quiet)


@universal.command(name="eval")
@_FILE
@PICTURES
@DATA
@click.option(
    "--labels", type=click.Path(path_type=Path), metavar="CSV", help="True classes, in the columns file and index."
)
@_with_model
def evaluate(as_text: bool, quiet: bool, **options: Any) -> None:
    """Measure how often PERTURBATION fools a model on pictures.

    PERTURBATION is a file from `advbench universal fit`, or an array of another project: .npy, .npz, .pt, .pth or
    .safetensors.
    """
    from advbench.pictures.universal.measure import UseConfig, measure_perturbation

    config = UseConfig(told=_told(options), **used(options))
    with progress(quiet) as told:
        measured = measure_perturbation(config, told)
    _tell(measured, as_text=as_text, quiet=quiet)


@universal.command()
@_FILE
@PICTURES
@DATA
@OUT
@_with_model
@click.pass_context
def apply(ctx: click.Context, /, as_text: bool, quiet: bool, **options: Any) -> None:
    """Add PERTURBATION to pictures and write the results, as `advbench attack` does."""
    from advbench.pictures.universal.measure import UseConfig, apply_perturbation

    config = UseConfig(told=_told(options), **used(options))
    with progress(quiet) as told:
        outcomes = apply_perturbation(config, told)
    conclude(ctx, outcomes, as_text=as_text, quiet=quiet)


def _told(options: dict[str, Any]) -> "Told":
    """What the options say about an array; removes them from the options."""
    from advbench.pictures.universal.arrays import Told

    norm, eps, scale = (options.pop(name) for name in ("norm", "eps", "scale"))
    return Told(norm, eps and parse_eps(eps, norm or "linf"), scale and int(scale))


def _tell(measured: "Measured", *, as_text: bool, quiet: bool) -> None:
    from advbench.pictures.terminal import universal as table

    tell(measured, table, as_text=as_text, quiet=quiet)

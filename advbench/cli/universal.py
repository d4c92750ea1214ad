"""`advbench universal`: one perturbation for most pictures, fitted, measured and applied."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.catalog import DEFAULT_MODEL
from advbench.catalog.user_models import OWN, model_card
from advbench.cli.attack import conclude
from advbench.cli.console import Group, console, print_result, progress
from advbench.cli.data_options import chosen_images, chosen_options
from advbench.cli.model_options import F, announce, described, description
from advbench.config.budgets import parse_eps
from advbench.config.goals import FORMS_TEXT, parse_goal
from advbench.errors import UserError
from advbench.records.record import as_json
from advbench.sanitize import slug

if TYPE_CHECKING:
    from advbench.pictures.universal.measure import Measured

_PICTURES = click.argument("paths", nargs=-1, metavar="[PICTURE]...")
_DATA = chosen_options("Images of a data set in place of pictures", limit=None)
_FILE = click.argument("perturbation", type=click.Path(path_type=Path), metavar="PERTURBATION")
_WEIGHTS = click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="State dict of the model.")
_GOALS = f"{FORMS_TEXT}."
_DEVICE = click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
_BATCH = click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Pictures at once."
)
_OUT = click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Where the results go.")
_JSON = click.option("--json", "as_text", is_flag=True, help="Print JSON.")
_QUIET = click.option("--quiet", is_flag=True, help="No progress and no table.")
_USED = (
    click.option("--model", metavar="NAME", help="Default: the one it was made for."),
    _WEIGHTS,
    described(labels=False),
    click.option("--resize", is_flag=True, help="Use it on another model or size, and make it fit."),
    click.option("--goal", metavar="GOAL", help=f"Default: the one it was made for. {_GOALS}"),
    _DEVICE,
    _BATCH,
    _JSON,
    _QUIET,
)


def _with_model(command: F) -> F:
    """Give a command the options of a model on which a perturbation is used."""
    for option in reversed(_USED):
        command = option(command)
    return command


@click.group(cls=Group)
def universal() -> None:
    """One perturbation that fools a model on most pictures."""


@universal.command()
@_PICTURES
@_DATA
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME", help=f"See `advbench models`; or {OWN}."
)
@_WEIGHTS
@described(labels=False)
@click.option(
    "--algorithm",
    type=click.Choice(["steps", "deepfool"]),
    default="steps",
    show_default=True,
    help="steps: gradient steps over random views; deepfool: the original algorithm.",
)
@click.option("--goal", default="untargeted", show_default=True, metavar="GOAL", help=_GOALS)
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True)
@click.option("--eps", metavar="SIZE", help="Largest change; default: 10/255 for linf.")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Default: 800; of deepfool, 10 passes.")
@click.option(
    "--held-out",
    type=click.FloatRange(0, 0.9, min_open=True),
    default=0.2,
    show_default=True,
    help="Fraction of the pictures not fitted to, which tell how often it fools.",
)
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Of all that is random.")
@_DEVICE
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures in each step.")
@_OUT
@_JSON
@_QUIET
def fit(model: str, eps: str | None, as_text: bool, quiet: bool, **options: Any) -> None:
    """Fit a perturbation to pictures (files or folders of them).

    A checkpoint is kept; the same command goes on where an interrupted one stopped.
    """
    if eps is None and options["norm"] != "linf":
        raise UserError(f"a budget is needed in {options['norm']}", hint="give one, such as --eps 5")
    options["data"] = chosen_images(options, limit=None)
    options["eps"] = parse_eps(eps or "10/255", options["norm"])
    options["goal"] = parse_goal(options["goal"])
    options["steps"] = options["steps"] or {"steps": 800, "deepfool": 10}[options["algorithm"]]
    name, about = model_card(model).name, description(options, model)
    options["out"] = options["out"] or Path("reports") / f"universal-{slug(name)}"
    announce(model, about)
    with progress(quiet) as told:
        from advbench.pictures.universal.fit import FitConfig, fit_perturbation

        measured = fit_perturbation(FitConfig(model=name, about=about, **options), told)
    _tell(measured, as_text, quiet)


@universal.command(name="eval")
@_FILE
@_PICTURES
@_DATA
@click.option("--labels", type=click.Path(path_type=Path), metavar="CSV", help="True classes: columns file and index.")
@_with_model
def evaluate(as_text: bool, quiet: bool, **options: Any) -> None:
    """Measure how often PERTURBATION fools a model on pictures."""
    from advbench.pictures.universal.measure import UseConfig, measure_perturbation

    with progress(quiet) as told:
        measured = measure_perturbation(UseConfig(**_used(options)), told)
    _tell(measured, as_text, quiet)


@universal.command()
@_FILE
@_PICTURES
@_DATA
@_OUT
@_with_model
@click.pass_context
def apply(ctx: click.Context, /, as_text: bool, quiet: bool, **options: Any) -> None:
    """Add PERTURBATION to pictures and write the results, as `advbench attack` does."""
    from advbench.pictures.universal.measure import UseConfig, apply_perturbation

    with progress(quiet) as told:
        outcomes = apply_perturbation(UseConfig(**_used(options)), told)
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


def _tell(measured: "Measured", as_text: bool, quiet: bool) -> None:
    from advbench.pictures.terminal import universal

    for problem in measured.problems:
        click.echo(f"left out: {problem}", err=True)
    if as_text:
        print_result(as_json([measured.as_row()]))
    elif not quiet:
        console().print(universal(measured))

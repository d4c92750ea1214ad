"""`advbench train`: a recipe in, a trained classifier and its card out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.commands.console import console, progress
from advbench.config import parse_eps
from advbench.errors import UserError
from advbench.training.recipes import RECIPES, Adversarial, ForestRecipe, Recipe
from advbench.zoo_table import DATA, ZOO

if TYPE_CHECKING:
    from rich.console import RenderableType

_METHODS = ("fast", "trades")


@click.command(epilog=f"Recipes: {', '.join(RECIPES)}.")
@click.argument("recipe")
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="In place of the recipe's number.")
@click.option(
    "--adversarial",
    type=click.Choice(_METHODS),
    is_flag=False,
    flag_value="fast",
    help="Train on adversarial images: fast (the default) or trades.",
)
@click.option("--eps", metavar="SIZE", help="Largest Linf change in adversarial training, such as 8/255.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all that is random.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default="data",
    envvar="ADVBENCH_DATA",
    show_default=True,
    show_envvar=True,
    metavar="FOLDER",
    help="Where the data sets are.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: trained/<recipe>.")
@click.option("--attacked", type=click.IntRange(min=0), default=200, show_default=True, help="Test images to attack.")
@click.option("--quiet", is_flag=True, help="No progress and no table.")
def train(recipe: str, out: Path | None, quiet: bool, **options: Any) -> None:
    """Train the model of RECIPE and measure it.

    A checkpoint is written after each epoch; the same command goes on where an interrupted one stopped.
    """
    chosen = _recipe(RECIPES[recipe], options)
    with progress(quiet) as told:
        from advbench.models import usable_device
        from advbench.training.run import TrainConfig, train

        folder = out or Path("trained") / recipe
        config = TrainConfig(
            recipe=chosen,
            command=_command(recipe, options),
            data_root=options["data_root"],
            out=folder,
            seed=options["seed"],
            device=str(usable_device(options["device"])),
            attacked=options["attacked"],
        )
        card = train(config, told)
    if not quiet:
        console().print(_table(card, folder))


def _recipe(recipe: Recipe | ForestRecipe, options: dict[str, Any]) -> Recipe | ForestRecipe:
    """The recipe with what the flags change in it."""
    if isinstance(recipe, ForestRecipe):
        given = [f"--{name}" for name in ("epochs", "adversarial", "eps") if options[name]]
        if given:
            raise UserError(f"{recipe.model} is a forest, which has no {', '.join(given)}", hint="leave it out")
        return recipe
    if options["epochs"]:
        recipe = replace(recipe, epochs=options["epochs"])
    if options["adversarial"]:
        usual = parse_eps(DATA[ZOO[recipe.model].data].eps, "linf")
        how = recipe.adversarial or Adversarial(eps=usual, warmup=0.3)
        recipe = replace(recipe, adversarial=replace(how, method=options["adversarial"]))
    if options["eps"]:
        if recipe.adversarial is None:
            raise UserError("--eps is for adversarial training", hint="add --adversarial, or leave --eps out")
        size = parse_eps(options["eps"], "linf")
        recipe = replace(recipe, adversarial=replace(recipe.adversarial, eps=size))
    return recipe


def _command(recipe: str, options: dict[str, Any]) -> str:
    """What to type for the same weights."""
    shown = {name: options[name] for name in ("epochs", "adversarial", "eps") if options[name]}
    if options["seed"]:
        shown["seed"] = options["seed"]
    return " ".join(["advbench train", recipe, *(f"--{name} {value}" for name, value in shown.items())])


def _table(card: dict[str, Any], folder: Path) -> "RenderableType":
    from advbench.report.terminal import trained

    return trained(card, folder)

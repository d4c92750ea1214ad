"""`advbench train`: trains the classifier of a recipe and writes its card."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from advbench.catalog import DEFAULT_MODEL
from advbench.catalog.user_models import model_card
from advbench.catalog.zoo import DATA, PHOTOGRAPHS, ZOO
from advbench.cli.console import Command, announce_code, console, progress
from advbench.cli.imports import first_imports
from advbench.config.budgets import parse_eps
from advbench.errors import UserError
from advbench.training.recipes import RECIPES, Adversarial, ForestRecipe, Recipe, TransferRecipe

_METHODS = ("fast", "trades")
_TRANSFER = {"--from": "base", "--fine-tune": "fine_tune"}
_ALL = {
    f"--{name}": name for name in ("epochs", "lr", "adversarial", "eps", "steps", "seed", "data", "weights")
} | _TRANSFER


@click.command(epilog=f"Recipes: {', '.join(RECIPES)}.", cls=Command)
@click.argument("recipe")
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Number of epochs, instead of the recipe's.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), metavar="RATE", help="Peak learning rate.")
@click.option(
    "--adversarial",
    type=click.Choice(_METHODS),
    is_flag=False,
    flag_value="fast",
    help="Train on adversarial images: fast (the default) or trades.",
)
@click.option("--eps", metavar="SIZE", help="Largest Linf change in adversarial training, such as 8/255.")
@click.option(
    "--steps", type=click.IntRange(min=1), metavar="N", help="Gradient steps per batch of adversarial training."
)
@click.option(
    "--from",
    "base",
    metavar="MODEL",
    help=f"With transfer: the pretrained network, as in attack --model. Default: {DEFAULT_MODEL}.",
)
@click.option(
    "--fine-tune", type=click.IntRange(min=1), metavar="N", help="With transfer: also train its last N layers."
)
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="Start from these weights.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of all random draws."
)
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default="data",
    envvar="ADVBENCH_DATA",
    show_default=True,
    show_envvar=True,
    metavar="FOLDER",
    help="Folder of the data sets, or a folder of pictures with a subfolder for each class.",
)
@click.option(
    "--data",
    type=click.Choice([*DATA]),
    metavar="NAME",
    help=f"Train on another data set with images of the same shape: {', '.join(DATA)}.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: trained/<recipe>.")
@click.option(
    "--attacked", type=click.IntRange(min=0), default=200, show_default=True, help="Number of test images to attack."
)
@click.option("--quiet", is_flag=True, help="Show no progress and no table.")
def train(recipe: str, out: Path | None, quiet: bool, **options: Any) -> None:
    """Train the model of a recipe, and measure it.

    The recipe `transfer` trains a new head for your pictures on a pretrained network.

    A checkpoint is written after each epoch: run the same command again to continue an interrupted training.
    `advbench attack --model OUT/RECIPE.safetensors` attacks the result.
    """
    chosen = _recipe(RECIPES[recipe], options)
    if isinstance(chosen, TransferRecipe):
        announce_code(chosen.base)
    with progress(quiet) as told:
        with first_imports():
            from advbench.models import usable_device
            from advbench.training.run import train
            from advbench.training.task import TrainConfig
            from advbench.training.terminal import trained

        folder = out or Path("trained") / recipe
        config = TrainConfig(
            recipe=chosen,
            command=_command(recipe, options),
            data_root=options["data_root"],
            data=options["data"],
            out=folder,
            weights=options["weights"],
            seed=options["seed"],
            device=str(usable_device(options["device"])),
            attacked=options["attacked"],
        )
        card = train(config, told)
    if not quiet:
        console().print(trained(card, folder))


def _recipe(recipe: Recipe | ForestRecipe, options: dict[str, Any]) -> Recipe | ForestRecipe:
    """The recipe with the changes from the command line."""
    recipe = _started_from(recipe, options)
    if options["data"] and isinstance(recipe, TransferRecipe):
        raise UserError("--data is for the recipes of the zoo", hint="name the folder of pictures: --data-root FOLDER")
    if isinstance(recipe, ForestRecipe):
        given = [flag for flag, name in _ALL.items() if name not in ("seed", "data") and options[name]]
        if given:
            raise UserError(f"{recipe.model} is a forest, which has no {', '.join(given)}", hint="leave it out")
        return recipe
    changed = {name: options[name] for name in ("epochs", "lr") if options[name]}
    recipe = replace(recipe, **changed)
    if options["adversarial"] and recipe.model in ZOO and DATA[ZOO[recipe.model].data].composed:
        raise UserError(f"{recipe.model} has several labels, and --adversarial is for one class", hint="leave it out")
    if options["adversarial"]:
        data = options["data"] or (ZOO[recipe.model].data if recipe.model in ZOO else None)
        usual = parse_eps(DATA[data].eps if data else PHOTOGRAPHS, "linf")
        how = recipe.adversarial or Adversarial(eps=usual, warmup=0.3)
        recipe = replace(recipe, adversarial=replace(how, method=options["adversarial"]))
    return replace(recipe, adversarial=_adversarial(recipe.adversarial, options))


def _adversarial(how: Adversarial | None, options: dict[str, Any]) -> Adversarial | None:
    """The method with the changes from the command line; eps is not ramped up if training starts from given weights."""
    if how is None:
        if given := [f"--{name}" for name in ("eps", "steps") if options[name]]:
            flags = " and ".join(given)
            raise UserError(f"{flags} is for adversarial training", hint=f"add --adversarial, or leave {flags} out")
        return None
    if options["eps"]:
        how = replace(how, eps=parse_eps(options["eps"], "linf"))
    if options["steps"]:
        how = replace(how, steps=options["steps"])
    return replace(how, warmup=0.0) if options["weights"] else how


def _started_from(recipe: Recipe | ForestRecipe, options: dict[str, Any]) -> Recipe | ForestRecipe:
    """The recipe with the pretrained network from the command line."""
    if isinstance(recipe, TransferRecipe):
        base = model_card(options["base"] or recipe.base).name
        return replace(recipe, base=base, fine_tune=options["fine_tune"] or 0)
    if given := [flag for flag, name in _TRANSFER.items() if options[name]]:
        raise UserError(f"{', '.join(given)} is for the recipe transfer, not for {recipe.model}", hint="leave it out")
    return recipe


def _command(recipe: str, options: dict[str, Any]) -> str:
    """The command that reproduces the weights."""
    shown = {flag: options[name] for flag, name in _ALL.items() if options[name]}
    if recipe == "transfer":
        shown["--data-root"] = options["data_root"]
    return " ".join(["advbench train", recipe, *(f"{flag} {shlex.quote(str(value))}" for flag, value in shown.items())])

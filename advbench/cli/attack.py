"""`advbench attack`: turns pictures into adversarial pictures."""

import os.path
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.catalog import DEFAULT_ATTACK, DEFAULT_MODEL
from advbench.catalog.user_models import OWN
from advbench.cli.console import Command, announce_code, console, print_result, progress
from advbench.cli.data_options import chosen_images, chosen_options
from advbench.cli.imports import first_imports
from advbench.cli.model_options import announce, described, description
from advbench.config.attack import attack_config
from advbench.config.budgets import NORMS
from advbench.config.goals import DEFAULT_GOAL, DEFAULT_LABEL_GOAL, FORMS_TEXT, LABEL_FORMS_TEXT, goal_with_k
from advbench.config.masks import FORMS
from advbench.config.models.surrogate import surrogate_named
from advbench.config.pictures.photograph import DEFAULT_KAPPA, INPUT, ORIGINAL, parse_saved_as
from advbench.config.pictures.photograph import FORMS as SAVED_FORMS
from advbench.errors import ExitCode
from advbench.records.record import LEFT_OUT, OK, UNKNOWN, as_json
from advbench.sanitize import count_of, display_name, slug

if TYPE_CHECKING:
    from advbench.pictures.outcome import PictureResult


@click.command(cls=Command)
@click.argument("paths", nargs=-1, metavar="[PICTURE]...")
@chosen_options("Attack images of a data set")
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME",
    help=f"Name from `advbench models`, or your own: {OWN}.",
)
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help="State dict to load: .safetensors, .pt or .pth."
)
@described()
@click.option(
    "--surrogate",
    metavar="NAME",
    help="Make the attack on this model instead, and transfer it: --model only judges. NAME+NAME is an ensemble.",
)
@click.option(
    "--attack",
    default=DEFAULT_ATTACK,
    show_default=True,
    metavar="NAME",
    help="Name from `advbench attacks`. With several, as in topk,fmn,ddn, the smallest perturbation is kept.",
)
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Parameter of the attack, such as steps=50; repeatable. `advbench attacks ATTACK` lists them.",
)
@click.option(
    "--goal",
    metavar="GOAL",
    help=f"{FORMS_TEXT}; a class is a name or an index. "
    f"Default: {DEFAULT_GOAL}, or untargeted if the attack does not support that or the model has too few "
    f"classes. For multi-label models: {LABEL_FORMS_TEXT}; default: {DEFAULT_LABEL_GOAL}.",
)
@click.option("--k", type=click.IntRange(min=1), metavar="K", help="Short for --goal topk-exclusion:K.")
@click.option(
    "--norm",
    type=click.Choice(NORMS),
    help="Norm to measure the change in. Default: the first one that the attack supports.",
)
@click.option("--mask", metavar="MASK", help=f"What may be changed: {FORMS}; in pixels of the model's input.")
@click.option("--eps", metavar="SIZE", help="Largest change allowed, such as 2/255 (the default for linf) or 0.5.")
@click.option(
    "--max-passes", type=click.IntRange(min=1), metavar="N", help="At most N forward and backward passes per picture."
)
@click.option(
    "--size",
    type=click.Choice([INPUT, ORIGINAL]),
    default=INPUT,
    show_default=True,
    help="Attack the model's input, or the photograph at its original size.",
)
@click.option(
    "--save-as",
    metavar="FORMAT",
    callback=lambda ctx, param, value: None if value is None else parse_saved_as(value),
    help=f"With --size original: {SAVED_FORMS}. Default: the format of the photograph.",
)
@click.option(
    "--kappa",
    type=click.FloatRange(min=0, max=1e6),
    metavar="LOGITS",
    help=f"With --size original: margin in logits that the attack aims for. Default: {DEFAULT_KAPPA:g}.",
)
@click.option(
    "--batch",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Attack all photographs in a folder, write one folder of results, and print one table.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of all random draws."
)
@click.option("--precise", is_flag=True, help="Attack the network itself, not its faster form.")
@click.option("--prove", is_flag=True, help="Prove a size below which no change succeeds; for small ReLU networks.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures per batch.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: reports/<image>-<model>-<attack>."
)
@click.option("--json", "as_text", is_flag=True, help="Print a JSON array with an object for each picture.")
@click.option("--quiet", is_flag=True, help="Show no progress and no table.")
@click.pass_context
def attack(ctx: click.Context, /, as_text: bool, quiet: bool, goal: str | None, k: int | None, **options: Any) -> None:
    """Attack pictures, and write the adversarial ones.

    Each PICTURE is a file or a folder; --data takes images of a data set instead. By default: find the smallest change,
    within 2/255 of every pixel, that pushes all of the top seven classes out of the top seven.
    """
    batch = options.pop("batch")
    if batch is not None:
        options["paths"] = (*options["paths"], batch)
        if options["out"] is None:
            options["out"] = Path("reports") / slug(f"{batch.resolve().name}-{options['attack']}")
    options["saved_as"] = options.pop("save_as")
    about = description(options, options["model"])
    options["surrogate"] = options["surrogate"] and surrogate_named(options["surrogate"])
    config = attack_config(goal=goal_with_k(goal, k), about=about, data=chosen_images(options), **options)
    announce(config.model, about)
    announce_code(*(each.name for each in (config.surrogate.models if config.surrogate else ())))
    with progress(quiet) as told:
        with first_imports():
            from advbench.pictures.attack import attack_pictures

        outcomes = attack_pictures(config, told)
    conclude(ctx, outcomes, as_text=as_text, quiet=quiet, as_table=batch is not None)


def conclude(
    ctx: click.Context, outcomes: "list[PictureResult]", *, as_text: bool, quiet: bool, as_table: bool = False
) -> None:
    """Print the outcome for each picture, and exit with the right code.

    Args:
        ctx: Context of the command.
        outcomes: An outcome for each picture.
        as_text: Whether to print JSON.
        quiet: Whether to print nothing.
        as_table: Whether to print one table, in which a picture that failed is a row.
    """
    failures = [outcome for outcome in outcomes if outcome.record.status == UNKNOWN]
    if as_text:
        print_result(as_json([outcome.as_row() for outcome in outcomes]))
    elif not quiet:
        _print_outcomes(outcomes, as_table=as_table)
    for outcome in [] if as_table and not as_text and not quiet else failures:
        click.echo(f"failed: {outcome.record.error}", err=True)
    ctx.exit(ExitCode.INCOMPLETE if failures else ExitCode.OK)


def _print_outcomes(outcomes: "list[PictureResult]", *, as_table: bool) -> None:
    from advbench.pictures.terminal import attacked, table_of

    out = console()
    if as_table:
        out.print(table_of(outcomes))
    for outcome in [] if as_table else outcomes:
        if outcome.files:
            out.print(attacked(outcome))
        elif outcome.record.status == LEFT_OUT:
            out.print(f"left out: {outcome.record.error}", markup=False)
    if as_table or len(outcomes) > 1:
        known = [outcome.record.met for outcome in outcomes if outcome.record.status == OK]
        rest = [sum(outcome.record.status == status for outcome in outcomes) for status in (LEFT_OUT, UNKNOWN)]
        told = "".join(f"; {count} {word}" for count, word in zip(rest, ("left out", "failed"), strict=True) if count)
        out.print(f"goal met on {sum(map(bool, known))} of {count_of(len(known), 'picture')}{told}")
    folders = [file.parent for outcome in outcomes for file in outcome.files.values()]
    if as_table and folders:
        out.print(f"files in {display_name(Path(os.path.commonpath(folders)), limit=200)}", markup=False)

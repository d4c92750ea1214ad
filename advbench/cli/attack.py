"""`advbench attack`: pictures in, adversarial pictures out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.catalog import DEFAULT_ATTACK, DEFAULT_MODEL
from advbench.catalog.user_models import OWN
from advbench.cli.console import Command, console, print_result, progress
from advbench.cli.data_options import chosen_images, chosen_options
from advbench.cli.imports import first_imports
from advbench.cli.model_options import announce, described, description
from advbench.config.attack import attack_config
from advbench.config.budgets import NORMS
from advbench.config.goals import DEFAULT_GOAL, DEFAULT_LABEL_GOAL, FORMS_TEXT, LABEL_FORMS_TEXT, goal_with_k
from advbench.config.masks import FORMS
from advbench.config.pictures.photograph import DEFAULT_KAPPA, INPUT, ORIGINAL, parse_saved_as
from advbench.config.pictures.photograph import FORMS as SAVED_FORMS
from advbench.errors import ExitCode
from advbench.records.record import LEFT_OUT, OK, UNKNOWN, as_json
from advbench.sanitize import slug

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
    help=f"See `advbench models`; or your own: {OWN}.",
)
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="State dict: .safetensors, .pt, .pth.")
@described()
@click.option(
    "--attack",
    default=DEFAULT_ATTACK,
    show_default=True,
    metavar="NAME",
    help="See `advbench attacks`; of several, as in topk,fmn,ddn, the smallest perturbation wins.",
)
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of the attack, such as steps=50; repeatable. `advbench attacks ATTACK` lists them.",
)
@click.option(
    "--goal",
    metavar="GOAL",
    help=f"{FORMS_TEXT}; a class is a name or an index. "
    f"Default: {DEFAULT_GOAL}; untargeted for an attack that cannot do that, and for a "
    f"model with too few classes. For several labels: {LABEL_FORMS_TEXT}; default: {DEFAULT_LABEL_GOAL}.",
)
@click.option("--k", type=click.IntRange(min=1), metavar="K", help="Short for --goal topk-exclusion:K.")
@click.option("--norm", type=click.Choice(NORMS), help="Default: the first that the attack supports.")
@click.option("--mask", metavar="MASK", help=f"What may change: {FORMS}; pixels of the model's input.")
@click.option("--eps", metavar="SIZE", help="Largest change, such as 2/255 (the default for linf) or 0.5.")
@click.option(
    "--max-passes", type=click.IntRange(min=1), metavar="N", help="Most passes for each picture, forward and backward."
)
@click.option(
    "--size",
    type=click.Choice([INPUT, ORIGINAL]),
    default=INPUT,
    show_default=True,
    help="Attack the model's input, or the photograph at its own size.",
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
    help=f"With --size original: margin to spare that the attack aims at. Default: {DEFAULT_KAPPA:g}.",
)
@click.option(
    "--batch",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Attack all photographs in a folder, into one folder of reports, and print one table.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all random draws.")
@click.option("--precise", is_flag=True, help="Attack the network as it is, not in its faster form.")
@click.option("--prove", is_flag=True, help="Prove how large a change cannot do it, for small ReLU networks.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures at once.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: reports/<image>-<model>-<attack>."
)
@click.option("--json", "as_text", is_flag=True, help="Print one JSON array, an object for each picture.")
@click.option("--quiet", is_flag=True, help="No progress and no table.")
@click.pass_context
def attack(ctx: click.Context, /, as_text: bool, quiet: bool, goal: str | None, k: int | None, **options: Any) -> None:
    """Attack pictures (files or folders of them, or --data) and write the adversarial pictures and their records.

    By default, find the smallest change within 2/255 that pushes all of the top seven classes out of the top seven.
    """
    batch = options.pop("batch")
    if batch is not None:
        options["paths"] = (*options["paths"], batch)
        if options["out"] is None:
            options["out"] = Path("reports") / slug(f"{batch.resolve().name}-{options['attack']}")
    options["saved_as"] = options.pop("save_as")
    about = description(options, options["model"])
    config = attack_config(goal=goal_with_k(goal, k), about=about, data=chosen_images(options), **options)
    announce(config.model, about)
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
        out.print(f"goal met on {sum(map(bool, known))} of {len(known)} pictures{told}")

"""The command line. Nothing heavy is imported before a command runs."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench import __version__
from advbench.catalog import ATTACKS, DEFAULT_ATTACK, DEFAULT_MODEL, MODELS, availability, lacking
from advbench.config import DEFAULT_GOAL, NORMS, attack_config
from advbench.errors import EXIT_INCOMPLETE, EXIT_USAGE, UserError
from advbench.records import OK, as_json

if TYPE_CHECKING:
    from rich.console import Console

    from advbench.outcome import Outcome


# Threads that spin while they wait make a busy machine many times slower; torch reads this when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class _Commands(click.Group):
    """Commands whose user errors end with one clear message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(EXIT_USAGE)
        except KeyboardInterrupt:
            click.echo("interrupted; what was finished is saved", err=True)
            ctx.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """Measure how easily an image classifier is fooled, with numbers that can be believed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal or pipe has every character


@main.command()
@click.argument("paths", nargs=-1, required=True, metavar="PICTURE...")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME", help="See `advbench models`.")
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="State dict: .safetensors, .pt, .pth.")
@click.option("--attack", default=DEFAULT_ATTACK, show_default=True, metavar="NAME", help="See `advbench attacks`.")
@click.option(
    "--goal",
    metavar="GOAL",
    help="untargeted, targeted:CLASS, topk-exclusion:K, label-out-of-topk:K or ordered-topk:A,B,C; "
    f"a class is a name or an index. Default: {DEFAULT_GOAL}, or untargeted for an attack that cannot do that.",
)
@click.option("--norm", type=click.Choice(NORMS), help="Default: the first that the attack supports.")
@click.option("--eps", metavar="SIZE", help="Largest change, such as 2/255 (the default for linf) or 0.5.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all random draws.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures at once.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: reports/<image>-<model>-<attack>."
)
@click.option("--json", "as_text", is_flag=True, help="Print one JSON array, an object for each picture.")
@click.option("--quiet", is_flag=True, help="No progress and no table.")
@click.pass_context
def attack(ctx: click.Context, /, as_text: bool, quiet: bool, **options: Any) -> None:
    """Attack pictures (files or folders of them) and write what came of it.

    Without options: find the smallest change within 2/255 after which none of the first seven classes is among the
    first seven any more.
    """
    config = attack_config(**options)
    with _progress(quiet) as progress:
        from advbench.attack import attack_pictures

        outcomes = attack_pictures(config, progress)
    failures = [outcome for outcome in outcomes if outcome.record.status != OK]
    if as_text:
        click.echo(as_json([outcome.as_row() for outcome in outcomes]))
    elif not quiet:
        _print_outcomes(outcomes)
    for outcome in failures:
        click.echo(f"failed: {outcome.record.error}", err=True)
    ctx.exit(EXIT_INCOMPLETE if failures else 0)


@main.command()
@click.option("--json", "as_text", is_flag=True, help="Print a JSON array.")
def models(as_text: bool) -> None:
    """List the models and what each needs here and now."""
    found = [(card, availability(card)) for card in MODELS.values()]
    if as_text:
        rows = [
            {
                "name": card.name,
                "data": card.data,
                "classes": card.classes,
                "input_size": card.input_size,
                "source": card.source,
                "licence": card.licence,
                "needs": there.state,
                "ready": there.ready,
                "detail": there.detail,
            }
            for card, there in found
        ]
        click.echo(as_json(rows))
        return
    from advbench.report.terminal import print_table

    print_table(
        _console(),
        "Models (ready: loads without a network; all take --weights FILE)",
        ["name", "data", "input", "source", "ready", "needs"],
        [
            (card.name, card.data, str(card.input_size), card.source, "yes" if there.ready else "", there.state)
            for card, there in found
        ],
    )


@main.command()
@click.option("--json", "as_text", is_flag=True, help="Print a JSON array.")
def attacks(as_text: bool) -> None:
    """List the attacks, the norms in which they work and the goals they take."""
    cards = ATTACKS.values()
    if as_text:
        shown = ("name", "source", "kind", "norms", "goals", "summary")
        rows = [{name: getattr(card, name) for name in shown} | {"lacking": lacking(card)} for card in cards]
        click.echo(as_json(rows))
        return
    from advbench.report.terminal import print_table

    own = [(c.name, c.kind, " ".join(c.norms), c.summary) for c in cards if c.source == "advbench"]
    print_table(_console(), "Attacks (any goal with any of them)", ["name", "kind", "norms", ""], own)
    for kind in ("budget", "minimum norm"):
        others = [(c.name, " ".join(c.norms), c.summary) for c in cards if c.source != "advbench" and c.kind == kind]
        print_table(_console(), f"\nAttacks of Foolbox 3.3.4 ({kind})", ["name", "norms", "goals"], others)


def _print_outcomes(outcomes: "list[Outcome]") -> None:
    from advbench.report.terminal import attacked

    console = _console()
    for outcome in outcomes:
        if outcome.files:
            console.print(attacked(outcome))
    if len(outcomes) > 1:
        known = [outcome.record.met for outcome in outcomes if outcome.record.status == OK]
        failures = f"; {lost} failed" if (lost := len(outcomes) - len(known)) else ""
        console.print(f"goal met on {sum(map(bool, known))} of {len(known)} pictures{failures}")


def _console() -> "Console":
    from rich.console import Console

    # A pipe has no width; 100 columns keep every table whole.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 100)


def _progress(quiet: bool) -> Any:
    from advbench.report.progress import progress_on

    return progress_on(sys.stderr, quiet=quiet)

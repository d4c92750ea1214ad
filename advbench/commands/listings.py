"""`advbench models`, `advbench attacks` and `advbench datasets`: what there is, and what each needs."""

import click

from advbench.cards import ModelCard
from advbench.catalog import ATTACKS, DATASETS, MODELS, Availability, availability, lacking
from advbench.commands.console import console
from advbench.records import as_json


@click.command()
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
                "clean_accuracy": card.clean,
                "robust_accuracy": card.robust,
                "robust_within": card.within,
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
        console(),
        "Models (clean: test accuracy; robust: under attack; ready: loads without a network)",
        ["name", "data", "input", "clean", "robust", "ready", "needs"],
        [_row(card, there) for card, there in found],
    )


def _row(card: ModelCard, there: Availability) -> tuple[str, ...]:
    clean = "" if card.clean is None else f"{card.clean:.1%}"
    robust = "" if card.robust is None else f"{card.robust:.1%} {card.within}"
    ready = "yes" if there.ready else ""
    return card.name, card.data, str(card.input_size), clean, robust, ready, there.state


@click.command()
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

    foreign = [card for card in cards if card.source.startswith("foolbox")]
    own = [(c.name, c.kind, " ".join(c.norms), c.summary) for c in cards if c not in foreign]
    print_table(console(), "Attacks (any goal with any of them)", ["name", "kind", "norms", ""], own)
    for kind in ("budget", "minimum norm"):
        others = [(c.name, " ".join(c.norms), c.summary) for c in foreign if c.kind == kind]
        print_table(console(), f"\nAttacks of Foolbox 3.3.4 ({kind})", ["name", "norms", "goals"], others)


@click.command()
@click.option("--json", "as_text", is_flag=True, help="Print a JSON array.")
def datasets(as_text: bool) -> None:
    """List the data sets that a suite can name."""
    cards = DATASETS.values()
    if as_text:
        shown = ("name", "data", "classes", "images", "takes_path", "summary")
        click.echo(as_json([{name: getattr(card, name) for name in shown} for card in cards]))
        return
    from advbench.report.terminal import print_table

    rows = [(card.name, card.data, "" if card.images is None else str(card.images), card.summary) for card in cards]
    print_table(console(), "Data sets", ["name", "of", "images", ""], rows)

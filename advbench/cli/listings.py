"""`advbench models`, `advbench attacks` and `advbench flags`: lists, and what each entry needs."""

from typing import Any

import click

from advbench.catalog import ATTACKS, CORRUPTION, MODELS, UNIVERSAL, Availability, availability, lacking
from advbench.catalog.attack_facts import attack_facts
from advbench.catalog.cards import AttackCard, ModelCard
from advbench.catalog.parameters import parameters_of_card, written
from advbench.catalog.user_models import ROBUSTBENCH, is_own
from advbench.cli.console import Command, console, print_result
from advbench.cli.model_options import plugin_option
from advbench.errors import UserError
from advbench.records.flag import CHECKS
from advbench.records.record import as_json


@click.command(cls=Command)
@click.argument("name", required=False, metavar="[NAME]")
@plugin_option()
@click.option("--json", "as_text", is_flag=True, help="Print a JSON array.")
def models(name: str | None, as_text: bool) -> None:
    """List the models and what each one still needs here.

    With a NAME: that model, or the RobustBench models below it, such as robustbench/cifar10/Linf.
    """
    if name is not None and f"{name}/".startswith(ROBUSTBENCH):
        _print_robustbench(name, as_text)
        return
    if name is not None and is_own(name):
        raise UserError(f"{name} is your own model: nothing is known about it until it is loaded")
    found = [(card, availability(card)) for card in ([MODELS[name]] if name is not None else MODELS.values())]
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
        print_result(as_json(rows))
        return
    from advbench.report.terminal import print_table

    print_table(
        console(),
        "Models (clean: test accuracy; robust: accuracy under attack; ready: loads offline)",
        ["name", "data", "input", "clean", "robust", "ready", "needs"],
        [_row(card, there) for card, there in found],
    )


def _print_robustbench(name: str, as_text: bool) -> None:
    """Print the names that `--model` takes, one per line."""
    from advbench.models.sources.robustbench import listed

    found = listed(name)
    print_result(as_json([{"name": each} for each in found]) if as_text else "\n".join(found))


def _row(card: ModelCard, there: Availability) -> tuple[str, ...]:
    clean = "" if card.clean is None else f"{card.clean:.1%}"
    robust = "" if card.robust is None else f"{card.robust:.1%} {card.within}"
    ready = "yes" if there.ready else ""
    return card.name, card.data, str(card.input_size), clean, robust, ready, there.state


@click.command(cls=Command)
@click.argument("name", required=False, metavar="[NAME]")
@plugin_option()
@click.option("--json", "as_text", is_flag=True, help="Print a JSON array.")
def attacks(name: str | None, as_text: bool) -> None:
    """List the attacks with their norms and goals.

    With a NAME: everything about that attack, including its parameters and known faults.
    """
    if as_text:
        rows = [_facts(ATTACKS[name])] if name is not None else [_card(card) for card in ATTACKS.values()]
        print_result(as_json(rows))
    elif name is not None:
        _print_attack(ATTACKS[name])
    else:
        _print_attacks()


def _card(card: AttackCard) -> dict[str, Any]:
    shown = ("name", "source", "kind", "norms", "goals", "summary")
    return {name: getattr(card, name) for name in shown} | {"lacking": lacking(card)}


def _facts(card: AttackCard) -> dict[str, Any]:
    """All facts about an attack that are known without importing it."""
    known = parameters_of_card(card)
    facts = {"needs": [card.needs] if card.needs else [], "start": "", "mixes": "", "faults": []}
    facts |= {key: value for key, value in attack_facts().get(card.name, {}).items() if key in facts}
    return _card(card) | facts | {"parameters": None if known is None else [each._asdict() for each in known]}


def _print_attack(card: AttackCard) -> None:
    from advbench.report.terminal import print_table

    facts = _facts(card)
    lines = {
        "from": card.source,
        "kind": card.kind,
        "norms": ", ".join(card.norms),
        "goals": ", ".join(card.goals),
        "needs": ", ".join(facts["needs"]),
        "missing": facts["lacking"],
        "start": facts["start"] and f"foolbox/{facts['start']}, or what init_attack names",
        "alone": facts["mixes"] and f"it attacks one image at a time: {facts['mixes']}",
    }
    title = card.name if card.source.startswith("foolbox") else f"{card.name}: {card.summary}"
    out = console()
    out.print(title, style="bold", markup=False)
    print_table(out, "", ["", ""], [(key, text) for key, text in lines.items() if text])
    if known := facts["parameters"]:
        given = (
            "in a suite: params.NAME = VALUE" if card.name == UNIVERSAL else "--param NAME=VALUE; in a suite: params"
        )
        out.print(f"\nParameters ({given})", style="bold", markup=False)
        rows = [(each["name"], written(each["default"]), each["meaning"]) for each in known]
        print_table(out, "", ["name", "default", ""], rows)
    if faults := facts["faults"]:
        out.print("\nKnown faults (file and line in foolbox/attacks)", style="bold", markup=False)
        print_table(out, "", ["", ""], [("-", fault) for fault in faults])


def _print_attacks() -> None:
    from advbench.report.terminal import print_table

    cards = ATTACKS.values()
    foreign = [card for card in cards if card.source.startswith("foolbox")]
    corruptions = [card for card in cards if card.name.startswith(CORRUPTION)]
    others = (*foreign, *corruptions)
    own = [(c.name, c.kind, " ".join(c.norms), c.summary) for c in cards if c not in others]
    print_table(
        console(),
        "Attacks (all of them take any goal; `advbench attacks NAME` shows more)",
        ["name", "kind", "norms", ""],
        own,
    )
    title = '\nCorruptions of ImageNet-C (no eps; --param severity=1 to 5; in a suite: corruptions = ["all"])'
    print_table(console(), title, ["name", ""], [(c.name, c.summary) for c in corruptions])
    for kind in ("budget", "minimum norm"):
        theirs = [(c.name, " ".join(c.norms), c.summary) for c in foreign if c.kind == kind]
        print_table(console(), f"\nAttacks of Foolbox 3.3.4 ({kind})", ["name", "norms", "goals"], theirs)


@click.command(cls=Command)
@click.option("--json", "as_text", is_flag=True, help="Print a JSON array.")
def flags(as_text: bool) -> None:
    """List the trust flags: what each one checks for.

    E: do not use the number; F: doubt it until the flag is understood; I: good to know.
    """
    if as_text:
        print_result(as_json([{"id": name, **check._asdict()} for name, check in CHECKS.items()]))
        return
    from advbench.report.terminal import print_table

    title = 'Trust flags (a star: in full only with trust = "full" in a suite, or --trust full)'
    rows = [(f"{name}{'*' if check.full else ''}", check.severity, check.asks) for name, check in CHECKS.items()]
    print_table(console(), title, ["flag", "severity", "checks for"], rows)

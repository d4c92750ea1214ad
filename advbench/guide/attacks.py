"""Reference pages of the attacks: what the catalogue knows of each, and what its own docstring says."""

import ast
import inspect

from advbench.catalog import ATTACKS, CORRUPTION
from advbench.catalog.attack_facts import attack_costs, attack_facts
from advbench.catalog.cards import ANY, AttackCard
from advbench.catalog.parameters import written
from advbench.guide.docstrings import as_markdown
from advbench.guide.markdown import code, joined, plain, table
from advbench.guide.source import find

_SEARCH = {
    "many steps": "many steps, each guided by the model's answer to the last",
    "for transfer": "many steps, made so that other models are fooled too, at the cost of this one",
    "one step": "one step",
    "in one place": "many steps, in one part of the image alone",
    "blind": "changes that do not depend on the model",
}


_MANY = 5_000
"""Number of passes from which on they were not counted to the end."""


def _is_foreign(card: AttackCard) -> bool:
    return card.source.startswith("foolbox")


def body() -> str:
    """The attacks of the library."""
    corruptions = [card for card in ATTACKS.values() if card.name.startswith(CORRUPTION)]
    own = [card for card in ATTACKS.values() if not _is_foreign(card) and card not in corruptions]
    rows = [(f"[{c.name}](#{c.name})", c.kind, " ".join(c.norms), plain(c.summary)) for c in own]
    return joined(
        "Every attack works with every goal. An attack of the kind *budget* takes an eps; one of the kind *minimum "
        "norm* looks for the smallest perturbation. Costs are for the default parameters in the first norm; "
        "`advbench run SUITE --dry-run` computes those of your suite before anything is run. For Foolbox's attacks, "
        "see `advbench guide reference/foolbox`.",
        table(["attack", "kind", "norms", ""], rows),
        *map(_own, own),
        _corruptions(corruptions),
    )


def _corruptions(cards: list[AttackCard]) -> str:
    """All corruptions at once: they differ in nothing but what they do to an image."""
    module, _, name = cards[0].target.partition(":")
    node = find(module, name).node
    docstring = ast.get_docstring(node) if node else None
    return joined(
        "## Corruptions",
        table(["corruption", ""], [(code(card.name), plain(card.summary)) for card in cards]),
        as_markdown(inspect.cleandoc(docstring), leave_out=("Args", "Example")) if docstring else "",
        _parameters(cards[0]),
    )


def _parameters(card: AttackCard) -> str:
    rows = [
        (code(p["name"]), code(written(p["default"])), plain(p["meaning"]))
        for p in attack_facts()[card.name]["parameters"]
    ]
    return table(["parameter", "default", "meaning"], rows)


def _own(card: AttackCard) -> str:
    module, _, name = card.target.partition(":")
    node = find(module, name).node
    docstring = ast.get_docstring(node) if node else None
    lines = {
        "in Python": f"`attacks.{name}`" if card.source == "advbench" else "",
        "kind": card.kind,
        "norms": ", ".join(card.norms),
        "goals": "any" if card.goals == ANY else ", ".join(card.goals),
        "asks the model for": card.access or "",
        "searches by": _SEARCH.get(card.search or "", ""),
        "cost": _cost(card),
        "comes from": "" if card.source == "advbench" else card.source,
    }
    return joined(
        f"## {card.name}",
        f"**{plain(card.summary)}.**",
        table(["card", ""], [(key, text) for key, text in lines.items() if text]),
        as_markdown(inspect.cleandoc(docstring), leave_out=("Args", "Example")) if docstring else "",
        _parameters(card),
    )


def _cost(card: AttackCard) -> str:
    """The passes on an image that the attack cannot fool; empty if they have not been counted."""
    forwards, backwards = attack_costs().get(card.name, (0, 0))
    if forwards + backwards >= _MANY:
        return f"more than {_MANY:,} passes for an image that it cannot fool; fewer for others"
    parts = [f"{round(count):,} {what}" for count, what in ((forwards, "forward"), (backwards, "backward")) if count]
    return f"{' and '.join(parts)} passes for an image that it cannot fool; fewer for others" if parts else ""


def foolbox_body() -> str:
    """The attacks of Foolbox, with what is known to be wrong with each."""
    foreign = [card for card in ATTACKS.values() if _is_foreign(card)]
    facts = attack_facts()
    rows = [
        (code(c.name), c.kind, " ".join(c.norms), "any" if c.goals == ANY else ", ".join(c.goals), _needs(c))
        for c in foreign
    ]
    faults = [
        f"## {card.name.replace('/', ' ')}\n\n" + "\n".join(f"- {plain(fault)}" for fault in facts[card.name]["faults"])
        for card in foreign
        if facts[card.name]["faults"]
    ]
    return joined(
        f"{foreign[0].source} is included, and its attacks run under the same judge: `advbench attack --attack "
        f"{foreign[0].name}`. `advbench attacks NAME` lists the parameters of each. Known faults are listed below the "
        "table, with the file in `foolbox/attacks` and the line.",
        table(["attack", "kind", "norms", "goals", "note"], rows),
        *faults,
    )


def _needs(card: AttackCard) -> str:
    facts = attack_facts()[card.name]
    notes = [f"needs {', '.join(facts['needs'])}"] if facts["needs"] else []
    notes += [f"starts from {facts['start']}"] if facts["start"] else []
    notes += ["one image after the other"] if facts["mixes"] else []
    return "; ".join(notes)

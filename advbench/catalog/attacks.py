"""The table of attacks, built from the facts that they declare. Does not import torch."""

import importlib.util
from typing import Any

from advbench.catalog.attack_facts import attack_facts
from advbench.catalog.cards import AttackCard
from advbench.catalog.registry import Registry

DEFAULT_ATTACK = "topk"
"""The attack used if none is named."""
UNIVERSAL = "universal"
"""The attack that applies a perturbation from a file."""
CORRUPTION = "corruption/"
"""Prefix of the names of corruptions: attacks without an eps, which say nothing about the worst case."""
SET_ASIDE = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Corruptions that the benchmark leaves out of its mean."""
EXTRAS = {"numba": "brendel-bethge"}
"""Package -> the extra of advbench that installs it."""


def lacking(card: AttackCard) -> str:
    """The pip command for a package that an attack needs and that is not installed; empty if there is none."""
    if not card.needs or importlib.util.find_spec(card.needs):
        return ""
    return f'pip install "advbench[{EXTRAS[card.needs]}]"'


def _card(name: str, facts: dict[str, Any]) -> AttackCard:
    return AttackCard(
        name=name,
        target=facts["target"],
        arguments=tuple(facts["arguments"]),
        kind=facts["kind"],
        norms=tuple(facts["norms"]),
        goals=tuple(facts["goals"]),
        summary=facts["summary"],
        access=facts["access"],
        besides=tuple(facts["besides"]),
        search=facts["search"],
        source=facts["source"],
        needs=next((package for package in EXTRAS if package in facts["needs"]), ""),
    )


ATTACKS: Registry[AttackCard] = Registry("attack", {name: _card(name, facts) for name, facts in attack_facts().items()})
"""Every attack that runs by name; the default is `DEFAULT_ATTACK`."""


def corruptions(*, every: bool = True) -> tuple[str, ...]:
    """Names of the corruptions, without their prefix.

    Args:
        every: Whether to include those that the benchmark leaves out of its mean.

    Example:
        >>> len(corruptions()), corruptions(every=False)[-1]
        (19, 'jpeg_compression')
    """
    found = (name.removeprefix(CORRUPTION) for name in ATTACKS if name.startswith(CORRUPTION))
    return tuple(name for name in found if every or name not in SET_ASIDE)

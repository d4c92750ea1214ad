"""A copy of the facts that attacks declare, for code that must not import them. Does not import torch."""

import json
from functools import cache
from pathlib import Path
from typing import Any

ATTACK_FACTS = Path(__file__).with_name("attack_facts.json")
"""File with the facts, written by `python -m advbench.maintenance.attack_facts`."""
ATTACK_COSTS = ATTACK_FACTS.with_name("attack_costs.json")
"""File with the number of passes of each attack, written by the same command."""


@cache
def attack_facts() -> dict[str, dict[str, Any]]:
    """Name of an attack in the catalog -> its facts: everything that its card, its listing and the checks need.

    Example:
        >>> facts = attack_facts()["square"]
        >>> facts["access"], facts["search"], facts["norms"]
        ('scores', 'many steps', ['linf', 'l2'])
    """
    facts: dict[str, dict[str, Any]] = json.loads(ATTACK_FACTS.read_text(encoding="utf-8"))
    return facts


@cache
def attack_costs() -> dict[str, list[float]]:
    """Name of an attack in the library -> forward and backward passes on an image that it cannot fool.

    Counted with the attack's defaults in its first norm; a missing attack has not been counted.

    Example:
        >>> attack_costs()["pgd"]
        [41.0, 40.0]
    """
    costs: dict[str, list[float]] = json.loads(ATTACK_COSTS.read_text(encoding="utf-8"))
    return costs

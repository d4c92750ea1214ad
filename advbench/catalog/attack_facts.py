"""What attacks say of themselves, for those who cannot ask them: a copy. Imports no torch."""

import json
from functools import cache
from pathlib import Path
from typing import Any

ATTACK_FACTS = Path(__file__).with_name("attack_facts.json")
"""Written by `python -m advbench.maintenance.attack_facts`."""


@cache
def attack_facts() -> dict[str, dict[str, Any]]:
    """Name of an attack of the catalog -> what it asks of a model and how it searches.

    Of an attack of Foolbox also what it needs, its parameters and its known faults.

    Example:
        >>> attack_facts()["square"]
        {'access': 'scores', 'search': 'many steps'}
    """
    facts: dict[str, dict[str, Any]] = json.loads(ATTACK_FACTS.read_text(encoding="utf-8"))
    return facts

"""Generate the file of facts about the attacks: `python -m advbench.maintenance.attack_facts`.

The listing of attacks, and the checks of finished runs, must not wait for torch, so they read a copy; a test compares
the two.
"""

import json
from typing import Any

from advbench.catalog import UNIVERSAL
from advbench.catalog.attack_facts import ATTACK_FACTS
from attacks import ATTACKS
from attacks.foolbox import ROWS, TIME_LIMIT
from attacks.foolbox.parameters import complete
from attacks.foolbox.run import load
from attacks.universal.stored import StoredUniversal


def facts() -> dict[str, dict[str, Any]]:
    """Name, as in `advbench attacks NAME` -> what it asks of a model and how it searches.

    Of those of Foolbox also what they need, their parameters with their defaults, and their known faults.
    """
    own: dict[str, Any] = {**ATTACKS, UNIVERSAL: StoredUniversal}
    found = {name: {"access": attack.access, "search": attack.search} for name, attack in own.items()}
    return found | {
        f"foolbox/{name}": {
            "access": row.access,
            "search": row.search,
            "needs": list(row.needs),
            "start": row.start,
            "mixes": row.mixes,
            "parameters": complete(row, getattr(load().attacks, row.attack), {}) | {"time_limit": TIME_LIMIT},
            "faults": list(row.faults),
        }
        for name, row in ROWS.items()
    }


if __name__ == "__main__":
    ATTACK_FACTS.write_text(json.dumps(facts(), indent=1) + "\n", encoding="utf-8")

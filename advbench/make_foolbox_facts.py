"""Write down what `attacks.foolbox` knows of its attacks: `python -m advbench.make_foolbox_facts`.

The listing of attacks must not wait for torch, so it reads a copy; a test compares the two.
"""

import json
from typing import Any

from advbench.parameters import FOOLBOX_FACTS
from attacks.foolbox import ROWS, TIME_LIMIT
from attacks.foolbox.parameters import complete
from attacks.foolbox.run import load


def facts() -> dict[str, dict[str, Any]]:
    """Name, as in `advbench attacks NAME` -> what it needs, its parameters with their defaults, its known faults."""
    return {
        f"foolbox/{name}": {
            "needs": list(row.needs),
            "start": row.start,
            "mixes": row.mixes,
            "parameters": complete(row, getattr(load().attacks, row.attack), {}) | {"time_limit": TIME_LIMIT},
            "faults": list(row.faults),
        }
        for name, row in ROWS.items()
    }


if __name__ == "__main__":
    FOOLBOX_FACTS.write_text(json.dumps(facts(), indent=1) + "\n", encoding="utf-8")

"""Generate the file of facts about the attacks: `python -m advbench.maintenance.attack_facts`.

The command also counts the passes of the library's attacks, and adds new attacks to the suite `full`. The table of
attacks, their listing, and the checks of finished runs must not wait for torch, so they read a stored copy of the
facts; a test checks that it is current. If the copy cannot be read, for example after a conflict, replace it by `{}`
first.
"""

import ast
import dataclasses
import inspect
import itertools
import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from advbench.catalog.attack_facts import ATTACK_COSTS, ATTACK_FACTS
from advbench.catalog.cards import ANY
from advbench.config.goals import DEFAULT_LABEL_GOAL
from advbench.planning.cost.passes import count_passes
from attacks import ATTACKS
from attacks.corruptions import CORRUPTIONS, Corruption
from attacks.corruptions.corruption import CHANGES
from attacks.foolbox import ROWS, TIME_LIMIT
from attacks.foolbox.parameters import complete
from attacks.foolbox.row import ANY as EVERY
from attacks.foolbox.row import Row
from attacks.foolbox.run import load
from attacks.universal.stored import StoredUniversal

FULL = Path(str(files("advbench.config"))) / "suites" / "full.toml"
"""The suite with every attack, to which this command adds new ones."""
NOISE = "noise"


def facts() -> dict[str, dict[str, Any]]:
    """Name, as in `advbench attacks NAME` -> the attack's constructor, abilities, access, requirements and limits."""
    found = {name: own(attack) for name, attack in ATTACKS.items()}
    found["universal"] = own(StoredUniversal) | {"source": "a file"}
    found |= {f"corruption/{name}": _corruption(name) for name in CORRUPTIONS}
    return found | {f"foolbox/{name}": _foolbox(row) for name, row in ROWS.items()}


def costs() -> dict[str, list[float]]:
    """Name of a library attack -> forward and backward passes on an image that it cannot fool."""
    counted = {name: count_passes(name, own(attack)["norms"][0], "{}", ANY[0]) for name, attack in ATTACKS.items()}
    return {name: [passes.forwards, passes.backwards] for name, passes in counted.items()}


def own(attack: Any) -> dict[str, Any]:
    """The facts of a library attack.

    Args:
        attack: Class of the attack. Its summary is the first line of its module.

    Example:
        >>> from attacks import Square
        >>> own(Square)["target"], own(Square)["summary"]
        ('attacks.square:Square', 'Square attack: random search over square patches')
    """
    return {
        "target": f"{attack.__module__}:{attack.__name__}",
        "arguments": [],
        "kind": attack.kind,
        "norms": list(attack.norms),
        "goals": list(ANY),
        "summary": (sys.modules[attack.__module__].__doc__ or "").partition("\n")[0].removesuffix("."),
        "access": attack.access,
        "besides": list(getattr(attack, "besides", ())),
        "search": attack.search,
        "source": "advbench",
        "needs": [],
        "start": "",
        "mixes": "",
        "parameters": parameters(attack),
        "faults": [],
    }


def _foolbox(row: Row) -> dict[str, Any]:
    takes = "any" if row.goals == EVERY else ", ".join(row.goals)
    defaults = complete(row, getattr(load().attacks, row.attack), {}) | {"time_limit": TIME_LIMIT}
    return {
        "target": "attacks.foolbox:get",
        "arguments": [row.name],
        "kind": "budget" if row.kind == "budget" else "minimum norm",
        "norms": list(row.norms),
        "goals": list(ANY if row.goals == EVERY else row.goals),
        "summary": f"{takes}; needs numba" if "numba" in row.needs else takes,
        "access": row.access,
        "besides": [],
        "search": row.search,
        "source": f"foolbox {load().__version__}",
        "needs": list(row.needs),
        "start": row.start,
        "mixes": row.mixes,
        "parameters": [_parameter(name, default, "") for name, default in defaults.items()],
        "faults": list(row.faults),
    }


def _corruption(name: str) -> dict[str, Any]:
    """The facts of a corruption; its summary is the start of its function's docstring."""
    told = re.split(r"[;:.]", inspect.getdoc(CHANGES[name]) or "")[0]
    return own(Corruption) | {
        "arguments": [name],
        "goals": ["untargeted", DEFAULT_LABEL_GOAL],
        "summary": told,
        "source": "ImageNet-C",
    }


def parameters(attack: Any) -> list[dict[str, Any]]:
    """The fields of a library attack that can be written as text, in order.

    Args:
        attack: Class of the attack, a dataclass.

    Example:
        >>> from attacks import Noise
        >>> [each["name"] for each in parameters(Noise)]
        ['draws']
    """
    meanings = _meanings(attack)
    return [
        _parameter(field.name, field.default, meanings[field.name])
        for field in dataclasses.fields(attack)
        # images, norms and inner attacks cannot be given as text
        if field.init and isinstance(field.default, bool | int | float | str | None) and "Tensor" not in str(field.type)
    ]


def _parameter(name: str, default: object, meaning: str) -> dict[str, Any]:
    return {"name": name, "default": default, "meaning": meaning}


def _meanings(attack: Any) -> dict[str, str]:
    """The docstring of each field, as shown in a terminal; Python itself does not keep them."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(attack)).body if isinstance(node, ast.ClassDef))
    found = {}
    for node, after in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
            text = " ".join(str(ast.literal_eval(after.value)).split())
            found[node.target.id] = re.sub(r":\w+:`([^`]*)`", r"\1", text).replace("``", "")
    return found


def with_every_attack(suite: str) -> str:
    """The text of the suite `full`, with missing library attacks added with their defaults.

    Args:
        suite: Current text of the suite.

    Raises:
        ValueError: The list of attacks is not at its expected place.
    """
    wanted = [name for name in ATTACKS if name != NOISE]  # which is part of every run
    missing = [name for name in wanted if f'"{name}"' not in suite]
    before, mark, after = suite.partition("    # Foolbox's")
    if not mark:
        raise ValueError('expected the attacks of Foolbox under a comment that begins "# Foolbox\'s", got none')
    return before + "".join(f'    "{name}",\n' for name in missing) + mark + after


if __name__ == "__main__":
    ATTACK_FACTS.write_text(json.dumps(facts(), indent=1) + "\n", encoding="utf-8")
    ATTACK_COSTS.write_text(json.dumps(costs(), indent=1) + "\n", encoding="utf-8")
    FULL.write_text(with_every_attack(FULL.read_text(encoding="utf-8")), encoding="utf-8")

"""Names of attacks in reports, with their surrogates and distinguishing parameters. Does not import torch."""

import json
from collections.abc import Mapping, Sequence

from advbench.config.models.surrogate import SURROGATE
from advbench.sanitize import told_apart

FROM = " from "
"""Text between the name of an attack and the label of its surrogate."""
LONGEST_LABEL = 60
"""Most characters of an attack's label in a table; a longer one loses its middle."""


def made_on(params: str) -> str | None:
    """Label of the surrogate that an attack was made on; None: the model itself.

    Args:
        params: Parameters of the attack, as JSON.

    Example:
        >>> made_on('{"steps": 10, "surrogate": "vgg16"}'), made_on("{}")
        ('vgg16', None)
    """
    found = parameters(params).get(SURROGATE)
    return None if found is None else str(found)


def attack_labels(names: Sequence[tuple[str, str]]) -> list[str]:
    """Names of attacks; shared names are distinguished by the parameters in which the attacks differ.

    Where that is longer than `LONGEST_LABEL`, it is by as few parameters as suffice; labels that would still look the
    same once they are cut are numbered. So no two attacks look the same in a table.

    Args:
        names: Name and parameters (as JSON) of each attack.

    Example:
        >>> attack_labels([("pgd", '{"steps": 5}'), ("pgd", '{"steps": 9}'), ("bsr", '{"surrogate": "vgg16"}')])
        ['pgd (steps=5)', 'pgd (steps=9)', 'bsr from vgg16']
    """
    labels = []
    for attack, params in names:
        twins = [parameters(other) for name, other in names if name == attack]
        own = parameters(params)
        source = own.pop(SURROGATE, None)
        called = attack if source is None else f"{attack}{FROM}{source}"
        label = _with(called, own, [key for key in own if any(twin.get(key) != own[key] for twin in twins)])
        labels.append(label if len(label) <= LONGEST_LABEL else _with(called, own, _fewest(own, twins)))
    return told_apart(labels, limit=LONGEST_LABEL)


def _with(called: str, own: Mapping[str, object], keys: Sequence[str]) -> str:
    shown = ", ".join(f"{key}={own[key]}" for key in keys)
    return f"{called} ({shown})" if shown else called


def _fewest(own: Mapping[str, object], twins: Sequence[Mapping[str, object]]) -> list[str]:
    """A small set of parameters in which no twin is the same, in their own order."""
    chosen = set[str]()
    left = [twin for twin in twins if any(twin.get(key) != own[key] for key in own)]
    while left:
        key = max(own, key=lambda key: sum(twin.get(key) != own[key] for twin in left))
        chosen.add(key)
        left = [twin for twin in left if twin.get(key) == own[key]]
    return [key for key in own if key in chosen]


def parameters(params: str) -> dict[str, object]:
    """The parameters of an attack; a text that is not a JSON object counts as the only one.

    Example:
        >>> parameters('{"steps": 5}'), parameters("?")
        ({'steps': 5}, {'params': '?'})
    """
    try:
        found = json.loads(params)
    except ValueError:
        return {"params": params}
    return found if isinstance(found, dict) else {"params": params}

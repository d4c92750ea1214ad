"""Names of attacks in reports, with their surrogates and distinguishing parameters. Does not import torch."""

import json
from collections.abc import Sequence

from advbench.config.models.surrogate import SURROGATE

FROM = " from "
"""Text between the name of an attack and the label of its surrogate."""


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
        differing = [key for key in own if any(twin.get(key) != own[key] for twin in twins)]
        shown = ", ".join(f"{key}={own[key]}" for key in differing)
        called = attack if source is None else f"{attack}{FROM}{source}"
        labels.append(f"{called} ({shown})" if shown else called)
    return labels


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

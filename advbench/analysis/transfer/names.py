"""Names of attacks in a report: with what they were made on, and what tells those of one name apart. No torch."""

import json
from collections.abc import Sequence

from advbench.config.models.surrogate import SURROGATE

FROM = " from "
"""Between the name of an attack and the label of what it was made on."""


def made_on(params: str) -> str | None:
    """Label of what an attack was made on in place of the model; None: the model itself.

    Args:
        params: Its parameters, as JSON.

    Example:
        >>> made_on('{"steps": 10, "surrogate": "vgg16"}'), made_on("{}")
        ('vgg16', None)
    """
    found = parameters(params).get(SURROGATE)
    return None if found is None else str(found)


def attack_labels(names: Sequence[tuple[str, str]]) -> list[str]:
    """Names of attacks; those that several share are told apart by the parameters in which they differ.

    Args:
        names: Name and parameters, as JSON, of each.

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
    """The parameters of an attack; a text that is no JSON object counts as the only one.

    Example:
        >>> parameters('{"steps": 5}'), parameters("?")
        ({'steps': 5}, {'params': '?'})
    """
    try:
        found = json.loads(params)
    except ValueError:
        return {"params": params}
    return found if isinstance(found, dict) else {"params": params}

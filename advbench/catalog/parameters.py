"""The parameters of attacks: their names and defaults, and how a user sets them. Does not import torch."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from advbench.catalog.attack_facts import attack_facts
from advbench.catalog.cards import AttackCard
from advbench.catalog.registry import did_you_mean
from advbench.errors import UserError
from advbench.sanitize import display_name

Parameter = bool | int | float | str
"""A parameter value, as set in a suite or on the command line."""


class Known(NamedTuple):
    """A parameter of an attack."""

    name: str
    """Name of the parameter, as in `--param NAME=VALUE`."""
    default: Any
    """Default as a number, string or boolean; None if there is none; any other default as its source text."""
    meaning: str
    """Description in one line; empty if it has none."""


def parse_parameters(texts: Iterable[str]) -> dict[str, Parameter]:
    """Parse parameters from the command line, giving each the type that it would have in a suite.

    Args:
        texts: Parameters as `NAME=VALUE`; a value is written as in TOML, or as text without quotes.

    Raises:
        UserError: A text is not of that form, a name occurs twice, or a number is not finite.

    Example:
        >>> parse_parameters(["steps=200", "relative_step=0.1", "random_start=false", "loss=ce"])
        {'steps': 200, 'relative_step': 0.1, 'random_start': False, 'loss': 'ce'}
    """
    found: dict[str, Parameter] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and value and name.isidentifier()):
            raise UserError(f"--param '{display_name(text)}' is not of the form NAME=VALUE", hint="such as steps=50")
        if name in found:
            raise UserError(f"--param {name} is given twice", hint="leave one of them out")
        found[name] = read = _value(value)
        if isinstance(read, float) and not math.isfinite(read):
            raise UserError(f"--param {name}: {value} is not a finite number", hint=f"such as {name}=0.5")
    return found


def written(default: object) -> str:
    """A default value as one would type it behind `--param`.

    Example:
        >>> written(None), written(True), written(0.1)
        ('none', 'true', '0.1')
    """
    if default is None:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _value(text: str) -> Parameter:
    # Attacks print True and False in messages, as Python does; TOML writes them in lower case.
    text = text.lower() if text in ("True", "False") else text
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = read["value"]
    return value if len(read) == 1 and isinstance(value, Parameter) else text


def check_names(card: AttackCard, given: Mapping[str, object]) -> None:
    """Check that an attack has the given parameters.

    Args:
        card: Card of the attack.
        given: Name -> value of each parameter.

    Raises:
        UserError: The attack has no parameter of that name; the hint lists similar names and all parameters.
    """
    known = parameters_of_card(card)
    if known is None:
        return
    names = [parameter.name for parameter in known]
    for name in given:
        if name not in names:
            rest = f"parameters: {', '.join(names) or 'none'}; `advbench attacks {card.name}` explains them"
            raise UserError(
                f"attack {card.name} cannot be made with {dict(given)}: it has no parameter '{display_name(name)}'",
                hint=did_you_mean(name, names, rest),
            )


def parameters_of_card(card: AttackCard) -> tuple[Known, ...] | None:
    """The parameters of an attack that can be written as text; None for an attack that is not from the library.

    Example:
        >>> from advbench.catalog import ATTACKS
        >>> parameters_of_card(ATTACKS["fgsm"])[0].default, [each.name for each in parameters_of_card(ATTACKS["noise"])]
        ('ce', ['draws'])
    """
    if not card.target.startswith("attacks."):
        return None
    return tuple(Known(**parameter) for parameter in attack_facts()[card.name]["parameters"])

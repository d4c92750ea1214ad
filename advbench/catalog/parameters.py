"""The parameters of attacks: which there are, and how a person gives them. Imports no torch."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from advbench.catalog.attack_facts import attack_facts
from advbench.catalog.cards import AttackCard
from advbench.catalog.registry import near_misses
from advbench.errors import UserError
from advbench.sanitize import display_name

Parameter = bool | int | float | str
"""A parameter of an attack, as a suite or the command line gives it."""


class Known(NamedTuple):
    """A parameter that an attack has."""

    name: str
    """As in `--param NAME=VALUE`."""
    default: Any
    """A number, text or truth value; None where there is none; or what stands in the code, as text."""
    meaning: str
    """One line; empty where nobody wrote it down."""


def parse_parameters(texts: Iterable[str]) -> dict[str, Parameter]:
    """Parameters as a person gives them on the command line, each with the type that it would have in a suite.

    Args:
        texts: `NAME=VALUE` each; a value is one of TOML, or text without quotes.

    Raises:
        UserError: Another form, a name that occurs twice, or a number that is not finite.

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


def _value(text: str) -> Parameter:
    # What a message of an attack calls True or False is written in small letters in TOML.
    text = text.lower() if text in ("True", "False") else text
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = read["value"]
    return value if len(read) == 1 and isinstance(value, Parameter) else text


def check_names(card: AttackCard, given: Mapping[str, object]) -> None:
    """Check that an attack has the parameters that it is given.

    Args:
        card: Of the attack.
        given: Name -> value.

    Raises:
        UserError: It has no parameter of that name; the hint has its near misses and all that there are.
    """
    known = parameters_of_card(card)
    if known is None:
        return
    names = [parameter.name for parameter in known]
    for name in given:
        if name not in names:
            close = near_misses(name, names)
            guess = f"did you mean {', '.join(close)}? " if close else ""
            raise UserError(
                f"attack {card.name} cannot be made with {dict(given)}: it has no parameter '{display_name(name)}'",
                hint=f"{guess}parameters: {', '.join(names) or 'none'}; `advbench attacks {card.name}` explains them",
            )


def parameters_of_card(card: AttackCard) -> tuple[Known, ...] | None:
    """The parameters of an attack that can be written as text; None for one that comes from elsewhere.

    Example:
        >>> from advbench.catalog import ATTACKS
        >>> parameters_of_card(ATTACKS["fgsm"])[0].default, [each.name for each in parameters_of_card(ATTACKS["noise"])]
        ('ce', ['draws'])
    """
    if not card.target.startswith("attacks."):
        return None
    return tuple(Known(**parameter) for parameter in attack_facts()[card.name]["parameters"])

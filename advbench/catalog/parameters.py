"""The parameters of attacks: which there are, and how a person gives them. Imports no torch."""

import ast
import importlib.util
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
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
    given = attack_facts().get(card.name, {}).get("parameters")
    if given is not None:
        return tuple(Known(name, default, "") for name, default in given.items())
    module, _, attribute = card.target.partition(":")
    return _fields(module, attribute) if module.startswith("attacks.") else None


@cache
def _fields(module: str, name: str) -> tuple[Known, ...] | None:
    """The fields of a dataclass of the library, read from its code, because importing that would import torch."""
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        source = Path(spec.submodule_search_locations[0], *rest).with_suffix(".py").read_text(encoding="utf-8")
    except OSError:
        return None
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name]
    if not classes:
        return None
    body = classes[0].body
    found = []
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        # What is made by a call is a norm or an attack inside this one, which no text can give.
        if not isinstance(node.value, ast.Call) and "ClassVar[" not in ast.unparse(node.annotation):
            found.append(Known(node.target.id, _default(node.value), _meaning(after)))
    return tuple(found)


def _default(node: ast.expr | None) -> Any:
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _meaning(node: ast.stmt | None) -> str:
    """The docstring of a field, as it reads in a terminal."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)):
        return ""
    text = re.sub(r":\w+:`([^`]*)`", r"\1", " ".join(node.value.value.split()))
    return text.replace("``", "")

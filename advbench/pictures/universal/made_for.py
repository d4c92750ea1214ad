"""What the card of a perturbation or a patch says of its model and its goal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advbench.config.goals import GoalSpec, parse_goal
from advbench.config.model_description import Description, describe
from advbench.errors import UserError


def model_name(file: Path, card: Mapping[str, Any], named: str | None) -> str:
    """The model that a person names, or the one that something was made for.

    Args:
        file: File of the perturbation or the patch.
        card: Card of that file.
        named: Name of the model on the command line.

    Raises:
        UserError: Neither says one.
    """
    name = named or card.get("model")
    if not isinstance(name, str):
        raise UserError(f"{file} does not say for which model it is", hint="name one with --model")
    return name


def model_about(card: Mapping[str, Any], named: str | None, about: Description) -> Description:
    """What is said of the model: on the command line, or to the fit of the model that something was made for."""
    told = card.get("about")
    if named is not None or not isinstance(told, dict):
        return about
    # The file may come from a stranger, who must not decide what other files are read or run.
    told = {name: value for name, value in told.items() if not (name == "classes" and isinstance(value, str))}
    return about.over(describe(told).without("gradients_from"))


def goal_of(card: Mapping[str, Any]) -> GoalSpec:
    """The goal that something was made for."""
    return parse_goal(str(card.get("goal", "untargeted")))

"""What the card of a perturbation or a patch says of its model and its goal, and whether a model suits it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from advbench import __version__
from advbench.config.goals import GoalSpec, parse_goal
from advbench.config.model_description import Description, describe
from advbench.datasets.images.loader import files_digest
from advbench.errors import UserError
from advbench.evaluation.recording import short_digest
from advbench.models.classifier import Classifier
from advbench.models.trial import input_of
from advbench.planning.identity.run import model_digest


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


ANY = 64
"""Side of a picture for a model that takes all sizes, pixels."""


def check_channels(file: Path, channels: int, model: Classifier, *, hint: str) -> None:
    """Check that a model takes images with as many colour channels as something has.

    Args:
        file: File of the perturbation or the patch.
        channels: Number of its colour channels.
        model: Classifier that it is to be used on.
        hint: What to do otherwise.

    Raises:
        UserError: It does not.
    """
    height, width = model.sides(otherwise=ANY)
    taken = len(input_of(model, Image.new("RGB", (width, height))))
    if channels != taken:
        raise UserError(f"{file} has {channels} colour channels, and {model.name} takes {taken}", hint=hint)


def what_decides(config: Any, names: Sequence[str], model: Classifier, paths: Sequence[Path]) -> dict[str, Any]:
    """What decides a fit, as the JSON of a card holds it.

    Args:
        config: What is asked for, with a goal and the description of a model.
        names: Its fields that are kept as they are.
        model: Classifier that it is made for.
        paths: All of its pictures.
    """
    given = {name: getattr(config, name) for name in names}
    given |= {"about": said} if (said := config.about.said()) else {}
    return given | {
        "goal": str(config.goal),
        "weights": model_digest(model),
        "data": files_digest(paths) if config.data is None else short_digest(str(config.data), *map(str, paths)),
        "pictures": len(paths),
        "advbench": __version__,
    }

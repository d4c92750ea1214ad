"""What the card of a perturbation or patch says: its model and goal, and which fit it is the result of."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from advbench import __version__
from advbench.config.goals import GoalSpec, parse_goal
from advbench.config.model_description import Description, describe
from advbench.datasets.images.loader import files_digest
from advbench.errors import UserError, reason
from advbench.evaluation.recording import short_digest
from advbench.models.classifier import Classifier
from advbench.models.trial import input_of
from advbench.pictures.universal.options import Fit
from advbench.pictures.universal.streams import Loaded
from advbench.planning.identity.run import differences, model_digest


def model_name(file: Path, card: Mapping[str, Any], named: str | None) -> str:
    """The model that the user names, or the one that a perturbation or patch was made for.

    Args:
        file: File of the perturbation or the patch.
        card: Card of that file.
        named: Name of the model on the command line.

    Raises:
        UserError: Neither names a model.
    """
    name = named or card.get("model")
    if not isinstance(name, str):
        raise UserError(f"{file} does not say which model it is for", hint="name one with --model")
    return name


def model_about(card: Mapping[str, Any], named: str | None, about: Description) -> Description:
    """Description of the model: from the command line, or from the fit if its own model is used."""
    told = card.get("about")
    if named is not None or not isinstance(told, dict):
        return about
    # The file may come from a stranger, who must not decide which other files are read or run.
    told = {name: value for name, value in told.items() if not (name == "classes" and isinstance(value, str))}
    return about.over(describe(told).without("gradients_from"))


def goal_of(card: Mapping[str, Any]) -> GoalSpec:
    """The goal that a perturbation or patch was made for."""
    return parse_goal(str(card.get("goal", "untargeted")))


ANY = 64
"""Side of a picture for a model that accepts all sizes, pixels."""


def check_channels(file: Path, channels: int, model: Classifier, *, hint: str) -> None:
    """Check that a model accepts images with the number of colour channels of a perturbation or patch.

    Args:
        file: File of the perturbation or the patch.
        channels: Number of its colour channels.
        model: Classifier that it is to be used on.
        hint: Advice if it does not.

    Raises:
        UserError: It does not.
    """
    height, width = model.sides(otherwise=ANY)
    taken = len(input_of(model, Image.new("RGB", (width, height))))
    if channels != taken:
        raise UserError(f"{file} has {channels} colour channels, and {model.name} takes {taken}", hint=hint)


def what_decides(fit: Fit, parameters: Mapping[str, Any], loaded: Loaded) -> dict[str, Any]:
    """Everything that decides a fit, as plain JSON values for its card.

    Args:
        fit: Options of the fit.
        parameters: What else the result depends on, such as the size of the perturbation.
        loaded: The model and the pictures.
    """
    paths = loaded.chosen.pictures
    given = {"model": fit.model, **parameters, "steps": fit.steps, "batch_size": fit.batch_size, "seed": fit.seed}
    given |= {"about": said} if (said := fit.about.said()) else {}
    return given | {
        "goal": str(fit.goal),
        "fraction_held_out": fit.held_out,  # `held_out` is what was measured there
        "weights": model_digest(loaded.model),
        "data": files_digest(paths) if fit.data is None else short_digest(str(fit.data), *map(str, paths)),
        "pictures": len(paths),
        "advbench": __version__,
    }


_RESULTS = ("fitted_to", "held_out")
"""Entries of a card that say what came of a fit, not how it was made."""


def refuse_another(file: Path, about: Mapping[str, Any], load: Callable[[Path], Any]) -> None:
    """Refuse to fit into a folder that already holds the result of another fit.

    The same fit may be repeated, and replaces its own result.

    Args:
        file: File that the fit will write; it need not exist.
        about: Everything that decides the fit, from :func:`what_decides`.
        load: Reads such a file; what it returns has a `card`, which is ``about`` and the results.

    Raises:
        UserError: The file is the result of another fit, or cannot be read.
    """
    if not file.exists():
        return
    elsewhere = "choose another folder with --out, or move this one away"
    try:
        card = load(file).card
    except (OSError, ValueError) as error:
        raise UserError(f"cannot tell which fit {file} is from: {reason(error)}", hint=elsewhere) from None
    old = {name: value for name, value in card.items() if name not in _RESULTS}
    if changed := differences(old, json.loads(json.dumps(about))):
        raise UserError(f"{file.parent} holds the result of another fit", hint="\n".join([*changed, elsewhere]))

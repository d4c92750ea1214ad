"""The units of the trust checks: for every model, and with `trust = "full"` for every attack too."""

import json
from collections.abc import Iterable

from advbench.config.suite import Suite
from advbench.errors import UserError
from advbench.evaluation.attack_factory import MAX_PASSES, make_attack
from advbench.evaluation.checks.attack import most_passes as most_passes_of_attack
from advbench.evaluation.checks.data import most_passes as most_passes_of_data
from advbench.evaluation.checks.model import ASKED
from advbench.evaluation.checks.model import most_passes as most_passes_of_model
from advbench.planning.cells import NOISE, PlannedAttack
from attacks import Attack

CHECKED = 64
"""Largest number of images of a data set used by the trust checks."""
_STEPS = ("steps", "iterations", "max_iter", "rounds", "queries", "draws", MAX_PASSES)
"""Parameters that set the length of an attack's search."""


def few(count: int, most: int) -> range:
    """Rows of the images used by the checks, evenly spaced: the first ones may all be of one class.

    Example:
        >>> few(100, most=4)
        range(0, 100, 25)
    """
    return range(0, count, -(-count // most))


def passes_of_checks(count: int, *, labelled: bool, twin: bool) -> float:
    """Most passes of the checks of a model, per image.

    Args:
        count: Number of images that the checks use.
        labelled: Whether the images have labels.
        twin: Whether the model takes its gradients from a twin.
    """
    passes = most_passes_of_model(min(count, ASKED), twin=twin) + (most_passes_of_data(count) if labelled else 0)
    return passes / count


def tried_further(suite: Suite, cells: Iterable[PlannedAttack]) -> list[PlannedAttack]:
    """The attacks that are also tried in other ways: with full trust, those within an eps on the model itself."""
    if suite.trust != "full":
        return []
    return [
        cell
        for cell in cells
        if cell.eps is not None and cell.attack != NOISE and cell.surrogate is None
        if not (cell.takes_starts or cell.takes_fit)
    ]


def passes_of_trial(cell: PlannedAttack, count: int) -> float:
    """Most passes of the checks of an attack, per image.

    Args:
        cell: Attack that is tried.
        count: Number of images on which it is tried.
    """
    return most_passes_of_attack(cell.passes.total, count) / count


def longer(name: str, norm: str, params: str) -> Attack | None:
    """An attack with twice as many steps; None if it has no parameter for their number.

    Args:
        name: Registry name of the attack.
        norm: Norm in which it works.
        params: Its parameters, as JSON.

    Example:
        >>> longer("pgd", "linf", '{"steps": 7}').steps, longer("fgsm", "linf", "{}")
        (14, None)
    """
    known = json.loads(params)
    doubled = {key: 2 * value for key in _STEPS if isinstance(value := known.get(key), int) and value}
    try:
        return make_attack(name, norm, known | doubled) if doubled else None
    except UserError:  # it does not allow that many
        return None

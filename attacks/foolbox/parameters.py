"""The parameters of Foolbox's classes, and their permitted values."""

import difflib
import inspect
import math
from collections.abc import Mapping
from numbers import Integral, Real
from types import NoneType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from attacks.foolbox.row import Row
from attacks.foolbox.table import ROWS

# The norm stands for the first two; images are (N, C, H, W); the last writes files and needs tensorboardX.
_DECIDED = ("distance", "constraint", "channel_axis", "tensorboard")

_LEAST = {"candidates": 2}
"""Smallest values of counts that do not start from 1."""
_SHARES = frozenset({"target", "quantile", "threshold", "mutation_probability", "adam_beta1", "adam_beta2"})
"""Parameters that are numbers from 0 to 1."""
_FROM_0 = _SHARES | {
    "confidence",
    "max_rotation",
    "max_translation",
    "min_stepsize",
    "momentum",
    "mutation_range",
    "overshoot",
    "regularization",
    "source_step_convergance",
}
"""Parameters that may be 0; other numbers must be positive."""


def complete(row: Row, attack: type, given: Mapping[str, object]) -> dict[str, object]:
    """All parameters of one of Foolbox's attacks.

    Args:
        row: Row of the attack.
        attack: Foolbox's class of that attack.
        given: Parameters that override the defaults.

    Raises:
        ValueError: ``expected ..., got ...`` for an unknown parameter or a value of the wrong type.

    Example:
        >>> from attacks.foolbox.run import load
        >>> complete(ROWS["l2-deepfool"], load().attacks.L2DeepFoolAttack, {"steps": 9})
        {'steps': 9, 'candidates': 10, 'overshoot': 0.02, 'loss': 'logits'}
    """
    known = {
        name: row.defaults.get(name, parameter.default)
        for name, parameter in inspect.signature(attack).parameters.items()
        if name not in _DECIDED
    }
    if row.start:
        known.setdefault("init_attack", None)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ValueError(
                f"expected parameters of foolbox/{row.name}: {', '.join(known) or 'none'}, got {name!r}"
                + (f": did you mean {close[0]}?" if close else "")
            )
    hints = get_type_hints(attack.__init__) if known else {}  # type: ignore[misc]
    for name, value in given.items():
        if name == "init_attack":
            _check_start(row, value)
        elif not _fits(value, hints[name], name):
            wanted = _wanted(hints[name], name)
            raise ValueError(f"expected {name} of foolbox/{row.name} to be {wanted}, got {value!r}")
    # NumPy numbers could not be written to a record.
    return known | {name: value.item() if hasattr(value, "item") else value for name, value in given.items()}


def check_time_limit(seconds: object) -> None:
    """Check the time limit of an attack.

    Raises:
        ValueError: ``expected ..., got ...``

    Example:
        >>> check_time_limit(0)
        Traceback (most recent call last):
        ValueError: expected time_limit > 0, got 0
    """
    if isinstance(seconds, bool) or not (isinstance(seconds, Real) and float(seconds) > 0):
        raise ValueError(f"expected time_limit > 0, got {seconds!r}")


def _check_start(row: Row, value: object) -> None:
    able = [r.name for r in ROWS.values() if r.kind == "minimum norm" and "starting points" not in r.needs]
    if value is not None and value not in able:
        close = difflib.get_close_matches(str(value), able, n=1)
        raise ValueError(
            f"expected init_attack of foolbox/{row.name} to be one of {', '.join(able)}, got {value!r}"
            + (f": did you mean {close[0]}?" if close else "")
        )


def _fits(value: object, hint: Any, name: str) -> bool:
    """Whether a value matches a type hint of Foolbox, and is within the parameter's range."""
    if get_origin(hint) is Union:
        return any(_fits(value, each, name) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return isinstance(value, tuple | list) and len(value) == len(parts) and all(_fits(v, int, name) for v in value)
    if isinstance(value, bool):
        return hint is bool
    if hint is int:
        return isinstance(value, Integral) and int(value) >= _LEAST.get(name, 1)
    if hint is float:
        return isinstance(value, Real) and _in_range(float(value), name)
    return value is None and hint is NoneType


def _in_range(value: float, name: str) -> bool:
    return (
        math.isfinite(value) and (value > 0 or (value == 0 and name in _FROM_0)) and not (name in _SHARES and value > 1)
    )


def _wanted(hint: Any, name: str) -> str:
    """A type hint and the range of a parameter in words."""
    if get_origin(hint) is Union:
        return " or ".join(_wanted(each, name) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"{len(get_args(hint))} whole numbers from 1"
    if hint is float:
        return (
            "a number from 0 to 1" if name in _SHARES else f"a finite number {'from' if name in _FROM_0 else 'above'} 0"
        )
    return {int: f"a whole number from {_LEAST.get(name, 1)}", bool: "True or False", NoneType: "None"}[hint]

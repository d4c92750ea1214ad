"""The parameters of Foolbox's classes: which there are, what they may be."""

import difflib
import inspect
import math
from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from attacks.foolbox.row import Row
from attacks.foolbox.table import ROWS

# The norm stands for the first two; images are (N, C, H, W); the last writes files and needs tensorboardX.
_DECIDED = ("distance", "constraint", "channel_axis", "tensorboard")


def complete(row: Row, attack: type, given: Mapping[str, object]) -> dict[str, object]:
    """All parameters of one of Foolbox's attacks.

    Args:
        row: Of the attack.
        attack: Foolbox's class.
        given: Those that are not to have their defaults.

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
        elif not _fits(value, hints[name]):
            raise ValueError(f"expected {name} of foolbox/{row.name} to be {_wanted(hints[name])}, got {value!r}")
    return known | dict(given)


def _check_start(row: Row, value: object) -> None:
    able = [r.name for r in ROWS.values() if r.kind == "minimum norm" and "starting points" not in r.needs]
    if value is not None and value not in able:
        raise ValueError(f"expected init_attack of foolbox/{row.name} to be one of {', '.join(able)}, got {value!r}")


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is what a type hint of Foolbox means; whole numbers are counts, from 1."""
    if get_origin(hint) is Union:
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return isinstance(value, tuple | list) and len(value) == len(parts) and all(map(_fits, value, parts))
    if isinstance(value, bool):
        return hint is bool
    if hint is int:
        return isinstance(value, int) and value >= 1
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return value is None and hint is NoneType


_WORDS = {int: "a whole number from 1", float: "a finite number", bool: "True or False", NoneType: "None"}


def _wanted(hint: Any) -> str:
    """A type hint in words."""
    if get_origin(hint) is Union:
        return " or ".join(map(_wanted, get_args(hint)))
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"{len(get_args(hint))} whole numbers from 1"
    return _WORDS[hint]

"""Validates the manifest of a run, which anybody may edit, and names what was not run. Does not import torch."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from advbench.config.fields import AS_IT_WAS
from advbench.config.suite import Suite
from advbench.sanitize import count_of, display_name

MISFITS = "misfits"
"""Key of the manifest for the pairs of a model and a data set that do not fit together."""
_FEW = 3
"""Pairs that are named where many are not run for the same reason."""


class Misfit(NamedTuple):
    """A model and a data set of a suite that do not fit together, so that nothing is run on them."""

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set."""
    why: str
    """Why they do not fit, in words."""


def misfits_in(manifest: Mapping[str, Any]) -> tuple[Misfit, ...]:
    """The pairs that a run did not take; none in a run of a version that did not store them.

    Args:
        manifest: Manifest of the run.

    Raises:
        ValueError: They are not pairs with a reason.

    Example:
        >>> misfits_in({"misfits": [["lenet", "cifar10", "the model is for other data"]]})[0].dataset
        'cifar10'
    """
    found = []
    for each in manifest.get(MISFITS, ()):
        if not isinstance(each, list) or len(each) != 3 or not all(isinstance(text, str) for text in each):
            raise ValueError(f"expected {MISFITS} to be triples of texts, got {each!r:.80}")
        found.append(Misfit(*each))
    return tuple(found)


def describe_misfits(misfits: Iterable[Misfit]) -> list[str]:
    """The pairs that are not run, one sentence for each reason; the first few of many are named.

    Args:
        misfits: Pairs that do not fit together.

    Example:
        >>> describe_misfits([Misfit("lenet", "cifar10", "the model is for other data")])
        ['not run: lenet on cifar10 (the model is for other data)']
    """
    reasons: dict[str, list[str]] = {}
    for misfit in misfits:
        pair = f"{display_name(misfit.model)} on {display_name(misfit.dataset)}"
        reasons.setdefault(misfit.why, []).append(pair)
    return [f"not run: {_named(pairs)} ({display_name(why, limit=300)})" for why, pairs in reasons.items()]


def _named(pairs: list[str]) -> str:
    few = pairs if len(pairs) <= _FEW + 1 else pairs[:_FEW]
    more = f" and {count_of(len(pairs) - len(few), 'other pair')}" if len(few) < len(pairs) else ""
    return f"{', '.join(few)}{more}"


_KINDS: dict[str, tuple[Any, str]] = {
    "run_id": (str, "a text"),
    "status": (str, "a text"),
    "started": (int | float, "a number"),
    "finished": (int | float, "a number"),
    "suite": (Mapping, "a table"),
    **dict.fromkeys(("identity", "environment", "versions", "classes", "notes", "halved"), (Mapping, "a table")),
    "spared": (list, "a list"),
    MISFITS: (list, "a list"),
}
"""Key -> type of its value, and the type in words."""
_NEEDED = ("run_id", "suite")
_LATEST = 253_402_300_800
"""Timestamp of the start of the year 10,000, which no date can represent, seconds."""


def version_of(manifest: Any) -> int:
    """The version of the format in a manifest.

    Raises:
        ValueError: It is not a manifest.

    Example:
        >>> version_of({"format": 2})
        2
    """
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise ValueError("it is not the manifest of a run: it has no format")
    return found


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Check that a manifest contains everything that its readers rely on.

    Raises:
        ValueError: A key is missing, its value has the wrong type, or the suite is invalid.

    Example:
        >>> check_manifest({"run_id": "ab", "suite": {}, "identity": None})
        Traceback (most recent call last):
        ValueError: expected identity to be a table, got None
    """
    for name in _NEEDED:
        if name not in manifest:
            raise ValueError(f"expected {name}, got none")
    for name, (kind, word) in _KINDS.items():
        value = manifest.get(name)
        if name in manifest and (not isinstance(value, kind) or isinstance(value, bool)):
            raise ValueError(f"expected {name} to be {word}, got {value!r:.80}")
        if isinstance(value, int | float) and not 0 <= value < _LATEST:
            raise ValueError(f"expected {name} to be a time in seconds, got {value}")
    identity = manifest.get("identity", {})
    for name in ("plugins", "models"):
        if not isinstance(identity.get(name, {}), Mapping):
            raise ValueError(f"expected identity.{name} to be a table, got {identity[name]!r:.80}")
    misfits_in(manifest)
    try:
        Suite.model_validate(manifest["suite"], context=AS_IT_WAS)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"its suite is invalid: {where}: {first['msg'].removeprefix('Value error, ')}") from None

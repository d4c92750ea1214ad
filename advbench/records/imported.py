"""Results that other verifiers proved for the images of a run, stored in its folder. Does not import torch."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from advbench.errors import UserError
from advbench.records.record import OK, PROOF
from advbench.records.run_folder import RunFolder
from advbench.records.storage.atomic import write_atomic
from advbench.records.storage.checksum import BLANK, is_intact, sealed
from advbench.records.unit import digest

_KEY = ("model", "dataset", "goal", "norm", "eps", "sample_id")


def property_name(row: Mapping[str, Any]) -> str:
    """Name of the property to prove for a row: a digest of model, data set, goal, norm, eps and image.

    Example:
        >>> row = {"model": "m", "dataset": "d", "goal": "untargeted", "norm": "linf", "eps": 0.1, "sample_id": "ff"}
        >>> len(property_name(row)), property_name(row) == property_name(row | {"eps": 0.2})
        (16, False)
    """
    return digest({name: float(row[name]) if name == "eps" else str(row[name]) for name in _KEY}, digits=16)


def read_imported(files: RunFolder) -> dict[str, str]:
    """Name of each property that another verifier proved -> name of the verifier.

    Raises:
        UserError: The file was changed.
    """
    try:
        content = files.imported.read_bytes()
    except FileNotFoundError:
        return {}
    if not is_intact(content):
        raise UserError(f"{files.imported} was truncated or changed", hint="move it away and import again")
    found: dict[str, str] = json.loads(content)["proved"]
    return found


def add_imported(files: RunFolder, names: Iterable[str], verifier: str) -> None:
    """Add properties that a verifier proved.

    Raises:
        UserError: The file cannot be written, or was changed.
    """
    proved = read_imported(files) | dict.fromkeys(names, verifier)
    content = json.dumps({"seal": BLANK, "proved": proved}, indent=1).encode()
    write_atomic(files.imported, sealed(content))


def with_imported(frame: Any, proved: Mapping[str, str]) -> Any:
    """Add the results of other verifiers to the frame of a run, marked with their names.

    Args:
        frame: Rows of the run.
        proved: Result of :func:`read_imported`.
    """
    if not proved:
        return frame
    places = [
        (place, verifier)
        for place, row in frame[(frame["attack"] == PROOF) & (frame["status"] == OK)].iterrows()
        if (verifier := proved.get(property_name(row))) and row["proved"] != True  # noqa: E712 - may be missing
    ]
    methods = frame["proof_method"].astype(object)
    for place, verifier in places:
        frame.loc[place, "proved"] = True
        methods.loc[place] = verifier
    frame["proof_method"] = methods.astype("category")
    return frame

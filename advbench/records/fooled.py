"""Images that need no proof, from the rows of a run's attacks: wrong when clean, or fooled. Does not import torch."""

from collections.abc import Sequence
from typing import Any

from advbench.errors import UserError
from advbench.records.record import largest_size
from advbench.records.run_folder import RunFolder
from advbench.records.stored_run import read_rows
from advbench.records.unit import Unit


class Fooled:
    """The images that a run's attacks fooled; the rows of each threat are read once.

    Args:
        folder: Folder of the run, in which all attacks are finished.
        units: Units of its plan.

    Example:
        >>> from pathlib import Path
        >>> unit = Unit(unit_id="ab", task="prove", model="m", dataset="d", samples=(0,), sample_ids=("ff",), eps=0.1)
        >>> Fooled(RunFolder(Path("no such folder")), [unit]).among(unit)
        frozenset()
    """

    def __init__(self, folder: RunFolder, units: Sequence[Unit]) -> None:
        self._folder = folder
        self._attacks: dict[tuple[str, ...], list[Unit]] = {}
        for unit in units:
            if unit.task == "attack":
                self._attacks.setdefault(unit.threat, []).append(unit)
        self._known: tuple[tuple[str, ...], dict[str, float]] | None = None

    def among(self, unit: Unit) -> frozenset[str]:
        """Ids of the images of a proof unit that are wrong when clean, or fooled by a perturbation within its eps.

        Raises:
            UserError: The rows of an attack on the same threat are missing or damaged.
        """
        if unit.eps is None or unit.threat not in self._attacks:
            return frozenset()
        sizes = self._sizes(unit.threat, unit.norm)
        bound = largest_size(unit.eps)
        return frozenset(name for name in unit.sample_ids if sizes.get(name, float("inf")) <= bound)

    def _sizes(self, threat: tuple[str, ...], norm: str) -> dict[str, float]:
        """Id of an image -> size of the smallest perturbation that fooled it; 0 if it is wrong when clean."""
        known = self._known  # threads that serve other workers may change it concurrently
        if known is not None and known[0] == threat:
            return known[1]
        table, missing = read_rows(self._folder, self._attacks[threat])
        if missing:
            raise UserError(f"the rows of unit {next(iter(missing))} are needed: {next(iter(missing.values()))}")
        rows = table.select(["sample_id", "label", "clean_class", "met", norm]).to_pylist()
        sizes = _smallest(rows, norm)
        self._known = threat, sizes
        return sizes


def _smallest(rows: Sequence[dict[str, Any]], norm: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        wrong = None not in (row["label"], row["clean_class"]) and row["label"] != row["clean_class"]
        size = 0.0 if wrong else row[norm] if row["met"] and row[norm] is not None else float("inf")
        found[row["sample_id"]] = min(size, found.get(row["sample_id"], float("inf")))
    return found

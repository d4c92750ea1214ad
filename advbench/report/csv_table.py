"""The numbers of a run as CSV, for a spreadsheet."""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from advbench.analysis.compare import CORRUPTIONS
from advbench.analysis.corruptions.errors import CorruptionResults, classified_right
from advbench.analysis.metrics import as_frame
from advbench.catalog.attacks import CORRUPTION
from advbench.records.storage.tables import guarded

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun


def as_csv(verdict: "Verdict", _run: "StoredRun") -> str:
    """The numbers of a run, a row each; an apostrophe guards texts that a spreadsheet would run as a formula.

    Corruptions come after the attacks: a row for each at each severity, whose robust images are those that are then
    classified right.

    Args:
        verdict: Verdict on the run.
    """
    analysis = verdict.analysis
    table = pd.concat([as_frame(analysis.cells), pd.DataFrame(_corrupted(analysis.corruptions))], ignore_index=True)
    texts = table.select_dtypes(["object", "string"]).columns
    guards = {name: table[name].map(guarded, na_action="ignore") for name in texts}
    text: str = table.assign(**guards).to_csv(index=False)
    return text


def _corrupted(found: Iterable[CorruptionResults]) -> Iterator[dict[str, Any]]:
    """A row for each corruption at each severity, under the names of the other columns."""
    for each in found:
        clean = classified_right(each.clean)
        for name, levels in each.errors.items():
            for severity, error in levels.items():
                shares = {"clean": clean, "robust": classified_right(error)}
                yield {
                    "model": each.model,
                    "dataset": each.dataset,
                    "goal": CORRUPTIONS,
                    "attack": f"{CORRUPTION}{name}",
                    "params": json.dumps({"severity": severity}),
                    **{f"{key}_{part}": value for key, own in shares.items() for part, value in own.as_dict().items()},
                    "relative": each.relative,
                }

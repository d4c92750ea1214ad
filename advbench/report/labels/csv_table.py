"""The rates of each label as CSV, for a spreadsheet."""

import csv
import io
from typing import TYPE_CHECKING

from advbench.analysis.labels.rates import FLAT, flat
from advbench.records.storage.tables import guarded

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun


def as_csv(verdict: "Verdict", _run: "StoredRun") -> str:
    """The rates of each label of a run, a row each; the heading alone where every model has one class for each image.

    Args:
        verdict: Verdict on the run.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(FLAT)
    for row in flat(verdict.analysis.label_tables):
        rows.writerow(guarded(cell) if isinstance(cell, str) else cell for cell in row)
    return text.getvalue()

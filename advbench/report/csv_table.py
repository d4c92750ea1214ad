"""The numbers of a run as CSV, for a spreadsheet."""

from typing import TYPE_CHECKING

from advbench.analysis.metrics import as_frame
from advbench.records.storage.tables import guarded

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun


def as_csv(verdict: "Verdict", _run: "StoredRun") -> str:
    """The numbers of a run, a row each; an apostrophe guards texts that a spreadsheet would run as a formula.

    Args:
        verdict: Verdict on the run.
    """
    table = as_frame(verdict.analysis.cells)
    texts = table.select_dtypes(["object", "string"]).columns
    guards = {name: table[name].map(guarded, na_action="ignore") for name in texts}
    text: str = table.assign(**guards).to_csv(index=False)
    return text

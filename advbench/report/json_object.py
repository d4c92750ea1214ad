"""The verdict on a run as one JSON object."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun


def as_json(verdict: "Verdict", run: "StoredRun") -> str:
    """The verdict, the flags and the numbers of a run as one JSON object in ASCII, with a newline at the end.

    Args:
        verdict: Verdict on the run.
        run: The stored run, for its id, suite and folder.
    """
    named = {"run_id": run.manifest["run_id"], "suite": run.suite.name, "folder": str(run.folder)}
    return json.dumps(named | verdict.as_dict(), indent=2, allow_nan=False) + "\n"

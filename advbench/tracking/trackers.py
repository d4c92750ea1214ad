"""The table of experiment trackers. Their packages are imported only when a run is sent."""

import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from advbench.catalog.registry import resolve
from advbench.errors import UserError, not_installed
from advbench.records.run_folder import RunFolder

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun


class Tracker(NamedTuple):
    """One experiment tracker."""

    target: str
    """"module:attr" of a function `(entry) -> str` that stores an entry and returns its location."""
    package: str
    """Name of the package, which is also that of its module."""
    help: str
    """Destination of entries, in a few words."""


TRACKERS = {
    "mlflow": Tracker("advbench.tracking.to_mlflow:keep", "mlflow", "to MLFLOW_TRACKING_URI, else a local store"),
    "wandb": Tracker(
        "advbench.tracking.to_wandb:keep", "wandb", "to Weights & Biases; WANDB_MODE=offline keeps it here"
    ),
    "trackio": Tracker("advbench.tracking.to_trackio:keep", "trackio", "to a local dashboard, or TRACKIO_SPACE_ID"),
}
"""Name, as in `advbench run --track NAME` and as the name of the extra -> tracker."""


def describe_trackers() -> str:
    """All trackers in one sentence.

    Example:
        >>> describe_trackers().partition(";")[0]
        'mlflow: to MLFLOW_TRACKING_URI, else a local store'
    """
    return "; ".join(f"{name}: {tracker.help}" for name, tracker in TRACKERS.items()) + "."


def refuse_without_package(name: str) -> None:
    """Check before a run that its tracker will be importable at the end.

    Args:
        name: One of `TRACKERS`.

    Raises:
        UserError: Its package is not installed.
    """
    found = importlib.util.find_spec(TRACKERS[name].package)
    if found is None or found.origin is None:  # a folder of that name, such as the one wandb leaves, is not a package
        raise not_installed(f"--track {name}", TRACKERS[name].package, name)


def track(name: str, verdict: "Verdict", run: "StoredRun") -> str:
    """Send a run to a tracker.

    Args:
        name: One of `TRACKERS`.
        verdict: Verdict on the run.
        run: The stored run.

    Returns:
        Description of where it is stored.

    Raises:
        UserError: The tracker failed, for whatever reason. The results of the run are untouched.
    """
    from advbench.errors import reason
    from advbench.tracking.entry import entry_of

    try:
        with tempfile.TemporaryDirectory() as folder:
            where: str = resolve(TRACKERS[name].target)(entry_of(verdict, run, Path(folder)))
    except (Exception, SystemExit) as error:  # third-party code may fail in any way and must not harm the run
        again = RunFolder(run.folder).resuming
        raise UserError(
            f"the run could not be sent to {name}: {reason(error)}",
            hint=f"its results are in {run.folder}; to try again: {again} --track {name}",
        ) from error
    return where

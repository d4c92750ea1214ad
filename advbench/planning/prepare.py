"""Prepares a run: its suite, its folder, its models and images, and its plan."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch

from advbench.config.folders import refuse_in_data
from advbench.config.suite import Suite
from advbench.datasets.dataset import Dataset
from advbench.models.classifier import Classifier
from advbench.planning.forms.fast_forms import Choice
from advbench.planning.plan import Plan, make_plan
from advbench.planning.resources import Resources
from advbench.records.run_folder import RunFolder


class PreparedRun(NamedTuple):
    """A run that is ready to start or to be resumed."""

    suite: Suite
    """Suite to be run."""
    folder: RunFolder
    """Folder for the results; no other process can write to it during the run."""
    resources: Resources
    """The models and images that the suite names."""
    plan: Plan
    """The units of work."""


class Terminated(BaseException):
    """The system asked the run to terminate."""


@contextmanager
def prepared(
    suite: Suite,
    folder: Path,
    *,
    models: Mapping[str, Classifier] | None = None,
    datasets: Mapping[str, Dataset] | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Iterator[PreparedRun]:
    """Context manager that plans a run and holds the lock on its folder.

    Within the context torch uses one thread and computes gradients, as in every worker, whatever the caller has set,
    and SIGTERM raises :class:`Terminated`.

    Args:
        suite: Suite to run.
        folder: Folder for its results. If it already contains the same run, the forms of its networks are kept.
        models: Label -> classifier, for models that the suite names but the catalogue does not contain.
        datasets: Label -> data set, for data sets that the suite names but the catalogue does not contain.
        progress: Called when planning begins.

    Raises:
        UserError: Something cannot be loaded, the folder cannot be written to or is inside one whose images are read,
            or another process is using it.
    """
    files = RunFolder(folder)
    with suppress(PermissionError):  # a folder that may not be entered is refused below
        if not files.manifest.exists():
            refuse_in_data(folder, (data.path for data in suite.datasets if data.label not in (datasets or {})))
    with files.held(), one_thread(), terminable(), torch.inference_mode(False), torch.enable_grad():
        progress("planning", 0, 0)
        resources = Resources(suite, models, datasets)
        yield PreparedRun(suite, files, resources, make_plan(suite, resources, _known_forms(files)))


def _known_forms(folder: RunFolder) -> dict[str, Choice]:
    """The network forms that a run was started with: they were chosen on that machine, and they decide its results."""
    if not folder.manifest.exists():
        return {}
    identity = folder.read_manifest().get("identity", {})
    return {name: Choice(**choice) for name, choice in identity.get("forms", {}).items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """Use the settings of a worker: the number of threads may change the last bits of a result."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the run like Ctrl-C, with all results so far saved."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""The interface of `import advbench`: run a suite, and read its results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from advbench.analysis.anytime.decision import Undecided, refuse_undecidable
from advbench.analysis.run_analysis import RunAnalysis
from advbench.catalog.plugins import load_plugins
from advbench.config.suite import Suite
from advbench.config.suite_files import load_suite
from advbench.datasets.dataset import Dataset
from advbench.errors import UserError
from advbench.execution.clusters.connection import connected
from advbench.execution.progress import Progress
from advbench.execution.runner import run_plan
from advbench.models.classifier import Classifier
from advbench.planning.prepare import prepared
from advbench.planning.workers import Wanted
from advbench.records.stored_run import StoredRun, read_run
from advbench.report.notebook import as_html


@dataclass(frozen=True, kw_only=True, repr=False)
class Run(StoredRun):
    """A run, finished or not: its rows, its plan, its flags, and the numbers computed from them."""

    @classmethod
    def of(cls, stored: StoredRun) -> Self:
        """Read the run in a folder."""
        return cls(**{field.name: getattr(stored, field.name) for field in fields(StoredRun)})

    @cached_property
    def analysis(self) -> RunAnalysis:
        """Numbers and all trust flags, as in the reports."""
        return RunAnalysis.of(self)

    def _repr_html_(self) -> str:
        """HTML for notebooks: numbers and trust flags."""
        return as_html(self.analysis)


def load_run(folder: str | Path) -> Run:
    """Read the folder of a run; one that is still running or was interrupted is read as far as it got.

    Args:
        folder: Folder that `advbench run --out` wrote.

    Returns:
        The run. Every file is checked against the digest inside it.

    Raises:
        UserError: It is not the folder of a run, or its manifest or plan is damaged or of another version.

    Example:
        >>> load_run("no such folder")
        Traceback (most recent call last):
        advbench.errors.UserError: no such folder is not the folder of a run: it has no manifest.json
    """
    return Run.of(read_run(folder))


def run(  # noqa: PLR0913 - one call for everything, with a default for each
    suite: str | Path | Mapping[str, Any] | Suite,
    *,
    out: str | Path | None = None,
    workers: Wanted = "auto",
    cluster: Any = None,
    models: Mapping[str, Classifier] | None = None,
    datasets: Mapping[str, Dataset] | None = None,
    plugins: Iterable[str] = (),
    progress: Progress = lambda *_: None,
) -> Run:
    """Run a suite, or the rest of an interrupted run.

    Args:
        suite: Name of a suite in the package, a TOML file, a mapping with the same structure, or a suite object.
        out: Folder of the run; None: `reports/<name of the suite>`. If it contains the same run, that is resumed.
        workers: Number of worker processes; 1: everything runs in this process; "auto": as many as cores, memory and
            the amount of work allow, or one for each GPU.
        cluster: Dask workers to run on instead: a client of `dask.distributed`, the address of a scheduler such as
            tcp://HOST:8786, `local:4`, or the path of a scheduler file.
        models: Label -> classifier, for models that the suite names but the catalogue lacks. Then everything runs in
            this process.
        datasets: Label -> data set, for data sets that the suite names but the catalogue lacks; likewise.
        plugins: Names of modules with tables of models, attacks and data sets; see `advbench.catalog.plugins`.
        progress: Called after every unit.

    Returns:
        The run, read back from its folder.

    Raises:
        UserError: The suite is invalid, something cannot be loaded, the folder holds another run or cannot be
            written to, or another process is running in it.
        StoppedError: Results could not be written; everything done before is saved.

    Example:
        >>> run({"name": "x"})
        Traceback (most recent call last):
        advbench.errors.UserError: suite is invalid
        models: is missing
        datasets: is missing
        attacks: is missing
    """
    if models or datasets:
        if workers not in (1, "auto") or cluster is not None:
            message = "models and data sets given as objects cannot be sent to other processes"
            raise UserError(message, hint="use workers=1 and no cluster")
        workers = 1
    _check_objects(models, datasets, plugins)
    load_plugins(plugins)
    wanted = load_suite(suite, names={*(models or ()), *(datasets or ())})
    refuse_undecidable(wanted, wanted.gates)
    folder = Path(out) if out is not None else Path("reports") / wanted.name
    with (
        connected(cluster) as client,
        prepared(wanted, folder, models=models, datasets=datasets, progress=progress) as ready,
    ):
        undecided = Undecided(ready.folder, ready.plan.units, wanted, wanted.gates)
        run_plan(ready, workers=workers, client=client, progress=progress, undecided=undecided)
    return load_run(folder)


def _check_objects(models: object, datasets: object, plugins: object) -> None:
    """Refuse objects that are no classifiers and data sets, and one plug-in in place of several."""
    wrap = "wrap the network: advbench.Classifier(network, num_classes=10, mean=..., std=...)"
    made = "advbench.load_dataset opens one, and advbench.Dataset makes one of anything else"
    for name, given, wanted, hint in (("models", models, Classifier, wrap), ("datasets", datasets, Dataset, made)):
        if given is None:
            continue
        if not isinstance(given, Mapping):
            label = '{"mine": ...}, where the suite says mine'
            raise UserError(f"{name} maps labels to objects, got {type(given).__name__}", hint=f"write {name}={label}")
        for label, each in given.items():
            if not isinstance(each, wanted):
                said = f"{name}[{label!r}] is of the type {type(each).__name__}, not {wanted.__name__}"
                raise UserError(said, hint=hint)
    if isinstance(plugins, str):
        raise UserError(f"plugins is a list of names, got the text {plugins!r}", hint=f"write plugins=[{plugins!r}]")

"""Tracker entry of a run: parameters, numbers, tags and files, for every tracker. Does not import torch."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from advbench import __version__
from advbench.analysis.compare import CORRUPTIONS
from advbench.analysis.corruptions.errors import CorruptionResults
from advbench.analysis.metrics import Cell
from advbench.analysis.statistics import Proportion
from advbench.config.budgets import describe_eps
from advbench.records.storage.atomic import write_atomic
from advbench.report.formats import FORMATS, render
from advbench.sanitize import display_name, slug, unique_slugs

if TYPE_CHECKING:
    from advbench.analysis.verdict import Verdict
    from advbench.records.stored_run import StoredRun

PROJECT = "advbench"
"""Name of the project or experiment, unless the tracker's own environment variable sets another."""
FILES = ("html", "json", "csv")
"""Report formats that are attached as files."""
_LONGEST = 500
"""Largest length of a parameter, in characters: the smallest limit of all trackers."""


class Entry(NamedTuple):
    """One run as stored by a tracker."""

    name: str
    """Name of the entry: the suite and the id of the run."""
    params: dict[str, str]
    """Conditions of the run."""
    metrics: dict[str, float]
    """Finite numbers; each name states model, data set, goal, norm with eps, attack and measure."""
    tags: dict[str, str]
    """Identity and verdict of the run."""
    files: tuple[Path, ...]
    """Reports on the run."""


def entry_of(verdict: "Verdict", run: "StoredRun", folder: Path) -> Entry:
    """Create the entry of a run.

    Args:
        verdict: Verdict on the run.
        run: The stored run, for its id, suite, versions and pictures.
        folder: Folder to write the reports to.
    """
    run_id = str(run.manifest["run_id"])
    return Entry(
        name=f"{slug(run.suite.name)} {run_id[:8]}",
        params=_params(run),
        metrics=metrics_of(verdict),
        tags={
            "advbench.run_id": run_id,
            "advbench.suite": display_name(run.suite.name),
            "advbench.verdict": verdict.headline.partition(":")[0].lower(),
            "advbench.version": str(run.manifest.get("advbench", __version__)),
        },
        files=tuple(_files(verdict, run, folder)),
    )


def metrics_of(verdict: "Verdict") -> dict[str, float]:
    """The numbers of a run, with names that every tracker accepts: letters, digits and `._-/`.

    Args:
        verdict: Verdict on the run.

    Returns:
        Name -> number: for each cell robust accuracy, the ends of its interval and success; for the worst case also
        clean, proved and noise accuracy; for corruptions the error at each severity and the means; then the counts of
        gates and flags. Missing numbers are left out.
    """
    cells, corrupted = verdict.analysis.cells, verdict.analysis.corruptions
    models = _renamed([*(cell.threat.model for cell in cells), *(each.model for each in corrupted)])
    datasets = _renamed([*(cell.threat.dataset for cell in cells), *(each.dataset for each in corrupted)])
    parts = [models, datasets, *(_renamed(map(part, cells)) for part in _PARTS[2:])]
    found: dict[str, float | None] = {}
    for cell in cells:
        place = "/".join(names[part(cell)] for part, names in zip(_PARTS, parts, strict=True))
        found |= {f"{place}/{measure}": value for measure, value in _measures(cell).items()}
    for each in corrupted:
        place = f"{models[each.model]}/{datasets[each.dataset]}/{CORRUPTIONS}"
        found |= {f"{place}/{measure}": value for measure, value in _errors(each).items()}
    found |= {"gates_failed": len(verdict.failures), "gates": len(verdict.results)}
    found |= {f"flags_{level}": sum(flag.severity == level for flag in verdict.analysis.flags) for level in "EFI"}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


_PARTS: tuple[Callable[[Cell], str], ...] = (
    lambda cell: cell.threat.model,
    lambda cell: cell.threat.dataset,
    lambda cell: cell.threat.goal,
    lambda cell: f"{cell.threat.norm} {_bound(cell)}",
    lambda cell: cell.attack,
)
"""Parts of a cell's name."""


def _bound(cell: Cell) -> str:
    return "any" if cell.eps is None else describe_eps(cell.threat.norm, cell.eps)


def _renamed(texts: Iterable[str]) -> dict[str, str]:
    """Each text of one part -> a distinct text of safe characters."""
    each = list(dict.fromkeys(texts))
    return dict(zip(each, unique_slugs(each), strict=True))


def _measures(cell: Cell) -> dict[str, float | None]:
    """The numbers of one cell."""
    found: dict[str, float | None] = {
        "robust_accuracy": cell.robust.rate,
        "robust_low": cell.robust.low if cell.robust.n else None,
        "robust_high": cell.robust.high if cell.robust.n else None,
        "success": cell.success.rate,
        "median_size": cell.median.value if cell.median else None,
        "passes": None if cell.forwards is None else cell.forwards + (cell.backwards or 0.0),
        "seconds": cell.seconds,
    }
    shares: dict[str, Proportion | None] = {"proved": cell.proved, "noise": cell.noise, "clean": cell.clean}
    return found | {f"{name}_accuracy": share.rate for name, share in shares.items() if share is not None}


def _errors(found: CorruptionResults) -> dict[str, float | None]:
    """The errors of one model on one data set under corruptions."""
    means = {"mean_error": found.mean, "mce": found.mce, "relative_mce": found.relative_mce}
    numbers = {name: None if mean is None else mean.value for name, mean in means.items()}
    errors = {
        f"{slug(name)}/severity_{severity}": share.rate
        for name, shares in found.errors.items()
        for severity, share in shares.items()
    }
    return {"clean_error": found.clean.rate} | numbers | errors


def _bounds(norm: str, eps: Iterable[float]) -> str:
    return f"{norm}: {', '.join(describe_eps(norm, each) for each in eps)}"


def _params(run: "StoredRun") -> dict[str, str]:
    """The conditions of a run: its suite and its versions."""
    suite = run.suite
    found = {
        "suite": suite.name,
        "models": ", ".join(model.label for model in suite.models),
        "datasets": ", ".join(data.label for data in suite.datasets),
        "attacks": ", ".join(attack.name for attack in suite.attacks),
        "corruptions": ", ".join(suite.corruptions),
        "severities": ", ".join(map(str, suite.severities)) if suite.corruptions else "",
        "goals": ", ".join(suite.goals),
        "norms": ", ".join(suite.norms),
        "eps": suite.budgets or "; ".join(_bounds(norm, eps) for norm, eps in suite.eps.items()),
        "images": "all" if suite.images is None else str(suite.images),
        "seed": str(suite.seed),
        "device": suite.device,
    }
    versions = {f"version_{slug(name)}": str(version) for name, version in run.manifest.get("versions", {}).items()}
    return {name: display_name(value, limit=_LONGEST) for name, value in (found | versions).items() if value}


def _files(verdict: "Verdict", run: "StoredRun", folder: Path) -> Iterable[Path]:
    for name in FILES:
        path = folder / f"report.{FORMATS[name].extension}"
        write_atomic(path, render(name, verdict, run).encode())
        yield path

"""The part of an archive that cannot be checked from it: the run's own numbers, flags and limits."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from advbench.analysis.metrics import as_dict
from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.threats import BROKEN, UNKNOWN, Threat, ThreatResults, states, within
from advbench.config.budgets import describe_norm
from advbench.evidence.gathering import Kept
from advbench.records.stored_run import StoredRun
from advbench.sanitize import display_name

LIMITS = (
    "Each number is an upper bound: a stronger attack may fool more images.",
    "Nothing is said about other images, other goals, other norms, or perturbations larger than eps.",
    "The claims are about 8-bit images as they enter the model, after scaling and cropping.",
    "Labels, and the choice of the images, are taken from the run; the archive cannot show that they are right.",
    "report.json and manifest.json contain the run's own account of itself.",
)
"""Limits that apply to every archive."""


class Shortfall(NamedTuple):
    """The run's numbers for a threat at an eps, compared with those that the archive supports."""

    threat: Threat
    """Model, data set, goal and norm."""
    eps: float | None
    """Budget, image units; None: no bound."""
    images: int
    """Number of images in the run's number."""
    broken: int
    """Number of these images that the run counts as broken."""
    unknown: int
    """Number of these images with unknown outcome in the run."""
    carried: int
    """Number of images that the archive shows to be broken."""
    lost: int
    """Number of broken images whose kept candidate fails in 8 bits, or is not within eps."""
    random: int
    """Number of broken images for which the model's answers are random."""
    not_kept: int
    """Number of broken images for which the run kept no candidate."""

    @property
    def where(self) -> str:
        """The data set, goal, norm and eps in words."""
        names = [display_name(each) for each in (self.threat.dataset, self.threat.goal)]
        return ", ".join([*names, describe_norm(self.threat.norm, self.eps)])

    @property
    def sentence(self) -> str:
        """Description of what is missing, in one sentence; empty if nothing is."""
        if self.carried >= self.broken:
            return ""
        parts = [
            f"{self.lost} not fooled within eps once rounded to 8 bits" if self.lost else "",
            f"{self.random} on which the model's answers are random" if self.random else "",
            f"{self.not_kept} not kept by the run" if self.not_kept else "",
        ]
        why = f" ({' and '.join(filter(None, parts))})" if any(parts) else ""
        return f"{self.where}: the archive shows {self.carried} of the {self.broken} images that the run broke{why}"


def shortfalls(
    evidence: ThreatResults,
    levels: Sequence[float | None],
    sizes: Mapping[str, float],
    wrong: Collection[str],
    kept: Kept,
) -> Iterator[Shortfall]:
    """Compare the run's numbers for a threat with those that the archive supports, at each eps.

    Args:
        evidence: Results from the rows of the run.
        levels: Budgets at which there are claims.
        sizes: Id of an image in the run -> size of the perturbation in the archive.
        wrong: Ids of the images that the archive shows to be misclassified when clean.
        kept: The images that the run kept.
    """
    samples = [str(each) for each in evidence.samples]
    beyond = kept.lost.get(evidence.threat, {}).keys() | sizes.keys()
    for eps in levels:
        state = states(evidence, evidence.trials, eps)
        shown = {each for each in samples if each in wrong or within(np.array(sizes.get(each, np.inf)), eps)}
        missing = {each for each, how in zip(samples, state, strict=True) if how == BROKEN} - shown
        lost = len(missing & beyond)
        random = len((missing - beyond) & kept.random.get(evidence.threat, set()))
        yield Shortfall(
            threat=evidence.threat,
            eps=eps,
            images=len(samples),
            broken=int((state == BROKEN).sum()),
            unknown=int((state == UNKNOWN).sum()),
            carried=len(shown),
            lost=lost,
            random=random,
            not_kept=len(missing) - lost - random,
        )


def report_of(run: StoredRun, analysis: RunAnalysis, model: str, fell: Sequence[Shortfall]) -> dict[str, Any]:
    """The run's own account, as plain data in the order of a test report: who, what, how, result, limits.

    Args:
        run: Run that the archive is made from.
        analysis: Numbers and flags of the run.
        model: Label of the model that the archive is about.
        fell: Shortfalls of the archive.
    """
    manifest = run.manifest
    names = run.frame[run.frame["model"] == model].drop_duplicates(["dataset", "sample_id"])
    attacks = dict.fromkeys(
        (unit.attack, unit.params, unit.norm) for unit in run.plan if unit.model == model and unit.task == "attack"
    )
    return {
        "checked": False,
        "maker": {name: manifest.get(name) for name in ("advbench", "versions", "environment")},
        "run": {name: manifest.get(name) for name in ("run_id", "status", "started", "finished")},
        "suite": run.suite.name,
        "model": model,
        "images": {
            str(dataset): dict(zip(rows["sample_id"].astype(str), rows["sample_name"].astype(str), strict=True))
            for dataset, rows in names.groupby("dataset", sort=False, observed=True)
        },
        "method": [{"attack": name, "params": params, "norm": norm} for name, params, norm in attacks],
        "results": [as_dict(cell) for cell in analysis.cells if cell.threat.model == model],
        "flags": [flag.as_dict() for flag in analysis.flags if flag.model == model],
        "uncertainty": "Wilson's 95 % intervals, treating these images as a sample of all such images",
        "limits": [*LIMITS, *(each.sentence for each in fell if each.sentence)],
    }

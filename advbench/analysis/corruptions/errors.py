"""Errors under common corruptions: of each at each severity, and their means as the benchmark ImageNet-C states them.

An image counts wherever it is misclassified once corrupted, also if it was when clean, as in the benchmark. Corruptions
are no attacks on a model, so none of this enters a worst case.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from advbench.analysis.arrays import Floats
from advbench.analysis.corruptions import alexnet
from advbench.analysis.corruptions.outcomes import Wrong, corrupted
from advbench.analysis.statistics import Mean, Proportion, mean_over
from advbench.analysis.threats import ThreatResults
from advbench.sanitize import one_line

ALL_SEVERITIES = (1, 2, 3, 4, 5)
"""Severities over which the benchmark takes means."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CorruptionResults:
    """The errors of one model on one data set under every corruption of a run."""

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set."""
    clean: Proportion
    """Share of the images that are misclassified when clean."""
    errors: Mapping[str, Mapping[int, Proportion]]
    """Corruption -> severity -> share of the images that are misclassified."""
    means: Mapping[str, Mean | None]
    """Corruption -> mean of these shares over the severities; None where nothing is known of some image."""
    mean: Mean | None
    """Mean over all corruptions and severities of the run."""
    mce: Mean | None
    """Mean corruption error: errors relative to AlexNet's, averaged over the corruptions of the benchmark that have all
    severities. None for other data than ImageNet's classes, and where nothing is known of some image."""
    relative_mce: Mean | None
    """The same of the errors beyond the clean ones, relative to AlexNet's beyond its clean error."""
    counted: int
    """Number of corruptions, of the fifteen, that these two are over."""
    relative: bool
    """Whether images lack labels, so that "misclassified" means otherwise than when clean."""

    def __repr__(self) -> str:
        return one_line(self)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        numbers = {name: getattr(self, name) for name in ("mean", "mce", "relative_mce")}
        return {
            "model": self.model,
            "dataset": self.dataset,
            "clean": self.clean.as_dict(),
            "errors": [
                {"corruption": name, "severity": severity, **share.as_dict()}
                for name, shares in self.errors.items()
                for severity, share in shares.items()
            ],
            **{name: None if found is None else found._asdict() for name, found in numbers.items()},
            "counted": self.counted,
            "relative": self.relative,
        }


def corruption_results(frame: pd.DataFrame, classes: Mapping[str, int]) -> tuple[CorruptionResults, ...]:
    """The errors under corruptions of each model and data set of a run that has any.

    Args:
        frame: Rows of a run, those of attacks too.
        classes: Data set -> number of its classes; where it is not that of ImageNet there is no mean corruption error.
    """
    return tuple(
        _results(each.images, each.wrong, comparable=classes.get(each.images.threat.dataset) == alexnet.CLASSES)
        for each in corrupted(frame)
    )


def _results(images: ThreatResults, wrong: Wrong, *, comparable: bool) -> CorruptionResults:
    at_first = np.where(images.clean < 0, np.nan, (~images.correct).astype(float))
    averages = {name: np.mean(list(each.values()), axis=0) for name, each in wrong.items()}
    counted = [name for name in alexnet.CORRUPTED if comparable and tuple(wrong.get(name, ())) == ALL_SEVERITIES]
    scales = {name: 1 / alexnet.CORRUPTED[name] for name in counted}
    beyond = {name: 1 / (alexnet.CORRUPTED[name] - alexnet.CLEAN) for name in counted}
    most, steepest = (sum(each.values()) / max(1, len(counted)) for each in (scales, beyond))
    return CorruptionResults(
        model=images.threat.model,
        dataset=images.threat.dataset,
        clean=_proportion(at_first),
        errors={name: {s: _proportion(values) for s, values in each.items()} for name, each in wrong.items()},
        means={name: mean_over([values]) for name, values in averages.items()},
        mean=mean_over([values for each in wrong.values() for values in each.values()]),
        mce=mean_over([averages[name] * scale for name, scale in scales.items()], high=most),
        relative_mce=mean_over(
            [(averages[name] - at_first) * scale for name, scale in beyond.items()], low=-steepest, high=steepest
        ),
        counted=len(counted),
        relative=images.relative,
    )


def _proportion(wrong: Floats) -> Proportion:
    return Proportion(int(np.nansum(wrong)), len(wrong), int(np.isnan(wrong).sum()))

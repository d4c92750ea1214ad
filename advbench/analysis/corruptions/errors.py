"""Errors under common corruptions, for each corruption and severity, and their means as defined by ImageNet-C.

As in the benchmark, an image counts if it is misclassified when corrupted, even if it already was when clean.
Corruptions are not attacks on a model, so none of this enters a worst case.
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
"""Severities that the benchmark averages over."""


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
    """Corruption -> mean of these shares over the severities; None if the outcome of some image is unknown."""
    mean: Mean | None
    """Mean over all corruptions and severities of the run."""
    mce: Mean | None
    """Mean corruption error: errors relative to AlexNet's, averaged over the corruptions of the benchmark that have all
    severities. None for data without ImageNet's classes, and if the outcome of some image is unknown."""
    relative_mce: Mean | None
    """Relative mean corruption error: errors in excess of the clean error, relative to AlexNet's excess errors."""
    counted: int
    """Number of the fifteen corruptions that these two means cover."""
    relative: bool
    """Whether images lack labels, so that "misclassified" means differently from when clean."""

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def severities(self) -> tuple[int, ...]:
        """Severities of the run, in ascending order."""
        return tuple(sorted({severity for each in self.errors.values() for severity in each}))

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
    """Errors under corruptions for each model and data set of a run that has any.

    Args:
        frame: Rows of a run, including those of attacks.
        classes: Data set -> number of its classes; there is a mean corruption error only for ImageNet's number.
    """
    return tuple(
        _results(each.images, each.wrong, comparable=classes.get(each.images.threat.dataset) == alexnet.CLASSES)
        for each in corrupted(frame)
    )


def classified_right(error: Proportion) -> Proportion:
    """The images that are classified right, as a share of all.

    Args:
        error: Share of the images that are misclassified.

    Example:
        >>> classified_right(Proportion(1, 10, unknown=2))
        Proportion(k=7, n=10, unknown=2)
    """
    return Proportion(error.n - error.k - error.unknown, error.n, error.unknown)


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

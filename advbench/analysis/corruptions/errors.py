"""Errors under common corruptions: of each at each severity, and their means as the benchmark ImageNet-C states them.

An image counts wherever it is misclassified once corrupted, also if it was when clean, as in the benchmark. Corruptions
are no attacks on a model, so none of this enters a worst case.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from advbench.analysis.arrays import Floats
from advbench.analysis.corruptions import alexnet
from advbench.analysis.corruptions.outcomes import Wrong, corrupted
from advbench.analysis.statistics import Proportion
from advbench.analysis.threats import ThreatResults
from advbench.intervals import wilson
from advbench.sanitize import one_line

ALL_SEVERITIES = (1, 2, 3, 4, 5)
"""Severities over which the benchmark takes means."""


class Mean(NamedTuple):
    """A mean over images, with its 95 % interval.

    Example:
        >>> print(Mean(0.767, 0.742, 0.792))
        76.7 % [74.2, 79.2]
    """

    value: float
    """The mean; 1 is 100 %."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


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
        means={name: mean_of([values]) for name, values in averages.items()},
        mean=mean_of([values for each in wrong.values() for values in each.values()]),
        mce=mean_of([averages[name] * scale for name, scale in scales.items()], high=most),
        relative_mce=mean_of(
            [(averages[name] - at_first) * scale for name, scale in beyond.items()], low=-steepest, high=steepest
        ),
        counted=len(counted),
        relative=images.relative,
    )


def _proportion(wrong: Floats) -> Proportion:
    return Proportion(int(np.nansum(wrong)), len(wrong), int(np.isnan(wrong).sum()))


def mean_of(values: list[Floats], low: float = 0.0, high: float = 1.0) -> Mean | None:
    """Mean over numbers and images; the images are what was drawn at random, so the interval is over them.

    It is Wilson's, for as many independent answers as would spread like the images' own means: the interval of a share
    stays an honest one where no image, or every image, is wrong, which that of a normal distribution does not.

    Args:
        values: Numbers of each image, each (N,).
        low: Least value that an image's own mean can have.
        high: Largest value that it can have.
    """
    if not values or not len(values[0]):
        return None
    each = (np.mean(values, axis=0) - low) / (high - low)
    if np.isnan(each).any():
        return None
    middle, spread = float(np.clip(each.mean(), 0, 1)), float(each.var(ddof=1)) if len(each) > 1 else 0.0
    count = len(each) * max(1.0, middle * (1 - middle) / spread if spread > 0 else 1.0)
    ends = wilson(middle * count, count)
    return Mean(*(low + (high - low) * float(place) for place in (middle, ends.low, ends.high)))

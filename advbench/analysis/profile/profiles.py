"""The profile of each model on each data set: every threat of a run, and the worst case image by image over all.

Each mask makes a separate data set, so a profile covers several and matches images by id. Does not import torch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from advbench.analysis.arrays import Bools
from advbench.analysis.corruptions.outcomes import corrupted
from advbench.analysis.metrics import NO_BUDGETS, Budgets
from advbench.analysis.profile.queries import QueryCurve, query_curves
from advbench.analysis.profile.threat_rows import (
    Images,
    ThreatRow,
    attack_rows,
    corruption_rows,
    share_of,
    together,
)
from advbench.analysis.statistics import Proportion
from advbench.analysis.threats import BROKEN, ROBUST, ThreatResults, gather_clean
from advbench.config.masks import without_mask
from advbench.sanitize import one_line


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """All threats of a run to one model on one data set."""

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set, without a mask."""
    clean: Proportion
    """Share of the images that are classified correctly when clean."""
    right: Bools
    """Which images those are (N,)."""
    relative: bool
    """Whether images lack labels, so that "correct" means as when clean."""
    rows: tuple[ThreatRow, ...]
    """Threats: attacks first, then corruptions."""
    attacks: Proportion | None
    """Share of the images that survive every attack; None if there are no attacks."""
    everything: Proportion
    """Share of the images that survive every attack and every corruption."""
    queries: tuple[QueryCurve, ...]
    """Success against queries, for gradient-free attacks."""
    passes: float
    """Total forward and backward passes of the run per image."""
    seconds: float
    """Total seconds of the run per image."""

    def __repr__(self) -> str:
        return one_line(self)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "clean": self.clean.as_dict(),
            "relative": self.relative,
            "threats": [row.as_dict() for row in self.rows],
            "robust_to_attacks": None if self.attacks is None else self.attacks.as_dict(),
            "robust_to_everything": self.everything.as_dict(),
            "queries": [curve.as_dict() for curve in self.queries],
            "passes": self.passes,
            "seconds": self.seconds,
        }


def profiles(
    frame: pd.DataFrame, evidence: Iterable[ThreatResults], budgets: Budgets = NO_BUDGETS
) -> tuple[Profile, ...]:
    """The profiles of a run, in the order of its models and data sets.

    Args:
        frame: Rows of the run.
        evidence: Result of :func:`advbench.analysis.threats.gather` for them.
        budgets: Budgets at which minimum-norm attacks are reported.
    """
    evidence, corruptions = list(evidence), list(corrupted(frame))
    found = []
    for images in _images(frame):
        rows = [*attack_rows(images, evidence, budgets), *corruption_rows(images, corruptions)]
        if rows:
            found.append(_profile(images, rows, frame))
    return tuple(found)


def _images(frame: pd.DataFrame) -> Iterator[Images]:
    """The images of each model and data set; one that occurs only with masks has those of its first mask."""
    groups: dict[tuple[str, str], list[ThreatResults]] = {}
    for each in gather_clean(frame):
        groups.setdefault((each.threat.model, without_mask(each.threat.dataset)), []).append(each)
    for (model, dataset), several in groups.items():
        known = {each.threat.dataset: frozenset(map(str, each.samples)) for each in several}
        clean = next((each for each in several if each.threat.dataset == dataset), several[0])
        yield Images(model, dataset, clean, known)


def _profile(images: Images, rows: Sequence[ThreatRow], frame: pd.DataFrame) -> Profile:
    clean, count = images.clean, len(images.clean.samples)
    of_attacks = [row.state for row in rows if row.kind != "corruption"]
    own = frame[(frame["model"] == images.model) & frame["dataset"].isin(list(images.known))]
    costs = own[["forwards", "backwards", "seconds"]].astype(float).sum()
    return Profile(
        model=images.model,
        dataset=images.dataset,
        clean=Proportion(int(clean.correct.sum()), count, int((clean.clean < 0).sum())),
        right=clean.correct,
        relative=clean.relative,
        rows=tuple(_with_lone(rows)),
        attacks=share_of(together(of_attacks)) if of_attacks else None,
        everything=share_of(together([row.state for row in rows])),
        queries=tuple(query_curves(own, images.model, images.dataset)),
        passes=float(costs["forwards"] + costs["backwards"]) / max(count, 1),
        seconds=float(costs["seconds"]) / max(count, 1),
    )


def _with_lone(rows: Sequence[ThreatRow]) -> Iterator[ThreatRow]:
    """Yield the rows, each with the number of images that it alone broke."""
    for place, row in enumerate(rows):
        others = [other.state for other in (*rows[:place], *rows[place + 1 :])]
        stand = together(others) == ROBUST if others else np.ones(len(row.state), bool)
        yield replace(row, alone=int(((row.state == BROKEN) & stand).sum()))

"""Curves of robust accuracy against eps, and confusion matrices. Does not import torch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from advbench.analysis.arrays import Floats
from advbench.analysis.metrics import changed_within, smallest
from advbench.analysis.proofs import proved_at
from advbench.analysis.threats import BROKEN, ROBUST, UNKNOWN, ThreatResults, Trial, states
from advbench.intervals import wilson


class Curve(NamedTuple):
    """Robust accuracy against eps; arrays have a value for each point."""

    eps: Floats
    """Budgets, ascending, image units; the value at 0 is the clean accuracy."""
    rate: Floats
    """Share of images that are certain to be robust."""
    low: Floats
    """Lower ends of the 95 % intervals."""
    high: Floats
    """Upper ends, as if every unknown image were robust."""
    exact: bool
    """Whether the curve is known at every eps, as for a minimum-norm attack; otherwise it is known only at these
    points."""


def curve(evidence: ThreatResults, trials: Sequence[Trial], *, points: int = 200) -> Curve:
    """Robust accuracy under some attacks together as a function of eps.

    Args:
        evidence: Results of all attacks under one threat.
        trials: Attacks to count, from this evidence.
        points: Largest number of points of an exact curve.
    """
    radius = smallest(evidence, trials)
    exact = any(trial.minimal for trial in trials)
    budgets = {e for trial in trials for e in trial.levels if e is not None}
    found = np.unique(radius[np.isfinite(radius) & (radius > 0)]) if exact else np.array([])
    places = np.unique(np.linspace(0, len(found) - 1, min(points, len(found))).round().astype(int))
    eps = np.unique([0.0, *found[places], *budgets])
    each = [states(evidence, trials if e else [], e) for e in eps]
    robust = np.array([(state == ROBUST).sum() for state in each])
    unknown = np.array([(state == UNKNOWN).sum() for state in each])
    total = len(radius)
    low, high = wilson(robust, total).low, wilson(robust + unknown, total).high
    return Curve(eps, robust / max(total, 1), low, high, exact)


def proved_curve(evidence: ThreatResults) -> tuple[Floats, Floats]:
    """Proved accuracy as a non-increasing function of eps.

    Returns:
        0 and the eps at which proofs were tried, ascending; and the share of images proved at each. A proof at one eps
        holds at every smaller one, so the line is level to the left of each point.
    """
    eps = np.array([0.0, *sorted(evidence.proofs)])
    shares = []
    for level in eps[1:]:
        proved = proved_at(evidence.proofs, float(level))
        standing = states(evidence, evidence.trials, float(level)) != BROKEN
        shares.append(0.0 if proved is None else float(np.mean(proved & standing & evidence.correct)))
    return eps, np.array(shares[:1] + shares)


def flips(evidence: ThreatResults, trials: Sequence[Trial], eps: float | None) -> pd.DataFrame:
    """Confusion matrix of the adversarial images: true classes in rows, predictions in columns.

    An image counts once for each attack that changed it within eps.
    """
    pairs = []
    for trial in trials:
        if (level := trial.at(eps)) is not None:
            changed = changed_within(trial, eps, level.flipped) & evidence.correct & (level.adv_class >= 0)
            pairs.append(pd.DataFrame({"from": evidence.truth[changed], "to": level.adv_class[changed]}))
    if not pairs:
        return pd.DataFrame()
    every = pd.concat(pairs, ignore_index=True)  # pandas 3.0 refuses to count rows with the same label
    return pd.crosstab(every["from"], every["to"])

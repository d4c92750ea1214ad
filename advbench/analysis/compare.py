"""Compares two runs image by image: the changes, and whether they exceed chance. Does not import torch."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from advbench.analysis.corruptions.outcomes import Corrupted, corrupted
from advbench.analysis.metrics import NO_BUDGETS, WORST_CASE, Budgets, form_of, levels
from advbench.analysis.proofs import proved_at
from advbench.analysis.statistics import Proportion, holm, mcnemar
from advbench.analysis.threats import (
    BROKEN,
    ROBUST,
    UNKNOWN,
    Threat,
    ThreatResults,
    Trial,
    gather,
    gather_clean,
    states,
)
from advbench.records.record import PROOF
from advbench.sanitize import one_line

CLEAN = "clean"
"""Label of the clean images in place of an attack's name; robust then means correct."""
CORRUPTIONS = "corruptions"
"""Label in place of a goal for corrupted images; robust then means classified correctly."""

_LETTERS = {BROKEN: "0", ROBUST: "1", UNKNOWN: "?"}


class Key(NamedTuple):
    """Subject of a number, apart from the model."""

    dataset: str
    """Label of the data set."""
    goal: str
    """Goal, which defines what counted as broken; empty for clean images, `CORRUPTIONS` for corrupted ones."""
    norm: str
    """Norm in which perturbations were measured; empty for clean and for corrupted images."""
    attack: str
    """Label of the attack or of the corruption, `WORST_CASE`, `CLEAN` or `proof`, where robust means proved."""
    params: str
    """Parameters of the attack, as JSON; for the worst case those of all its attacks."""
    eps: float | None
    """Budget, image units; None: no bound."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Outcome of each image in one cell of a run."""

    model: str
    """Label of the model."""
    key: Key
    """Subject of the number, apart from the model."""
    samples: tuple[str, ...]
    """Ids of the images, without those left out."""
    letters: str
    """One character per image: 1 robust, 0 broken, ? unknown; for proofs 1 proved, 0 not proved."""
    form: str = ""
    """Form of the network in which the attack computed gradients; empty for clean images, or if not recorded."""

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def share(self) -> Proportion:
        """Robust accuracy."""
        return Proportion(self.letters.count("1"), len(self.letters), self.letters.count("?"))

    @property
    def threat(self) -> Threat:
        """Model, data set, goal and norm."""
        return Threat(self.model, self.key.dataset, self.key.goal, self.key.norm)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One cell that two runs have in common."""

    before: Outcomes
    """Outcomes in the first run."""
    after: Outcomes
    """Outcomes in the second run."""
    pairs: int
    """Number of images whose outcome is known in both."""
    broken: tuple[str, ...]
    """Ids of the images that were robust and no longer are."""
    mended: tuple[str, ...]
    """Ids of the images that were not robust and are now."""
    p_value: float
    """Two-sided p-value of McNemar's exact test."""
    p_adjusted: float
    """Two-sided p-value after Holm's correction over all cells; corruptions are corrected separately."""
    p_worse: float
    """One-sided p-value for the second run being worse, after the same correction."""

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def unlike(self) -> bool:
        """Whether the two runs computed gradients in different forms of the network."""
        return bool(self.before.form and self.after.form) and self.before.form != self.after.form

    @property
    def drop_pp(self) -> float:
        """Drop from the first run to the second over the pairs, percentage points."""
        return 100 * (len(self.broken) - len(self.mended)) / self.pairs if self.pairs else 0.0

    @property
    def half_width_pp(self) -> float:
        """Half width of the 95 % interval of the difference, percentage points; never 0, even if no image changed.

        Wald's interval for paired proportions, with half a pair added to each of the four outcomes (A. Agresti and Y.
        Min, Simple improved confidence intervals for comparing matched proportions, 2005).
        """
        b, c, n = len(self.broken) + 0.5, len(self.mended) + 0.5, self.pairs + 2
        return 100 * 1.96 * math.sqrt(b + c - (b - c) ** 2 / n) / n


class Comparison(NamedTuple):
    """All cells of two runs."""

    changes: tuple[Change, ...]
    """Cells that are in both runs."""
    only_before: tuple[Outcomes, ...]
    """Cells that are only in the first run."""
    only_after: tuple[Outcomes, ...]
    """Cells that are only in the second run."""


def outcomes(frame: pd.DataFrame, eps: Budgets = NO_BUDGETS) -> list[Outcomes]:
    """Outcome of each image in each cell of a run: clean, worst case, each attack, and each corruption by severity.

    Args:
        frame: Rows of a run.
        eps: Budgets, as for :func:`advbench.analysis.metrics.cells_of`.
    """
    found: dict[tuple[str, Key], Outcomes] = {}
    clean = {each.threat[:2]: each for each in gather_clean(frame)}
    for evidence in gather(frame):
        for each in _outcomes(evidence, clean[evidence.threat[:2]], eps):
            found.setdefault((each.model, each.key), each)
    for under in corrupted(frame):
        for each in _corrupted(under):
            found.setdefault((each.model, each.key), each)
    return list(found.values())


def compare(before: Iterable[Outcomes], after: Iterable[Outcomes]) -> Comparison:
    """Pair two runs image by image.

    Models are matched by name; if each run has only one model, those two are matched whatever their names.

    Example:
        >>> key = Key("toy", "untargeted", "linf", "pgd", "{}", 0.1)
        >>> one = Outcomes(model="net", key=key, samples=("a", "b", "c"), letters="111")
        >>> two = Outcomes(model="net", key=key, samples=("c", "b", "a"), letters="10?")
        >>> (change,) = compare([one], [two]).changes
        >>> change.pairs, change.broken, change.p_value
        (2, ('b',), 1.0)
    """
    first, second = list(before), list(after)
    alone = len({each.model for each in first}) == len({each.model for each in second}) == 1
    olds = {("" if alone else each.model, each.key): each for each in first}
    news = {("" if alone else each.model, each.key): each for each in second}
    pairs = [_pair(olds[key], news[key]) for key in olds if key in news]
    tests = [mcnemar(len(pair.broken), len(pair.mended)) for pair in pairs]
    families = [pair.before.key.goal == CORRUPTIONS for pair in pairs]
    adjusted = _within(families, [test.two_sided for test in tests])
    worse = _within(families, [test.worse for test in tests])
    changes = (
        Change(**pair._asdict(), p_value=test.two_sided, p_adjusted=p, p_worse=q)
        for pair, test, p, q in zip(pairs, tests, adjusted, worse, strict=True)
    )
    return Comparison(
        tuple(changes),
        tuple(each for key, each in olds.items() if key not in news),
        tuple(each for key, each in news.items() if key not in olds),
    )


def _within(families: Sequence[bool], p_values: Sequence[float]) -> list[float]:
    """Apply Holm's correction separately to corruptions, whose up to 95 tests would cost the others their power."""
    found = list(p_values)
    for family in (False, True):
        places = [place for place, own in enumerate(families) if own == family]
        for place, value in zip(places, holm([p_values[place] for place in places]), strict=True):
            found[place] = value
    return found


class _Pair(NamedTuple):
    before: Outcomes
    after: Outcomes
    pairs: int
    broken: tuple[str, ...]
    mended: tuple[str, ...]


def _pair(before: Outcomes, after: Outcomes) -> _Pair:
    """The images with a known outcome in both cells."""
    old = pd.Series(list(before.letters), index=pd.Index(before.samples))
    new = pd.Series(list(after.letters), index=pd.Index(after.samples))
    both = pd.DataFrame({"old": old, "new": new.reindex(old.index, fill_value="?")})
    known = both[(both["old"] != "?") & (both["new"] != "?")]
    changed = known[known["old"] != known["new"]]
    worse = changed["old"] == "1"
    return _Pair(
        before, after, len(known), tuple(map(str, changed.index[worse])), tuple(map(str, changed.index[~worse]))
    )


def _outcomes(evidence: ThreatResults, clean: ThreatResults, eps: Budgets) -> Iterable[Outcomes]:
    """Yield the clean images, all of them, and the cells of one threat."""
    threat = evidence.threat
    yield _made(clean, Key(threat.dataset, "", "", CLEAN, "{}", None), [])
    for level in levels(evidence, eps):
        speaking = [trial for trial in evidence.trials if trial.at(level) is not None]
        names = "; ".join(sorted(f"{t.attack} {t.params}" for t in speaking if t.attack != PROOF))
        alone = ((trial.label, trial.params, [trial]) for trial in speaking if trial.attack != PROOF)
        scenes = [(WORST_CASE, names, speaking), *alone]
        for label, params, trials in scenes:
            key = Key(threat.dataset, threat.goal, threat.norm, label, params, level)
            yield _made(evidence, key, trials)
        if (proved := proved_at(evidence.proofs, level)) is not None:
            key = Key(threat.dataset, threat.goal, threat.norm, PROOF, "{}", level)
            certain = proved & evidence.correct & (states(evidence, evidence.trials, level) != BROKEN)
            letters = "".join(_LETTERS[ROBUST if each else BROKEN] for each in certain.tolist())
            yield Outcomes(model=threat.model, key=key, samples=tuple(map(str, evidence.samples)), letters=letters)


def _corrupted(under: Corrupted) -> Iterable[Outcomes]:
    """Yield the clean images, and each corruption at each severity: 1 if the image is classified correctly."""
    threat, samples = under.images.threat, tuple(map(str, under.images.samples))
    yield _made(under.images, Key(threat.dataset, "", "", CLEAN, "{}", None), [])
    for name, several in under.wrong.items():
        for severity, wrong in several.items():
            label = f"{name.replace('_', ' ')}, severity {severity}"
            key = Key(threat.dataset, CORRUPTIONS, "", label, under.params[name, severity], None)
            letters = "".join("?" if np.isnan(each) else "01"[each == 0] for each in wrong.tolist())
            yield Outcomes(model=threat.model, key=key, samples=samples, letters=letters)


def _made(evidence: ThreatResults, key: Key, trials: Sequence[Trial]) -> Outcomes:
    letters = "".join(map(_LETTERS.__getitem__, states(evidence, trials, key.eps).tolist()))
    samples = tuple(map(str, evidence.samples))
    return Outcomes(model=evidence.threat.model, key=key, samples=samples, letters=letters, form=form_of(trials))

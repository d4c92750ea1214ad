"""Results for each image from the rows of a run: arrays for computing all numbers. Does not import torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advbench.analysis.arrays import COSTS, KEYS, Block, Bools, Columns, Floats, Ints
from advbench.analysis.labels.codes import SETS, coded, is_several, label_of
from advbench.analysis.proofs import Proofs, proofs_in, with_counterexamples
from advbench.analysis.transfer.names import attack_labels, made_on
from advbench.catalog.attacks import CORRUPTION
from advbench.config.budgets import NORMS
from advbench.records.record import PROOF, largest_size
from advbench.sanitize import one_line

BROKEN, ROBUST, UNKNOWN = 0, 1, -1
"""Outcome of one image at one eps."""

_CLASSES = (*SETS, *SETS.values(), "goal_labels")
_PROOF = ("proved", "proof_method", "error")
_SEEN = ("sample_id", "status", "met", "met_share", "flipped")
NEEDED = (*KEYS, "form", "eps", *_SEEN, *NORMS, *_CLASSES, *COSTS, *_PROOF)
"""Columns of a run's frame from which its numbers are computed."""


class Threat(NamedTuple):
    """A threat model, the subject of a robust accuracy; its attacks are comparable image by image."""

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set."""
    goal: str
    """Goal, which defines what counts as broken."""
    norm: str
    """Norm in which perturbations are measured."""


WHOLE_RUN = Threat("", "", "", "")
"""In place of a threat, for what is about all of a run."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """The rows of one attack at one eps; arrays have a value for each image of the data set."""

    unknown: Bools
    """Whether the attack failed on the image, never reached it, or fooled a random model only in some passes."""
    met: Bools
    """Whether the goal was met."""
    flipped: Bools
    """Whether the predicted class differs from the clean image's."""
    adv_class: Ints
    """Predicted class of the candidate; -1 if there is none."""
    rows: int
    """Number of rows that have a cost."""
    cost: Mapping[str, float]
    """Sums of forwards, backwards and seconds over those rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One attack, with its parameters, on all images of a threat, whatever its seeds."""

    attack: str
    """Registry name of the attack."""
    params: str
    """Parameters of the attack, as JSON."""
    label: str
    """The name, with the surrogate, and the parameters that distinguish it from other attacks of that name."""
    forms: frozenset[str]
    """Forms of the network in which it could compute gradients."""
    radius: Floats
    """Size of the smallest perturbation (N,) that met the goal, in the norm of the threat; infinite if none did."""
    levels: Mapping[float | None, Level]
    """eps -> its rows; None as a key: it is a minimum-norm attack."""

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def surrogate(self) -> str | None:
        """Label of the surrogate that was attacked instead of the model; None: the model itself."""
        return made_on(self.params)

    @property
    def minimal(self) -> bool:
        """Whether it is a minimum-norm attack, and so has a result at every eps."""
        return None in self.levels

    def at(self, eps: float | None) -> Level | None:
        """The attack's result at an eps; None: it has none."""
        return self.levels.get(eps, self.levels.get(None))


@dataclass(frozen=True, kw_only=True, eq=False)
class ThreatResults:
    """All attacks of one threat; arrays have a value for each image of the data set."""

    threat: Threat
    """Threat that the attacks belong to."""
    samples: NDArray[np.object_]
    """Ids of the images (N,)."""
    label: Ints
    """True classes; -1 where a data set has none."""
    clean: Ints
    """Predicted class of the clean image; -1 where it is unknown."""
    trials: tuple[Trial, ...]
    """Results of each attack, in the order of the run."""
    proofs: Mapping[float, Proofs] = field(default_factory=dict)
    """eps -> proofs at that eps."""
    several: bool = False
    """Whether the model has several labels for each image; classes are then numbers of label sets, or, for a goal about
    a single label, whether that label is present."""
    left_out: int = 0
    """Number of images left out, because the goal wants the class that they already have."""

    def __repr__(self) -> str:
        return one_line(self)

    @cached_property
    def correct(self) -> Bools:
        """Images classified correctly when clean; without a label the clean prediction counts as correct."""
        found: Bools = (self.clean >= 0) & ((self.label < 0) | (self.clean == self.label))
        return found

    @property
    def truth(self) -> Ints:
        """The correct class of each image: its label, or else its clean prediction."""
        return np.where(self.label < 0, self.clean, self.label)

    @property
    def relative(self) -> bool:
        """Whether any image lacks a label, so that numbers are relative to the clean predictions."""
        return bool((self.label < 0).any())

    @property
    def eps(self) -> list[float]:
        """The budgets at which attacks were run or proofs were tried, ascending."""
        return sorted({*self.proofs, *(eps for trial in self.trials for eps in trial.levels if eps is not None)})


def within(radius: Floats, eps: float | None) -> Bools:
    """Whether measured sizes are within an eps, with the judge's tolerance; None: any size is."""
    bound = np.finfo(float).max if eps is None else largest_size(eps)
    found: Bools = radius <= bound
    return found


def states(evidence: ThreatResults, trials: Sequence[Trial], eps: float | None) -> NDArray[np.int8]:
    """Outcome of each image at an eps under some attacks together.

    An image is `BROKEN` if it is misclassified when clean, or if any of the attacks found a perturbation of at most
    that size, whatever eps it was run with. Otherwise it is `UNKNOWN` if any of the attacks with results at this eps
    failed on it, or fooled a random model only in some of the judge's passes. Otherwise it is `ROBUST`.

    Args:
        evidence: Results of all attacks under one threat.
        trials: Attacks to count, from this evidence; all of them for the worst case.
        eps: Budget, image units; None: no bound.

    Returns:
        int8 (N,).
    """
    broken = (evidence.clean >= 0) & ~evidence.correct
    unknown = evidence.clean < 0
    for trial in trials:
        broken = broken | within(trial.radius, eps)
        if (level := trial.at(eps)) is not None:
            unknown = unknown | level.unknown
    return np.where(broken, BROKEN, np.where(unknown, UNKNOWN, ROBUST)).astype(np.int8)


def gather(frame: pd.DataFrame) -> list[ThreatResults]:
    """Sort the rows of a run by threat, attack and eps into arrays over images.

    Numbers cover all images that the run has for the model and the data set, except those that any of the threat's rows
    left out; an image without a row is unknown. Corruptions are excluded, since they attack nothing. One million rows
    take about two seconds.

    Args:
        frame: Rows with the columns of `advbench.records.record.COLUMNS`; several runs may be concatenated.

    Returns:
        One result for each threat, in the order in which they appear in the frame.
    """
    found = []
    frame, sets = coded(frame)
    for clean, columns in _by_images(frame):
        attacks = (block for block in columns.blocks() if not block.attack.startswith(CORRUPTION))
        for threat, group in groupby(attacks, key=lambda block: block.threat):
            blocks = list(group)
            counted = columns.counted(blocks)
            about = label_of(threat[2], columns.frame.iloc[np.concatenate([block.rows for block in blocks])])
            whole = columns if about is None else columns.about(about, sets)
            own, blocks = whole.only(counted, blocks)
            found.append(
                ThreatResults(
                    threat=Threat(*threat),
                    samples=clean.samples[counted],
                    label=(clean.label if about is None else whole.first("label"))[counted],
                    clean=(clean.clean if about is None else whole.first("clean_class"))[counted],
                    trials=_trials(blocks, own),
                    proofs=proofs_in(blocks, own),
                    several=is_several(threat[2]),
                    left_out=int((~counted).sum()),
                )
            )
    return found


def gather_clean(frame: pd.DataFrame) -> list[ThreatResults]:
    """All images of each model and data set, whatever goal they are attacked with, without any attacks."""
    return [clean for clean, _ in _by_images(coded(frame).frame)]


def _by_images(frame: pd.DataFrame) -> Iterator[tuple[ThreatResults, Columns]]:
    """Yield the images of each model and data set, and the rows about them."""
    frame = frame[[name for name in NEEDED if name in frame]]
    frame = frame if "form" in frame else frame.assign(form="plain")
    for names, rows in frame.groupby(["model", "dataset"], sort=False, observed=True):
        images, samples = pd.factorize(rows["sample_id"])
        columns = Columns(rows, images, len(samples))
        yield (
            ThreatResults(
                threat=Threat(str(names[0]), str(names[1]), "", ""),
                samples=np.asarray(samples, object),
                label=columns.first("label"),
                clean=columns.first("clean_class"),
                trials=(),
            ),
            columns,
        )


def _trials(blocks: Sequence[Block], columns: Columns) -> tuple[Trial, ...]:
    """The attacks of one threat."""
    blocks = with_counterexamples(blocks, columns)
    if not blocks:
        return ()
    radius = columns.radius(Threat(*blocks[0].threat).norm)
    names = list(dict.fromkeys((block.attack, block.params) for block in blocks))
    found = []
    for (attack, params), label in zip(names, attack_labels(names), strict=True):
        own = [block for block in blocks if (block.attack, block.params) == (attack, params)]
        smallest = np.full(columns.count, np.inf)
        for block in own:
            np.minimum.at(smallest, columns.images[block.rows], radius[block.rows])
        levels = {block.eps: _level(block.rows, columns) for block in own}
        if attack == PROOF:  # it says nothing about the images that it was not run on
            levels = {eps: replace(level, unknown=np.zeros(columns.count, bool)) for eps, level in levels.items()}
        rows = np.concatenate([block.rows for block in own])
        forms = frozenset(map(str, columns.frame["form"].iloc[rows].dropna().unique()))
        found.append(Trial(attack=attack, params=params, label=label, forms=forms, radius=smallest, levels=levels))
    return tuple(found)


def _level(rows: Ints, columns: Columns) -> Level:
    """The rows of one attack at one eps, by image; several rows of an image are several seeds."""
    images, ok = columns.images[rows], columns.ok[rows]
    unknown = np.ones(columns.count, bool)
    unknown[images] = False
    unknown[images[~ok | columns.wavering[rows]]] = True
    met, flipped = np.zeros(columns.count, bool), np.zeros(columns.count, bool)
    met[images[columns.met[rows]]] = True
    flipped[images[columns.flipped[rows]]] = True
    adv_class = np.full(columns.count, -1)
    adv_class[images[ok]] = columns.adv_class[rows[ok]]
    # With several seeds, the one that changed the class decides the recorded prediction.
    changed = rows[columns.flipped[rows]]
    adv_class[columns.images[changed]] = columns.adv_class[changed]
    costs = {name: values[rows] for name, values in columns.costs.items()}
    rated = int((~np.isnan(costs["seconds"])).sum())
    sums = {name: float(np.nansum(values)) for name, values in costs.items()}
    return Level(unknown=unknown, met=met, flipped=flipped, adv_class=adv_class, rows=rated, cost=sums)

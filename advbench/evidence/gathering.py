"""Chooses the best kept image for each image and threat, as support for claims. Does not import torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from advbench.analysis.threats import Threat, within
from advbench.evidence.png import Pixels
from advbench.evidence.standalone import margin, size_of
from advbench.records.record import OK
from advbench.records.run_folder import RunFolder
from advbench.records.storage.checksum import is_intact
from advbench.records.stored_run import StoredRun
from advbench.records.unit import Unit

_WHITE = np.float32(255)
_OFF = 1e-3
"""Distance from a grey level up to which a value counts as 8-bit, in levels: float32 rounding."""


class Carried(NamedTuple):
    """An adversarial 8-bit image that meets the goal."""

    image: Pixels
    """The image (C, H, W)."""
    size: float
    """Size of its perturbation, in the norm of the threat."""
    rank: tuple[float, float]
    """Rank, where lower is better: number of budgets that it exceeds, and margin of the goal."""


class Goal(NamedTuple):
    """A threat, and the criteria for choosing its images."""

    goal: str
    """Goal, with the numbers of classes in place of their names."""
    norm: str
    """Norm in which perturbations are measured."""
    levels: tuple[float | None, ...]
    """Budgets of the threat, ascending."""

    def rank(self, size: float, missed: float) -> tuple[float, float] | None:
        """Rank of a perturbation that meets the goal (negative `missed`); None if it exceeds every budget.

        Without budgets the smallest is best; otherwise, among those within the same budgets, the one with the clearest
        margin.
        """
        if self.levels == (None,):
            return size, missed
        beyond = sum(not within(np.array(size), eps) for eps in self.levels)
        return None if beyond == len(self.levels) else (float(beyond), missed)

    def asks_clean(self, label: int | None) -> bool:
        """Whether the goal depends on the model's prediction for the clean image."""
        return self.goal.startswith("topk-exclusion") or (label is None and self.goal.startswith(("un", "label")))


@dataclass
class Kept:
    """The images of a data set that the run kept."""

    clean: dict[str, Pixels] = field(default_factory=dict)
    """Id of an image in the run -> the clean image (C, H, W)."""
    rounded: set[str] = field(default_factory=set)
    """Ids of images that were not 8-bit, and were rounded."""
    carried: dict[Threat, dict[str, Carried]] = field(default_factory=dict)
    """Threat -> id of an image -> adversarial image that fools the model."""
    lost: dict[Threat, dict[str, list[tuple[str, int]]]] = field(default_factory=dict)
    """Threat -> id of an image -> units and file positions of candidates that meet the goal, but not in 8 bits."""
    random: dict[Threat, set[str]] = field(default_factory=dict)
    """Threat -> ids of images judged by a model with random outputs, which a single pass cannot reproduce."""

    def offer(self, threat: Threat, sample: str, found: Carried) -> None:
        """Keep an adversarial image if it is the best so far."""
        best = self.carried.setdefault(threat, {}).get(sample)
        if best is None or found.rank < best.rank:
            self.carried[threat][sample] = found


class KeptImage(NamedTuple):
    """One adversarial image of the run's files, with its row."""

    sample: str
    """Id of the image in the run."""
    place: int
    """Position in the file."""
    x: NDArray[np.float32]
    """Clean image (C, H, W) in [0, 1]."""
    x_adv: NDArray[np.float32]
    """Candidate that the attack returned."""
    clean: NDArray[np.float32]
    """Logits of the clean image (classes,)."""
    adversarial: NDArray[np.float32]
    """Logits of that candidate."""
    row: dict[str, Any]
    """Some columns of the row: label, status, met, survives_8bit, judge_draws."""


Search = Callable[[StoredRun, Sequence[Unit], Kept, Mapping[Threat, Goal]], None]
"""Searches for 8-bit images where rounding lost them, and adds them to the kept images."""


def gather_images(run: StoredRun, units: Sequence[Unit], goals: Mapping[Threat, Goal]) -> Kept:
    """Read the adversarial images of some units, and choose the best for each image and threat.

    A candidate counts if its row says that it still meets the goal with each value rounded to the nearest level.

    Args:
        run: Run whose files are read.
        units: Units about one model and one data set.
        goals: Criteria for each threat.
    """
    kept = Kept()
    for unit in units:
        threat = Threat(*unit.threat)
        if unit.unit_id in run.missing or threat not in goals:
            continue
        for each in images_of(run, unit):
            _take(kept, unit, each, goals[threat])
    return kept


def images_of(run: StoredRun, unit: Unit) -> Iterator[KeptImage]:
    """Yield the adversarial images that a unit kept; none if the file is missing or damaged."""
    try:
        content = RunFolder(run.folder).adversarials(unit.unit_id).read_bytes()
    except OSError:
        return
    if not is_intact(content):
        return
    names = ["label", "status", "met", "survives_8bit", "judge_draws"]
    own = run.frame.loc[run.frame["unit_id"] == unit.unit_id, names]
    rows = own.astype(object).where(own.notna(), None).to_dict("records")
    tensors = safetensors.numpy.load(content)
    for place, row in enumerate(tensors["rows"].tolist()):
        x, x_adv, clean, adversarial = (tensors[name][place] for name in ("x", "x_adv", "clean_logits", "adv_logits"))
        yield KeptImage(unit.sample_ids[row], place, x, x_adv, clean, adversarial, rows[row])


def as_levels(x: NDArray[np.float32]) -> Pixels:
    """Round each value of an image to the nearest of 256 levels, like the judge."""
    levels: Pixels = np.rint(x * _WHITE).astype(np.uint8)
    return levels


def _take(kept: Kept, unit: Unit, each: KeptImage, goal: Goal) -> None:
    if each.sample not in kept.clean:
        kept.clean[each.sample] = as_levels(each.x)
        if np.abs(each.x * _WHITE - kept.clean[each.sample]).max() > _OFF:
            kept.rounded.add(each.sample)
    if each.row["status"] != OK or not each.row["met"]:
        return
    if (each.row["judge_draws"] or 1) > 1:
        kept.random.setdefault(Threat(*unit.threat), set()).add(each.sample)
        return
    label = None if each.row["label"] is None else int(each.row["label"])
    if each.sample in kept.rounded and goal.asks_clean(label):
        return
    threat, clean, image = Threat(*unit.threat), kept.clean[each.sample], as_levels(each.x_adv)
    size = size_of(image.astype(np.int64) - clean, goal.norm)
    rank = (
        goal.rank(size, margin(goal.goal, each.adversarial, each.clean, label)) if each.row["survives_8bit"] else None
    )
    if rank is None:
        kept.lost.setdefault(threat, {}).setdefault(each.sample, []).append((unit.unit_id, each.place))
    else:
        kept.offer(threat, each.sample, Carried(image, size, rank))

"""Several attacks on the same images, of which the smallest perturbation counts."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from advbench.evaluation.batch import BatchAttack, ImageResult, attack_batch
from advbench.evaluation.recording import Sample
from advbench.records.record import OK, Record


class Best(NamedTuple):
    """What several attacks made of one image."""

    result: ImageResult
    """The result of the attack that found the smallest perturbation; of the first, if none met the goal."""
    which: int
    """Its place among the attacks."""
    records: tuple[Record, ...]
    """The rows of all of them, in their order."""


def attack_by_several(
    setups: Sequence[BatchAttack], x: Tensor, samples: Sequence[Sample], clean: Tensor | None = None
) -> list[Best]:
    """Attack images by each of several attacks, and keep for each image what changed it least.

    Each attack is judged for itself, so that one that fails takes nothing from the others.

    Args:
        setups: The attacks, at least one, of the same model, goal, norm and eps.
        x: Images (N, C, H, W) in [0, 1].
        samples: Their ids, names and labels (N).
        clean: Their clean logits (N, classes), if known; see :func:`advbench.evaluation.batch.attack_batch`.

    Returns:
        The best for each image (N).
    """
    found = [attack_batch(setup, x, samples, clean) for setup in setups]
    norm = str(setups[0].source.columns.get("norm", ""))
    return [_best(tried, norm) for tried in zip(*found, strict=True)]


def _best(tried: Sequence[ImageResult], norm: str) -> Best:
    records = tuple(result.record for result in tried)
    which = min(range(len(records)), key=lambda place: _order(records[place], norm))
    return Best(tried[which], which, records)


def _order(record: Record, norm: str) -> tuple[bool, bool, float]:
    """What is known before what is not, what met the goal before what did not, the smallest first."""
    size = getattr(record, norm, None)
    return record.status != OK, not record.met, math.inf if size is None else size

"""Several attacks on the same images; the smallest perturbation counts."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from advbench.evaluation.batch import BatchAttack, ImageResult, attack_batch
from advbench.evaluation.recording import Sample
from advbench.records.record import OK, Record


class Best(NamedTuple):
    """Combined result of several attacks on one image."""

    result: ImageResult
    """The result of the attack with the smallest perturbation; of the first attack, if none met the goal."""
    which: int
    """Index of that attack."""
    records: tuple[Record, ...]
    """The records of all attacks, in order."""


def attack_by_several(
    setups: Sequence[BatchAttack], x: Tensor, samples: Sequence[Sample], clean: Tensor | None = None
) -> list[Best]:
    """Attack images with each of several attacks, and keep the smallest perturbation for each image.

    Each attack is judged separately, so a failing one does not affect the others.

    Args:
        setups: The attacks, at least one, with the same model, goal, norm and eps.
        x: Images (N, C, H, W) in [0, 1].
        samples: Ids, names and labels of the images (N).
        clean: Clean logits (N, classes), if known; see :func:`advbench.evaluation.batch.attack_batch`.

    Returns:
        The best result for each image (N).
    """
    found = [attack_batch(setup, x, samples, clean) for setup in setups]
    norm = str(setups[0].source.columns.get("norm", ""))
    return [_best(tried, norm) for tried in zip(*found, strict=True)]


def _best(tried: Sequence[ImageResult], norm: str) -> Best:
    records = tuple(result.record for result in tried)
    which = min(range(len(records)), key=lambda place: _order(records[place], norm))
    return Best(tried[which], which, records)


def _order(record: Record, norm: str) -> tuple[bool, bool, float]:
    """Sort key: known before unknown outcomes, goal met before not met, then by size."""
    size = getattr(record, norm, None)
    return record.status != OK, not record.met, math.inf if size is None else size

"""Turns the judge's tensors into records, for `advbench attack` and for runs alike."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from advbench.config.masks import mask_in
from advbench.evaluation.evaluate import Evaluation
from advbench.evaluation.predictions import Prediction
from advbench.records.record import LEFT_OUT, OK, UNKNOWN, Reason, Record
from advbench.sanitize import display_name
from attacks import Attack

INVALID = "the image it returned is not finite, leaves [0, 1] or is further away than eps"
"""Reason for an unknown outcome: the candidate is invalid."""
BESIDE_THE_MASK = (
    "the image it returned is not finite, leaves [0, 1], is further away than eps or differs outside the mask"
)
"""Reason for an unknown outcome: the candidate is invalid, where a mask says what may change."""
UNANSWERED = "the model's answers are not all finite"
"""Reason for an unknown outcome: the model gave no usable outputs."""
ITS_LABEL, ITS_CLASS = "its label is the target", "its class is the target already"
"""Reasons for leaving an image out: its label, or, if it has none, the class that the model predicts."""
ITS_LABELS, ITS_ANSWER = (
    "its labels are what the goal asks for",
    "its predicted labels are what the goal asks for already",
)
"""Reasons for leaving an image out under a multi-label goal."""


class Provenance(NamedTuple):
    """The values that determine the results of a run and are repeated in each of its rows."""

    run_id: str
    """Digest of everything that determines the results."""
    columns: dict[str, Any]
    """Columns of the record that are the same for all images."""

    def with_columns(self, **more: Any) -> "Provenance":
        """Return a copy with more columns.

        Example:
            >>> Provenance("r", {"model": "m"}).with_columns(seed=0).columns
            {'model': 'm', 'seed': 0}
        """
        return self._replace(columns=self.columns | more)


class Sample(NamedTuple):
    """One image of a data set."""

    sample_id: str
    """Digest of its content."""
    sample_name: str
    """Its name in the data set."""
    label: int | None
    """Its true class, if known."""
    labels: tuple[int, ...] | None = None
    """Its true labels, ascending, if the data has several per image."""

    @classmethod
    def of(cls, sample_id: str, name: str, truth: int | tuple[int, ...] | None) -> Self:
        """An image with its true class, or its labels.

        Example:
            >>> Sample.of("ab", "0", (1, 3)).labels
            (1, 3)
        """
        return cls(sample_id, name, *((None, truth) if isinstance(truth, tuple) else (truth,)))


class Measurement(NamedTuple):
    """Measurements of one image under attack, as plain numbers."""

    valid: bool
    """Whether the candidate is finite, in [0, 1] and within eps."""
    answered: bool
    """Whether the goal was met or all outputs were finite; an image without usable outputs never counts as robust."""
    flipped: bool
    """Whether the predicted class changed, or any of the predicted labels, whatever the goal."""
    met: bool
    """Whether the candidate is valid and meets the goal."""
    survives_8bit: bool
    """Whether it still does, within eps, with each value rounded to the nearest of 256 levels."""
    met_8bit: bool
    """Whether its stored 8-bit version, however it was rounded, is valid and meets the goal."""
    size_8bit: float
    """Perturbation size of that version, in the norm of eps."""
    met_share: float
    """Share of the judge's passes in which the candidate meets the goal."""
    judge_draws: int
    """Number of those passes."""
    sizes: dict[str, float]
    """Name of each norm -> perturbation size in that norm."""
    forwards: float
    """Forward passes of the attack on this image."""
    backwards: float
    """Backward passes of the attack on this image."""
    seconds: float
    """Wall time of the attack, divided by the number of images in its batch."""


def measurements(result: Evaluation) -> Iterator[Measurement]:
    """Yield the measurements of each image of a batch."""
    verdicts = result.verdicts
    columns = {
        name: getattr(verdicts, name)
        for name in ("valid", "met", "survives_8bit", "met_8bit", "size_8bit", "met_share", "judge_draws")
    }
    columns |= {"flipped": verdicts.flipped, "forwards": result.forwards, "backwards": result.backwards}
    # An image that was not fooled because the model gave no usable outputs must not count as robust.
    columns["answered"] = verdicts.met | (result.answered & verdicts.adv_logits.isfinite().all(1))
    lists = {name: values.tolist() for name, values in columns.items()}
    sizes = {name: values.tolist() for name, values in verdicts.sizes.items()}
    for row, values in enumerate(zip(*lists.values(), strict=True)):
        of_row = {name: each[row] for name, each in sizes.items()}
        yield Measurement(**dict(zip(lists, values, strict=True)), sizes=of_row, seconds=result.seconds)


def as_record(source: Provenance, sample: Sample, seen: Measurement, ranked: tuple[Prediction, Prediction]) -> Record:
    """The record of one image; for an invalid candidate, it holds only the clean classes and the cost.

    Args:
        source: The columns that all records share.
        sample: Id, name and label of the image.
        seen: The measurements of the image.
        ranked: The top classes, or the labels, before and after the attack.
    """
    before, after = ranked
    columns = (
        source.columns
        | sample._asdict()
        | {
            "run_id": source.run_id,
            **before.columns("clean"),
            **{name: getattr(seen, name) for name in ("forwards", "backwards", "seconds")},
        }
    )
    if not (seen.valid and seen.answered):
        invalid = BESIDE_THE_MASK if mask_in(source.columns["dataset"]) else INVALID
        reason, why = (Reason.NO_ANSWER, UNANSWERED) if seen.valid else (Reason.INVALID, invalid)
        told = failure(sample.sample_name, source.columns["attack"], why)
        return Record(status=UNKNOWN, reason=reason, error=told, **columns)
    columns |= {
        **after.columns("adv"),
        **{name: getattr(seen, name) for name in ("flipped", "met", "survives_8bit", "judge_draws", "met_share")},
        **(seen.sizes if seen.met else {}),
    }
    return Record(status=OK, **columns)


def lost(sample: Sample, source: Provenance, reason: Reason, why: str, before: Prediction | None = None) -> Record:
    """The record of an image whose outcome is unknown, with its clean classes if those are known.

    Args:
        sample: Id, name and label of the image.
        source: The columns that all records share.
        reason: The kind of failure.
        why: The explanation, a sentence.
        before: The top classes of the clean image, if known.
    """
    return _unattacked(sample, source, before, status=UNKNOWN, reason=reason, error=why)


def left_out(sample: Sample, source: Provenance, before: Prediction | None = None) -> Record:
    """The record of an image for which the goal has no meaning; see :meth:`attacks.goals.Goal.granted`."""
    if source.columns.get("goal_labels") is not None:
        why = ITS_ANSWER if sample.labels is None else ITS_LABELS
    else:
        why = ITS_CLASS if sample.label is None else ITS_LABEL
    return _unattacked(sample, source, before, status=LEFT_OUT, error=why)


def _unattacked(sample: Sample, source: Provenance, before: Prediction | None, **said: str) -> Record:
    clean = {} if before is None else before.columns("clean")
    columns = source.columns | sample._asdict() | clean | said
    return Record(run_id=source.run_id, **columns)


def failure(name: str | Path, attack: str, why: str) -> str:
    """The message for an image on which an attack failed: what, where, why, what to do next.

    Example:
        >>> failure("tiger.jpg", "pgd", "out of memory")
        "attack 'pgd' failed on 'tiger.jpg': out of memory; try another attack or model"
    """
    name, why = display_name(name, limit=200), display_name(" ".join(why.split()), limit=300)
    return f"attack '{attack}' failed on '{name}': {why}; try another attack or model"


def parameters(attack: Attack) -> str:
    """All parameters of an attack except its norm, as JSON; an attack inside it becomes a list that holds its repr.

    Starting images are not among the parameters, as they belong to the data set; nor is the kind of a corruption, which
    is part of the attack's name.

    Example:
        >>> from attacks import PGD
        >>> parameters(PGD())
        '{"steps": 40, "relative_step": 0.0625, "random_start": true, "loss": "margin"}'
    """
    named = {name: value for name, value in vars(attack).items() if name not in ("norm", "starts", "corruption")}
    return json.dumps(named, default=lambda inner: [repr(inner)])


def short_digest(*parts: object) -> str:
    """A digest of 16 hexadecimal digits, which changes with any of the parts.

    Example:
        >>> len(short_digest("0.1.0", {"eps": 0.5}))
        16
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

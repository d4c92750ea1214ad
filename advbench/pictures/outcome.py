"""Turns the judge's tensors into the stored and displayed result of each picture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from advbench.config.attack import AttackConfig
from advbench.config.budgets import NORMS
from advbench.config.masks import with_mask
from advbench.config.pictures.photograph import ORIGINAL, at_own_size
from advbench.evaluation.batch import ImageResult
from advbench.evaluation.goals import goal_labels
from advbench.evaluation.predictions import Ranking, rank
from advbench.evaluation.recording import Provenance, Sample, lost, parameters, short_digest
from advbench.models.classifier import Classifier
from advbench.pictures.proving import Reach
from advbench.records.record import LEFT_OUT, UNKNOWN, Reason, Record, as_row
from advbench.sanitize import display_name
from attacks import Attack

FILES = "files"
"""Name of the data set, in records, for pictures given one by one."""
SHOWN = 7
"""Number of top classes that are displayed."""


class Guess(NamedTuple):
    """One of the top classes of a picture."""

    class_index: int
    """Index of the class."""
    name: str
    """Name of the class."""
    confidence: float
    """Softmax probability of the class; for a multi-label model, the sigmoid."""
    on: bool | None = None
    """Whether the label applies, for a multi-label model; None for classes."""


class ReadBack(NamedTuple):
    """Measurements on a written file, opened again as any user would."""

    file: str
    """Name of the file."""
    saved_as: str
    """Format of the file; for a JPEG, with the quality."""
    size: tuple[int, int]
    """Width and height in pixels, as displayed."""
    met: bool
    """Whether the picture in it meets the goal, and the change is within eps."""
    linf: float
    """Largest difference from the photograph, image units; for a JPEG it exceeds the perturbation."""
    saving: float
    """Largest difference for the photograph itself, saved in the same way; 0 for a lossless format."""


class PictureResult(NamedTuple):
    """The outcome of one picture."""

    path: Path
    """Path of the picture, as the user gave it."""
    record: Record
    """Stored record of the picture."""
    before: tuple[Guess, ...] = ()
    """The top classes of the clean picture."""
    after: tuple[Guess, ...] = ()
    """The top classes of the adversarial picture."""
    files: Mapping[str, Path] = MappingProxyType({})
    """Name -> path of each file written."""
    met_8bit: bool | None = None
    """Whether the 8-bit picture that was written meets the goal within eps; None if unknown."""
    size_8bit: float | None = None
    """Size of that picture's perturbation in the norm of eps; None if unknown."""
    reach: Reach | None = None
    """Reach of a proof; None if none was tried."""
    notes: tuple[str, ...] = ()
    """Assumptions about the model, in sentences."""
    rivals: tuple[Record, ...] = ()
    """The records of all attacks on the picture, of which this is the one with the smallest perturbation; empty if
    there was only one attack."""
    read_back: ReadBack | None = None
    """Measurements on the written file, for a picture attacked at its original size; None for all others."""

    def as_row(self) -> dict[str, Any]:
        """The record with what `--json` adds: names, confidences, files, and the result for the 8-bit picture."""
        k = len(self.before if self.record.clean_topk is None else self.record.clean_topk)
        return as_row(self.record) | {
            "image": str(self.path),
            "clean_topk_names": [guess.name for guess in self.before[:k]],
            "adv_topk_names": [guess.name for guess in self.after[:k]],
            "clean_topk_confidences": [guess.confidence for guess in self.before[:k]],
            "adv_topk_confidences": [guess.confidence for guess in self.after[:k]],
            "met_8bit": self.met_8bit,
            "size_8bit": self.size_8bit,
            "proved_eps": None if self.reach is None else self.reach.eps,
            "notes": list(self.notes),
            "attacks": [_in_short(record) for record in self.rivals],
            "read_back": None if self.read_back is None else self.read_back._asdict(),
            "files": {name: str(path) for name, path in self.files.items()},
        }


def provenance(
    config: AttackConfig, model: Classifier, attack: Attack, version: str, form: str = "plain"
) -> Provenance:
    """Describe a run of `advbench attack`.

    Args:
        config: The options of the command.
        model: The classifier under attack.
        attack: The attack, for its parameters.
        version: The version of advbench.
        form: Form of the network in which the attack computes gradients.
    """
    dataset = config.data.spec.label if config.data else FILES
    if config.size == ORIGINAL:
        dataset = at_own_size(dataset, config.saved_as)
    columns = {
        "model": config.model,
        "weights_sha256": model.weights_sha256 or "",
        "dataset": dataset if config.mask is None else with_mask(dataset, config.mask.text),
        "attack": config.attack,
        "params": parameters(attack),
        "goal": str(config.goal),
        "norm": config.norm,
        "eps": config.eps,
        "seed": config.seed,
        "form": form,
        "goal_labels": goal_labels(config.goal, model),
    }
    columns |= {} if config.surrogate is None else {"surrogate": config.surrogate.label}
    told = config.about.said()
    return Provenance(short_digest(version, columns, *([told] if told else [])), columns)


def failed(
    path: Path, why: str, source: Provenance, sample: str = "", reason: Reason = Reason.UNREADABLE
) -> PictureResult:
    """The outcome of a picture that could not be read or attacked, with status `unknown`.

    Args:
        path: Path of the picture.
        why: The failure, in a sentence that names the picture.
        source: The columns that all records share.
        sample: Id of the image, if it was readable.
        reason: The kind of failure.
    """
    unit = short_digest(source.run_id, sample or str(path))
    record = lost(Sample(sample, "", None), source, reason, why)
    return PictureResult(path, replace(record, unit_id=unit))


def picture_result(
    path: Path, result: ImageResult, model: Classifier, rivals: tuple[Record, ...] = ()
) -> PictureResult:
    """The outcome of a picture that was attacked or left out.

    Args:
        path: Path of the picture.
        result: Result of the image, whose name is that path.
        model: The classifier, for the names of the classes.
        rivals: The records of all attacks on it, if there were several.
    """
    record = replace(result.record, unit_id=short_digest(result.record.run_id, result.record.sample_id))
    if record.dataset.partition(",")[0] == FILES:  # pictures given one by one have paths instead of names
        record = replace(record, sample_name="")
    before = _first_classes(result.clean, record.clean_topk, model)
    if result.pointless and record.status != UNKNOWN:
        record = _left_out(path, record, None if model.several else before[0].name)
    if result.candidate is None:
        return PictureResult(path, record, before, rivals=rivals)
    measured, after = result.candidate.measured, _first_classes(result.candidate.logits, record.adv_topk, model)
    return PictureResult(
        path, record, before, after, met_8bit=measured.met_8bit, size_8bit=measured.size_8bit, rivals=rivals
    )


def _in_short(record: Record) -> dict[str, Any]:
    """Result of one of several attacks, for `--json`."""
    names = ("attack", "status", "met", *NORMS, "forwards", "backwards", "seconds")
    return {name: getattr(record, name) for name in names}


def _left_out(path: Path, record: Record, name: str | None) -> Record:
    """The record of a picture that already has the class that the goal wants first, without a verdict.

    Args:
        path: Path of the picture.
        record: Record of the picture.
        name: Name of the class; None for a multi-label model.
    """
    path_shown = display_name(path, limit=200)
    why = f"'{path_shown}' already meets the goal '{display_name(record.goal, limit=80)}'"
    if name is not None:
        why = f"'{path_shown}' already has the class '{display_name(name, limit=200)}', which the goal wants"
    return replace(record, status=LEFT_OUT, met=None, survives_8bit=None, error=why)


def _first_classes(logits: Tensor | None, kept: tuple[int, ...] | None, model: Classifier) -> tuple[Guess, ...]:
    """The top classes of a picture: as many as its record keeps or as are displayed, whichever is more."""
    if logits is None:
        return ()
    if model.several:
        return _labels(logits, model)
    (ranking,) = rank(logits.unsqueeze(0), max(len(kept or ()), SHOWN))
    return _guesses(ranking, model)


def _labels(logits: Tensor, model: Classifier) -> tuple[Guess, ...]:
    """The labels of a picture, most likely first; empty if the output is not finite."""
    if not bool(logits.isfinite().all()):
        return ()
    on, shares = model.labels_on(logits).tolist(), logits.sigmoid().tolist()
    order = logits.argsort(descending=True, stable=True).tolist()
    return tuple(Guess(index, model.classes[index], shares[index], on[index]) for index in order)


def first_classes(logits: Tensor, count: int, model: Classifier) -> list[tuple[Guess, ...]]:
    """The top classes of each image.

    Args:
        logits: Logits of the images (N, classes).
        count: Number of classes for each image.
        model: The classifier, for the names of the classes.
    """
    return [_guesses(ranking, model) for ranking in rank(logits, count)]


def _guesses(ranking: Ranking, model: Classifier) -> tuple[Guess, ...]:
    """The top classes with their names."""
    return tuple(Guess(index, model.classes[index], confidence) for index, confidence in zip(*ranking, strict=True))

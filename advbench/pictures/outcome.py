"""From the judge's tensors to what is kept and shown of each picture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from advbench.config.attack import AttackConfig
from advbench.evaluation.batch import ImageResult
from advbench.evaluation.recording import Provenance, Ranking, Sample, lost, parameters, rank, short_digest
from advbench.models.classifier import Classifier
from advbench.records.record import LEFT_OUT, UNKNOWN, Reason, Record, as_row
from advbench.sanitize import display_name
from attacks import Attack

SHOWN = 7
"""How many of the first classes a person is shown."""


class Guess(NamedTuple):
    """One of the first classes of a picture."""

    class_index: int
    """Of the class."""
    name: str
    """Of the class."""
    confidence: float
    """Softmax probability."""


class PictureResult(NamedTuple):
    """What became of one picture."""

    path: Path
    """As it was named."""
    record: Record
    """The row that is kept."""
    before: tuple[Guess, ...] = ()
    """The first classes of the clean picture."""
    after: tuple[Guess, ...] = ()
    """The first classes of the adversarial picture."""
    files: Mapping[str, Path] = MappingProxyType({})
    """Name -> path of what was written."""
    met_8bit: bool | None = None
    """The 8-bit picture that is written meets the goal within eps; None where nothing is known."""
    size_8bit: float | None = None
    """Size of that picture's change in the norm of eps; None where nothing is known."""

    def as_row(self) -> dict[str, Any]:
        """The record with what `--json` adds: names, confidences, files, and what holds of the 8-bit picture."""
        k = len(self.record.clean_topk or ())
        return as_row(self.record) | {
            "image": str(self.path),
            "clean_topk_names": [guess.name for guess in self.before[:k]],
            "adv_topk_names": [guess.name for guess in self.after[:k]],
            "clean_topk_confidences": [guess.confidence for guess in self.before[:k]],
            "adv_topk_confidences": [guess.confidence for guess in self.after[:k]],
            "met_8bit": self.met_8bit,
            "size_8bit": self.size_8bit,
            "files": {name: str(path) for name, path in self.files.items()},
        }


def provenance(
    config: AttackConfig, model: Classifier, attack: Attack, version: str, form: str = "plain"
) -> Provenance:
    """Describe a run of `advbench attack`.

    Args:
        config: What was asked for.
        model: The classifier.
        attack: The attack.
        version: Of advbench.
        form: Of the network, from which the attack takes its gradients.
    """
    columns = {
        "model": config.model,
        "weights_sha256": model.weights_sha256 or "",
        "dataset": "files",
        "attack": config.attack,
        "params": parameters(attack),
        "goal": str(config.goal),
        "norm": config.norm,
        "eps": config.eps,
        "seed": config.seed,
        "form": form,
    }
    return Provenance(short_digest(version, columns), columns)


def failed(
    path: Path, why: str, source: Provenance, sample: str = "", reason: Reason = Reason.UNREADABLE
) -> PictureResult:
    """The outcome of a picture that could not be read or attacked: nothing is known about it.

    Args:
        path: The picture.
        why: What failed, in a sentence that names the picture.
        source: The run.
        sample: Id of the image, where it could be read.
        reason: The kind of failure.
    """
    unit = short_digest(source.run_id, sample or str(path))
    record = lost(Sample(sample, "", None), source, reason, why)
    return PictureResult(path, replace(record, unit_id=unit))


def picture_result(path: Path, result: ImageResult, model: Classifier) -> PictureResult:
    """The outcome of a picture that was attacked, or left out.

    Args:
        path: The picture.
        result: Of the image, called by the path.
        model: For the names of the classes.
    """
    # Pictures given one by one have no names in a data set, only paths.
    record = replace(result.record, unit_id=short_digest(result.record.run_id, result.record.sample_id), sample_name="")
    before = _first_classes(result.clean, record.clean_topk, model)
    if result.pointless and record.status != UNKNOWN:
        record = _left_out(path, record, before[0].name)
    if result.candidate is None:
        return PictureResult(path, record, before)
    measured, after = result.candidate.measured, _first_classes(result.candidate.logits, record.adv_topk, model)
    return PictureResult(path, record, before, after, met_8bit=measured.met_8bit, size_8bit=measured.size_8bit)


def _left_out(path: Path, record: Record, name: str) -> Record:
    """The record of a picture that is of the class already that the goal wants first: nothing is said of the goal."""
    path_shown, name_shown = (display_name(each, limit=200) for each in (path, name))
    why = f"'{path_shown}' is of the class '{name_shown}' already, which the goal wants"
    return replace(record, status=LEFT_OUT, met=None, survives_8bit=None, error=why)


def _first_classes(logits: Tensor | None, kept: tuple[int, ...] | None, model: Classifier) -> tuple[Guess, ...]:
    """The first classes of a picture: as many as its record keeps or a person is shown, whichever is more."""
    if logits is None:
        return ()
    (ranking,) = rank(logits.unsqueeze(0), max(len(kept or ()), SHOWN))
    return _guesses(ranking, model)


def first_classes(logits: Tensor, count: int, model: Classifier) -> list[tuple[Guess, ...]]:
    """The first classes of each image.

    Args:
        logits: (N, classes).
        count: How many.
        model: For the names.
    """
    return [_guesses(ranking, model) for ranking in rank(logits, count)]


def _guesses(ranking: Ranking, model: Classifier) -> tuple[Guess, ...]:
    """The first classes with their names."""
    return tuple(Guess(index, model.classes[index], confidence) for index, confidence in zip(*ranking, strict=True))

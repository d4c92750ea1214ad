"""From the judge's tensors to what is kept and shown of each picture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from advbench.config.attack import AttackConfig
from advbench.evaluation.evaluate import Evaluation
from advbench.evaluation.recording import (
    Provenance,
    Ranking,
    Sample,
    as_record,
    failure,
    left_out,
    measurements,
    parameters,
    rank,
    short_digest,
)
from advbench.models.classifier import Classifier
from advbench.records.record import LEFT_OUT, UNKNOWN, Record, as_row
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


def failed(path: Path, reason: str, source: Provenance, sample: str = "") -> PictureResult:
    """The outcome of a picture that could not be read or attacked: nothing is known about it.

    Args:
        path: The picture.
        reason: What failed, in a sentence that names the picture.
        source: The run.
        sample: Id of the image, where it could be read.
    """
    unit = short_digest(source.run_id, sample or str(path))
    record = Record(
        run_id=source.run_id, unit_id=unit, sample_id=sample, status=UNKNOWN, error=reason, **source.columns
    )
    return PictureResult(path, record)


def spared(path: Path, sample: str, logits: Tensor, k: int, model: Classifier, source: Provenance) -> PictureResult:
    """The outcome of a picture that is not attacked, because it is of the class already that the goal wants first.

    Args:
        path: The picture.
        sample: Id of the image.
        logits: Of the image (classes,).
        k: How many of the first classes the record keeps.
        model: For the names of the classes.
        source: The run.
    """
    (ranking,) = rank(logits.unsqueeze(0), max(k, SHOWN))
    record = left_out(Sample(sample, "", None), source, ranking.first(k))
    record = replace(record, unit_id=short_digest(source.run_id, record.sample_id))
    return set_aside(PictureResult(path, record, _guesses(ranking, model)))


def set_aside(outcome: PictureResult) -> PictureResult:
    """The outcome of a picture that is of the class already that the goal wants first: nothing is said of the goal."""
    path, name = (display_name(each, limit=200) for each in (outcome.path, outcome.before[0].name))
    why = f"'{path}' is of the class '{name}' already, which the goal wants"
    return outcome._replace(record=replace(outcome.record, status=LEFT_OUT, met=None, survives_8bit=None, error=why))


def picture_results(
    paths: list[Path], ids: list[str], result: Evaluation, k: int, model: Classifier, source: Provenance
) -> list[PictureResult]:
    """The outcome of each picture of a batch that was attacked.

    Args:
        paths: Of the pictures (N).
        ids: Of the images (N), all different.
        result: What the attack did.
        k: How many of the first classes the record keeps.
        model: For the names of the classes.
        source: The run.
    """
    before = rank(result.verdicts.clean_logits, max(k, SHOWN))
    after = rank(result.verdicts.adv_logits, max(k, SHOWN))
    done = []
    for path, name, row, *ranked in zip(paths, ids, measurements(result), before, after, strict=True):
        sample = Sample(name, "", None)
        record = as_record(source, sample, row, (ranked[0].first(k), ranked[1].first(k)))
        if record.error:
            record = replace(record, error=failure(path, source.columns["attack"], record.error))
        record = replace(record, unit_id=short_digest(source.run_id, sample.sample_id))
        old, new = (_guesses(each, model) for each in ranked)
        if record.status == UNKNOWN:
            done.append(PictureResult(path, record, old))
        else:
            done.append(PictureResult(path, record, old, new, met_8bit=row["met_8bit"], size_8bit=row["size_8bit"]))
    return done


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

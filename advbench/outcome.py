"""From the judge's tensors to what is kept and shown of each picture."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from advbench.config import AttackConfig
from advbench.datasets.batch import sample_id
from advbench.evaluate import Evaluation
from advbench.models.classifier import Classifier
from advbench.records import OK, UNKNOWN, Record, as_row
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


class Outcome(NamedTuple):
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

    def as_row(self) -> dict[str, Any]:
        """The record with the names, confidences and files that `--json` adds."""
        k = len(self.record.clean_topk or ())
        return as_row(self.record) | {
            "image": str(self.path),
            "clean_topk_names": [guess.name for guess in self.before[:k]],
            "adv_topk_names": [guess.name for guess in self.after[:k]],
            "clean_topk_confidences": [guess.confidence for guess in self.before[:k]],
            "adv_topk_confidences": [guess.confidence for guess in self.after[:k]],
            "files": {name: str(path) for name, path in self.files.items()},
        }


class Provenance(NamedTuple):
    """What decides the results of a run and stands in each of its rows."""

    run_id: str
    """Digest of the rest."""
    columns: dict[str, Any]
    """Columns of the record that are the same for all pictures."""


def provenance(config: AttackConfig, model: Classifier, attack: Attack, version: str) -> Provenance:
    """Describe a run of `advbench attack`."""
    columns = {
        "model": config.model,
        "weights_sha256": model.weights_sha256 or "",
        "dataset": "files",
        "attack": config.attack,
        "params": json.dumps({name: value for name, value in vars(attack).items() if name != "norm"}),
        "goal": str(config.goal),
        "norm": config.norm,
        "eps": config.eps,
        "seed": config.seed,
    }
    return Provenance(_digest(version, columns), columns)


def failed(path: Path, error: Exception, source: Provenance, x: Tensor | None = None) -> Outcome:
    """The outcome of a picture that could not be read or attacked: nothing is known about it.

    Args:
        path: The picture.
        error: Why.
        source: The run.
        x: The image (C, H, W), where it could be read.
    """
    sample = "" if x is None else sample_id(x)
    reason = " ".join(str(error).split()) or type(error).__name__
    unit = _digest(source.run_id, sample or str(path))
    return Outcome(
        path,
        Record(run_id=source.run_id, unit_id=unit, sample_id=sample, status=UNKNOWN, error=reason, **source.columns),
    )


def outcomes(
    paths: list[Path], x: Tensor, result: Evaluation, k: int, model: Classifier, source: Provenance
) -> list[Outcome]:
    """The outcome of each picture of a batch that was attacked.

    Args:
        paths: Of the pictures (N).
        x: Clean images (N, C, H, W).
        result: What the attack did.
        k: How many of the first classes the record keeps.
        model: For the names of the classes.
        source: The run.
    """
    before = _first(result.verdicts.clean_logits, max(k, SHOWN), model)
    after = _first(result.verdicts.adv_logits, max(k, SHOWN), model)
    verdicts: dict[str, Any] = {
        name: values.tolist() for name, values in result.verdicts._asdict().items() if values.ndim == 1
    }
    flipped, forwards, backwards = (t.tolist() for t in (result.verdicts.flipped, result.forwards, result.backwards))
    kept = []
    for i, path in enumerate(paths):
        sample, met, valid = sample_id(x[i]), verdicts["met"][i], verdicts["valid"][i]
        sizes: dict[str, Any] = {name: verdicts[name][i] if met else None for name in ("l0", "l1", "l2", "linf")}
        record = Record(
            run_id=source.run_id,
            unit_id=_digest(source.run_id, sample),
            sample_id=sample,
            clean_class=before[i][0].class_index,
            clean_confidence=before[i][0].confidence,
            adv_class=after[i][0].class_index,
            adv_confidence=after[i][0].confidence,
            clean_topk=tuple(guess.class_index for guess in before[i][:k]),
            adv_topk=tuple(guess.class_index for guess in after[i][:k]),
            flipped=flipped[i],
            met=met,
            forwards=forwards[i],
            backwards=backwards[i],
            seconds=result.seconds,
            survives_8bit=verdicts["survives_8bit"][i],
            **sizes,
            status=OK if valid else UNKNOWN,
            error=None if valid else "the attack left [0, 1] or its budget",
            **source.columns,
        )
        kept.append(Outcome(path, record, before[i], after[i]))
    return kept


def _first(logits: Tensor, count: int, model: Classifier) -> list[tuple[Guess, ...]]:
    """The first classes of each image."""
    best = logits.softmax(1).topk(min(count, logits.shape[1]), dim=1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [
        tuple(Guess(index, model.classes[index], value) for index, value in zip(indices, values, strict=True))
        for indices, values in pairs
    ]


def _digest(*parts: object) -> str:
    """16 hexadecimal digits that change with any of the parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

"""From the judge's tensors to what is kept and shown of each picture."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from advbench.config import AttackConfig
from advbench.datasets.batch import sample_id
from advbench.evaluate import Evaluation
from advbench.models.classifier import Classifier
from advbench.names import display_name
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
    size_8bit: float | None = None
    """Size of the 8-bit picture's change in the norm of eps; None where nothing is known."""

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


def failed(path: Path, reason: str, source: Provenance, x: Tensor | None = None) -> Outcome:
    """The outcome of a picture that could not be read or attacked: nothing is known about it.

    Args:
        path: The picture.
        reason: What failed, in a sentence that names the picture.
        source: The run.
        x: The image (C, H, W), where it could be read.
    """
    sample = "" if x is None else sample_id(x)
    unit = _digest(source.run_id, sample or str(path))
    record = Record(
        run_id=source.run_id, unit_id=unit, sample_id=sample, status=UNKNOWN, error=reason, **source.columns
    )
    return Outcome(path, record)


def failure(path: Path, source: Provenance, why: str) -> str:
    """The sentence for a picture on which an attack failed: what, where, why, what next."""
    name, why = display_name(path, limit=200), display_name(" ".join(why.split()), limit=300)
    return f"attack '{source.columns['attack']}' failed on '{name}': {why}; try another attack or model"


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
    before = first_classes(result.verdicts.clean_logits, max(k, SHOWN), model)
    after = first_classes(result.verdicts.adv_logits, max(k, SHOWN), model)
    rows = zip(paths, map(sample_id, x), _scalars(result), before, after, strict=True)
    return [_outcome(path, sample, row, b, a, k, source) for path, sample, row, b, a in rows]


def _scalars(result: Evaluation) -> Iterator[dict[str, Any]]:
    """The measurements of each image."""
    verdicts = result.verdicts
    columns = {name: values for name, values in verdicts._asdict().items() if values.ndim == 1}
    columns |= {"flipped": verdicts.flipped, "forwards": result.forwards, "backwards": result.backwards}
    # An image that was not fooled while the model gave no answers is not one that withstood.
    columns["answered"] = verdicts.met | (result.answered & verdicts.adv_logits.isfinite().all(1))
    lists = {name: values.tolist() for name, values in columns.items()}
    for values in zip(*lists.values(), strict=True):
        yield dict(zip(lists, values, strict=True)) | {"seconds": result.seconds}


def _outcome(
    path: Path,
    sample: str,
    row: dict[str, Any],
    before: tuple[Guess, ...],
    after: tuple[Guess, ...],
    k: int,
    source: Provenance,
) -> Outcome:
    """One picture's; of a candidate that is none only what was known before is kept."""
    columns = source.columns | {
        "run_id": source.run_id,
        "unit_id": _digest(source.run_id, sample),
        "sample_id": sample,
        "clean_class": before[0].class_index,
        "clean_confidence": before[0].confidence,
        "clean_topk": tuple(guess.class_index for guess in before[:k]),
        **{name: row[name] for name in ("forwards", "backwards", "seconds")},
    }
    if not (row["valid"] and row["answered"]):
        error = failure(path, source, _UNANSWERED if row["valid"] else _INVALID)
        return Outcome(path, Record(status=UNKNOWN, error=error, **columns), before)
    columns |= {
        "adv_class": after[0].class_index,
        "adv_confidence": after[0].confidence,
        "adv_topk": tuple(guess.class_index for guess in after[:k]),
        **{name: row[name] for name in ("flipped", "met", "survives_8bit")},
        **{name: row[name] if row["met"] else None for name in ("l0", "l1", "l2", "linf")},
    }
    return Outcome(path, Record(status=OK, **columns), before, after, size_8bit=row["size_8bit"])


_INVALID = "the image it returned is not finite, leaves [0, 1] or is further away than eps"
_UNANSWERED = "the model's answers are not all finite"


def first_classes(logits: Tensor, count: int, model: Classifier) -> list[tuple[Guess, ...]]:
    """The first classes of each image.

    Args:
        logits: (N, classes).
        count: How many.
        model: For the names.
    """
    best = logits.softmax(1).topk(min(count, logits.shape[1]), dim=1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [
        tuple(Guess(index, model.classes[index], value) for index, value in zip(indices, values, strict=True))
        for indices, values in pairs
    ]


def _digest(*parts: object) -> str:
    """16 hexadecimal digits that change with any of the parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

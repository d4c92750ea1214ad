"""Inspects a data set before a run: its content, how its classes were matched, and a model's predictions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from advbench.analysis.statistics import Proportion
from advbench.config.model_description import NOTHING, Description
from advbench.config.suite import DatasetSpec
from advbench.datasets import load_dataset
from advbench.datasets.dataset import Dataset, called, counts_of
from advbench.datasets.images.ids import Numbering, sample_id
from advbench.datasets.labels import truth_tensor
from advbench.datasets.matching import Match
from advbench.datasets.trained_on import trained_on
from advbench.errors import UserError
from advbench.evaluation.checks.data import check_data
from advbench.evaluation.checks.model import check_model
from advbench.evaluation.checks.sets import Shown, check_set, is_train_split
from advbench.evaluation.predictions import predicted
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.models.trial import input_of, try_model
from advbench.pictures.files import as_picture
from advbench.planning.fitting import fitted
from advbench.planning.plan import some_of
from advbench.records.flag import Flag

LOOKED_AT = 64
"""Default number of images to read."""
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class LookConfig:
    """Options of `advbench datasets`."""

    spec: DatasetSpec
    """The data set."""
    model: str | None = None
    """Name of the model to use it with; None: only the data set is inspected."""
    weights: Path | None = None
    """A file with the model's weights, replacing the published ones."""
    about: Description = NOTHING
    """The user's description of their own model."""
    limit: int = LOOKED_AT
    """Largest number of images to read."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


class Seen(NamedTuple):
    """One image that was inspected."""

    name: str
    """Name of the image in the data set."""
    picture: Image.Image
    """The image as the model sees it; without a model, the picture at its original size."""
    label: str
    """Name of its true class; empty if it has none."""
    answer: str = ""
    """Class that the model predicts; empty without a model."""
    right: bool | None = None
    """Whether that is the true class; None if unknown."""


class Look(NamedTuple):
    """Summary of a data set before a run."""

    spec: DatasetSpec
    """The data set as the user named it."""
    images: int
    """Number of images."""
    left_out: int
    """Number of images that the map of classes leaves out."""
    counts: tuple[tuple[str, int], ...]
    """Name of each class, or label, with its number of images; empty if there are no labels."""
    matches: tuple[Match, ...]
    """How each class was found in the model; empty without a model, and if labels already were its class numbers."""
    model_classes: tuple[str, ...]
    """Names of the model's classes; empty without a model."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each inspected picture."""
    modes: tuple[str, ...]
    """Picture modes, such as RGB and L, most frequent first."""
    seen: tuple[Seen, ...]
    """The inspected images."""
    problems: tuple[str, ...]
    """Why images are unreadable, a sentence each."""
    right: Proportion | None
    """Share of images that the model gets right (for several labels, all of them); None without a model or labels."""
    flags: tuple[Flag, ...]
    """Trust flags of the model on these images."""
    several: bool = False
    """Whether images may have several labels."""

    def as_row(self) -> dict[str, Any]:
        """The summary as `--json` prints it."""
        right = self.right
        return {
            "name": self.spec.name,
            **{key: str(value) for key, value in self.spec.given().items()},
            "images": self.images,
            "left_out": self.left_out,
            "classes": [{"name": name, "images": count, **self._matched(place)} for place, (name, count) in
                        enumerate(self.counts)],
            "sizes": sorted(set(self.sizes)),
            "modes": list(self.modes),
            "looked_at": len(self.seen) + len(self.problems),
            "unreadable": list(self.problems),
            "several": self.several,
            "right": None if right is None else {"k": right.k, "n": right.n, "low": right.low, "high": right.high},
            "flags": [flag.as_dict() for flag in self.flags],
        }  # fmt: skip

    def _matched(self, place: int) -> dict[str, Any]:
        if not self.matches:
            return {}
        match = self.matches[place]
        return {"class": match.index, "class_name": self.class_of(match), "matched_by": match.how}

    def class_of(self, match: Match) -> str:
        """Name of the model's class that a class of the data set was matched to; empty if it is left out."""
        return "" if match.index is None else self.model_classes[match.index]


class _Read(NamedTuple):
    """A readable image."""

    number: int
    picture: Image.Image | Tensor
    x: Tensor | None
    """Input of the model (C, H, W); None without a model."""


def look_at(config: LookConfig) -> Look:
    """Inspect a data set.

    Args:
        config: Options of the command.

    Raises:
        UserError: It cannot be opened, the model cannot be loaded, or the two do not match; or none of its images can
            be read.
    """
    spec = config.spec
    whole = load_dataset(spec.name, **spec.given())
    if not len(whole):
        raise UserError(f"data set {spec.label} has no images")
    if config.model is None:
        return _alone(config, whole)
    model = load_model(config.model, weights=config.weights, about=config.about, device=config.device)
    found = fitted(model, config.model, whole, spec)
    if not len(found.dataset):
        raise UserError(f"the map of classes leaves no image of data set {spec.label}")
    read, problems = _read(found.dataset, config.limit, found.model)
    labels, classes = found.dataset.truths, found.model.classes
    answers = predicted(torch.stack(_asked(found.model, read)), 1, found.model.thresholds)
    seen = tuple(
        _judged(found.dataset, classes, each, answer.answer) for each, answer in zip(read, answers, strict=True)
    )
    known = None if labels is None else sum(each.right is True for each in seen)
    return Look(
        spec=spec,
        images=len(whole),
        left_out=len(whole) - len(found.dataset),
        counts=counts_of(whole, classes),
        matches=found.matches,
        model_classes=model.classes,
        sizes=_sizes(read),
        modes=_modes(read),
        seen=seen,
        problems=problems,
        several=found.dataset.label_sets is not None,
        right=None if known is None else Proportion(known, len(seen)),
        flags=tuple(_flags(config, found.model, found.dataset, read)),
    )


def _alone(config: LookConfig, whole: Dataset) -> Look:
    """A data set without a model."""
    read, problems = _read(whole, config.limit, None)
    seen = tuple(
        Seen(whole.images[each.number], _shown(each), _name(whole.truths, whole.classes, each.number)) for each in read
    )
    ids = list(map(Numbering(), (sample_id(_pixels(each.picture)) for each in read)))
    labels = None if whole.truths is None else [whole.truths[each.number] for each in read]
    nobody = Classifier(torch.nn.Identity(), num_classes=2, name="no model")
    flags = check_set(nobody, Shown(ids, labels), dataset=config.spec.label)
    counts, nothing = counts_of(whole, ()), ((), ())
    sizes, modes, several = _sizes(read), _modes(read), whole.label_sets is not None
    return Look(config.spec, len(whole), 0, counts, *nothing, sizes, modes, seen, problems, None, tuple(flags), several)


def _read(dataset: Dataset, limit: int, model: Classifier | None) -> tuple[list[_Read], tuple[str, ...]]:
    read: list[_Read] = []
    problems: list[str] = []
    for number in some_of(len(dataset), limit, seed=0):
        try:
            picture = dataset.read(number)
            x = None
            if model is not None:
                x = picture if isinstance(picture, Tensor) else input_of(model, picture)
                try_model(model, x)
            read.append(_Read(number, picture, x))
        except UserError as error:
            problems.append(error.message)
    if not read:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"none of {len(problems)} images can be read: {problems[0]}{more}")
    return read, tuple(problems)


@torch.no_grad()
def _asked(model: Classifier, read: Sequence[_Read]) -> list[Tensor]:
    """Logits for each image; images of the same shape are batched."""
    device = next(model.buffers()).device
    logits: dict[int, Tensor] = {}
    for shape in {each.x.shape for each in read if each.x is not None}:
        rows = [row for row, each in enumerate(read) if each.x is not None and each.x.shape == shape]
        x = torch.stack([each.x for row, each in enumerate(read) if row in set(rows) and each.x is not None])
        answers = torch.cat([model(part.to(device)).cpu() for part in torch.split(x, _BATCH)])
        logits |= dict(zip(rows, answers, strict=True))
    return [logits[row] for row in range(len(read))]


def _flags(config: LookConfig, model: Classifier, dataset: Dataset, read: Sequence[_Read]) -> list[Flag]:
    """The flags that a run would raise on these images before any attack."""
    first = read[0].x
    alike = [each for each in read if first is not None and each.x is not None and each.x.shape == first.shape]
    x = torch.stack([each.x for each in alike if each.x is not None]).to(next(model.buffers()).device)
    labels = None if dataset.truths is None else [dataset.truths[each.number] for each in alike]
    truth = None if labels is None else truth_tensor(labels, model.num_classes)
    name, label = config.model or "", config.spec.label
    few = None if truth is None else truth[:_BATCH]
    flags = check_model(model, x[:_BATCH], few, dataset=label, name=name)
    if truth is not None and not any(flag.severity == "E" for flag in flags):
        flags += check_data(model, x, truth, dataset=label, name=name)
    shown = Shown(
        ids=list(map(Numbering(), (sample_id(each.x) for each in alike if each.x is not None))),
        labels=labels,
        pictures=[each.picture for each in read if isinstance(each.picture, Image.Image)],
        trained_on=trained_on(config.weights or name),
        train_split=is_train_split(config.spec.name, name, config.spec.split),
    )
    return flags + check_set(model, shown, dataset=label)


def _judged(dataset: Dataset, classes: Sequence[str], each: _Read, answer: int | tuple[int, ...] | None) -> Seen:
    label = None if dataset.truths is None else dataset.truths[each.number]
    right = None if label is None or answer is None else label == answer
    said = "" if answer is None else called(answer, classes)
    return Seen(dataset.images[each.number], _shown(each), _name(dataset.truths, classes, each.number), said, right)


def _shown(each: _Read) -> Image.Image:
    if each.x is not None:
        return as_picture(each.x)
    return each.picture if isinstance(each.picture, Image.Image) else as_picture(each.picture)


def _pixels(picture: Image.Image | Tensor) -> Tensor:
    if isinstance(picture, Tensor):
        return picture
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(*reversed(picture.size), -1)


def _name(labels: Sequence[Any] | None, classes: Sequence[str] | None, number: int) -> str:
    return "" if labels is None else called(labels[number], classes)


def _sizes(read: Sequence[_Read]) -> tuple[tuple[int, int], ...]:
    return tuple(
        each.picture.size if isinstance(each.picture, Image.Image) else (each.picture.shape[2], each.picture.shape[1])
        for each in read
    )


def _modes(read: Sequence[_Read]) -> tuple[str, ...]:
    kinds = Counter(
        each.picture.mode if isinstance(each.picture, Image.Image) else f"{len(each.picture)} channels of floats"
        for each in read
    )
    return tuple(kind for kind, _ in kinds.most_common())

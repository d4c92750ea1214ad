"""Interprets the data that a test passes in: images, or a data set whose pictures are preprocessed for the model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from advbench.catalog.registry import resolve
from advbench.config.data.name import data_at
from advbench.config.suite import DatasetSpec
from advbench.datasets import load_dataset
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.files import SUFFIXES
from advbench.datasets.images.pixels import joined
from advbench.datasets.inputs import ANY_TYPE, Inputs, read_inputs
from advbench.datasets.labels import truth_tensor
from advbench.errors import UserError
from advbench.evaluation.checks.sets import LOOKED_AT, is_train_split
from advbench.evaluation.subject import Subject
from advbench.models.classifier import Classifier
from advbench.models.preprocess import ResizeAndCrop
from advbench.models.trial import input_of
from advbench.planning.fitting import fitted
from advbench.planning.plan import some_of
from attacks import Model

MOST_BYTES = 4 * 2**30
"""Largest total size of the images of a data set, which are held in memory."""


class HandedOver(NamedTuple):
    """Images to attack, and the model to attack on them."""

    model: Model
    """The model; judged among the classes of the data set, if the data set's authors intend that."""
    inputs: Inputs
    """The images with their labels."""
    dataset: str = "test"
    """Label of the data set in records."""
    names: tuple[str, ...] = ()
    """Name of each image; empty if images only have numbers."""
    unreadable: Mapping[str, str] = MappingProxyType({})
    """Name of each unreadable image -> why."""
    pictures: tuple[Image.Image, ...] = ()
    """Some of the pictures at their original size, for the checks; empty if model inputs were passed in."""
    train_split: bool = False
    """Whether it is the training split of the data set that the model was made for."""


def hand_over(model: Model, data: Any, seed: int = 0) -> HandedOver:
    """Interpret the data that a test passes in.

    Args:
        model: Images -> logits. Pictures are preprocessed as a :class:`Classifier` requires; for any other callable
            they are only converted to tensors, and must have the same size.
        data: A data set in one word or a path, in the syntax of :func:`advbench.config.data.name.data_at`; a
            :class:`Dataset`; a data set of the package datasets; or images, as accepted by
            :func:`advbench.datasets.inputs.read_inputs`.
        seed: Seed of the choice of images, if only some are requested (`images=N`).

    Raises:
        UserError: There is no such data set, it does not match the model, or none of its images can be read.
        ValueError: ``expected ..., got ...``
    """
    opened = _opened(data)
    if opened is None:
        return HandedOver(model, read_inputs(data))
    spec, dataset = opened
    if not len(dataset):
        raise UserError(f"data set {spec.label} has no images")
    numbers = some_of(len(dataset), spec.images or len(dataset), seed)
    prepare = _preparation(model)
    images: dict[int, Tensor] = {}
    pictures: list[Image.Image] = []
    why: dict[int, str] = {}
    for number in numbers:
        try:
            picture = dataset.read(number)
            images[number] = picture if isinstance(picture, Tensor) else prepare(picture)
            pictures += [picture] if isinstance(picture, Image.Image) and len(pictures) < LOOKED_AT else []
        except UserError as error:
            why[number] = error.message
            continue
        _refuse_size(len(images) * images[number].nbytes, spec)
    if not images:
        raise UserError(f"none of the {len(numbers)} images of {spec.label} can be read: {next(iter(why.values()))}")
    x = joined([image.unsqueeze(0) for image in images.values()])
    found = _labelled(model, spec, dataset, x, tuple(images), why)
    learnt = is_train_split(spec.name, str(getattr(model, "loaded_from", None)), spec.split)
    return found._replace(pictures=tuple(pictures), train_split=learnt)


def _opened(data: Any) -> tuple[DatasetSpec, Dataset] | None:
    """The data set that is meant; None for images that are passed in directly."""
    if isinstance(data, Dataset):
        return _nameless(data.name), data
    if isinstance(data, str) and Path(data).suffix.lower() not in SUFFIXES:
        spec = data_at(data).spec
        return spec, load_dataset(spec.name, **spec.given())
    if hasattr(data, "features") and hasattr(data, "with_format") and hasattr(data, "select_columns"):
        if not hasattr(data, "__len__") or data.format["type"] is not None:
            return None  # its rows come as a stream, or as tensors in the requested format
        # Only one module knows the package; it is imported only for objects of that package.
        spec = _nameless("hf/table")
        return spec, resolve("advbench.datasets.sources.hub:of_table")("hf/table", data)
    return None


def _nameless(name: str) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": name}, context={"names": (name,)})


def _preparation(model: Model) -> Callable[[Image.Image], Tensor]:
    """The function that turns a picture into a model input."""
    if isinstance(model, Classifier):
        return lambda picture: input_of(model, picture)
    grey, colour = ResizeAndCrop(mode="L"), ResizeAndCrop()
    return lambda picture: (grey if picture.mode == "L" else colour)(picture)


def _refuse_size(size: int, spec: DatasetSpec) -> None:
    if size > MOST_BYTES:
        hint = "attack some of them: add ,images=1000 to the name; or use `advbench run`, which reads them in turn"
        raise UserError(f"the images of {spec.label} take more than {MOST_BYTES / 2**30:.0f} GB of memory", hint=hint)


def _labelled(
    model: Model, spec: DatasetSpec, dataset: Dataset, x: Tensor, numbers: tuple[int, ...], why: Mapping[int, str]
) -> HandedOver:
    """The images, with labels that are classes of the model."""
    judge = model if isinstance(model, Classifier) else _stand_in(model, x)
    found = fitted(judge, judge.name, dataset, spec)
    if found.model is not judge:
        if judge is not model:
            got = type(model).__name__
            raise ValueError(f"expected an advbench.Classifier for {spec.label}, whose classes are a part, got {got}")
        model = found.model
    known: dict[str, Any] = dict(zip(found.dataset.images, found.dataset.truths or (), strict=False))
    if dataset.truths is None:
        rows, labels = list(range(len(numbers))), None
    else:
        rows = [row for row, number in enumerate(numbers) if dataset.images[number] in known]
        labels = truth_tensor([known[dataset.images[numbers[row]]] for row in rows], found.model.num_classes)
    if not rows:
        raise UserError(f"the map of classes leaves no image of data set {spec.label}")
    device = next(model.buffers()).device if isinstance(model, Classifier) else x.device
    return HandedOver(
        model,
        Inputs(x[rows].to(device), None if labels is None else labels.to(device), ANY_TYPE),
        spec.label,
        tuple(dataset.images[numbers[row]] for row in rows),
        {dataset.images[number]: message for number, message in why.items()},
    )


def _stand_in(model: Model, x: Tensor) -> Classifier:
    """A classifier with as many classes as a callable, used to match the classes of a data set."""
    subject = Subject(model, x, ANY_TYPE)
    width, name = subject.num_classes, subject.name
    return Classifier(torch.nn.Identity(), num_classes=width, name=name).with_thresholds(subject.thresholds)

"""The models and images of a run, loaded when they are first needed and kept for the units that follow."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from advbench.catalog import DATASETS
from advbench.catalog.user_models import origin
from advbench.config.masks import without_mask
from advbench.config.models.model import ModelSpec
from advbench.config.suite import Suite
from advbench.datasets import load_dataset
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.cache import KeptImages
from advbench.datasets.images.ids import content_of, sample_id
from advbench.datasets.matching import Matched, matched
from advbench.errors import UserError
from advbench.evaluation.recording import Sample
from advbench.models import load_model, usable_device
from advbench.models.classifier import Classifier
from advbench.models.restricted import restricted
from advbench.models.trial import input_of
from advbench.planning.identity.run import model_digest
from advbench.records.unit import Unit, digest
from attacks import Fast
from attacks.speed.folding import FORMS

T = TypeVar("T")
"""Anything that is created once and cached, or an image or its number in the data set."""
MOST_STARTS = 256
"""Largest number of images of a data set that attacks may use as starting points."""
KEEP_BYTES = 64 * 2**20
"""Bytes of images kept in memory; beyond that, images are read again."""


class UnitImages(NamedTuple):
    """The readable images of a unit, and the reasons why the others are not."""

    x: Tensor
    """Images (n, C, H, W), float32, in [0, 1]."""
    rows: tuple[int, ...]
    """Rows of these images in the unit (n)."""
    unreadable: dict[int, str]
    """Row of each unreadable image -> why."""


class Resources:
    """Loads and keeps the models and images that units of a suite need.

    Args:
        suite: Suite to be run.
        models: Label -> classifier, replacing those that the suite names.
        datasets: Label -> data set, replacing those that the suite names.
    """

    def __init__(
        self,
        suite: Suite,
        models: Mapping[str, Classifier] | None = None,
        datasets: Mapping[str, Dataset] | None = None,
    ) -> None:
        self.suite = suite
        self.device = usable_device(suite.device.partition(",")[0])  # "cuda:0,2" is for several processes
        self._makers: dict[str, Callable[[], Any]] = {}
        self._specs = {model.label: model for model in suite.every_model if model.label not in (models or {})}
        for model in suite.every_model:
            self._makers[f"model {model.label}"] = partial(
                load_model, model.name, weights=model.weights, about=model.about
            )
            if model.label not in self._specs and (said := model.about.said()):
                raise UserError(f"model {model.label} is given as an object, which has its own {' and '.join(said)}")
        for data in suite.datasets:
            self._makers[f"data {data.label}"] = partial(load_dataset, data.name, **data.given())
        self._made: dict[str, Any] = {f"model {label}": model for label, model in (models or {}).items()}
        # A data set that is given as an object does not know the mask that its images will be attacked with.
        labels = {data.label for data in suite.datasets}
        names = {label: [each for each in labels if label in (each, without_mask(each))] for label in (datasets or {})}
        datasets = {each: data for label, data in (datasets or {}).items() for each in names[label]}
        self._made |= {f"data {label}": dataset for label, dataset in datasets.items()}
        self._tables = {data.label: data.classes for data in suite.datasets}
        given = {label for label, data in datasets.items() if data.restricted}
        self._restricted = given | {data.label for data in suite.datasets if _is_restricted(data.name)}
        self._models: dict[str, Classifier] = {}
        self._digests: dict[str, str] = {}
        self._images = KeptImages(KEEP_BYTES)

    def model(self, label: str) -> Classifier:
        """The classifier with this label, on the device."""
        if label not in self._models:
            self._models[label] = self._make(f"model {label}").to(self.device)
            self._models[label].name = label
        return self._models[label]

    def judged(self, label: str, dataset: str) -> Classifier:
        """The classifier with the classes among which it is judged on a data set; nearly always all of its classes."""
        among = self._among(label, dataset)
        if among is None:
            return self.model(label)
        return self.once(f"model {label} among {among}", lambda: restricted(self.model(label), among))

    def _among(self, label: str, dataset: str) -> tuple[int, ...] | None:
        """The classes among which a model is judged; the data set is opened only if they are not all of them."""
        return self.matched(label, dataset).among if dataset in self._restricted else None

    def matched(self, label: str, dataset: str) -> Matched:
        """The data set, with labels that are classes of a model.

        Raises:
            UserError: Its classes are not those of the model.
        """
        model, table = self.model(label), self._tables.get(dataset)
        return self.once(
            f"classes of {label} on {dataset}",
            lambda: matched(self.dataset(dataset), model.classes, table, several=model.several),
        )

    def fast(self, label: str, dataset: str, form: str, x: Tensor) -> Fast:
        """The classifier with a faster form for attacks; without one if that form is not available here.

        Args:
            label: Label of the classifier.
            dataset: Label of the data set.
            form: One of :data:`attacks.speed.folding.FORMS`, as planned, possibly on another machine.
            x: Images (N, C, H, W) to be attacked.
        """
        model = self.judged(label, dataset)

        def make() -> Fast:
            try:
                return Fast(model, form, x)
            except ValueError:
                return Fast(model, FORMS[0])

        return self.once(f"model {label} among {self._among(label, dataset)}, {form}", make)

    def digest(self, label: str) -> str:
        """Digest of the classifier: of its specification and of the resulting network."""
        if label not in self._digests:
            self._digests[label] = digest_of(self._specs.get(label), self.model(label))
        return self._digests[label]

    def dataset(self, label: str) -> Dataset:
        """The data set."""
        dataset: Dataset = self._make(f"data {label}")
        return dataset

    def image(self, model: str, dataset: str, number: int) -> Tensor:
        """One image as the model's input (C, H, W), on the CPU.

        Raises:
            UserError: It cannot be read.
        """
        key = (model, dataset, number)
        if (kept := self._images.get(key)) is not None:
            return kept
        try:
            picture = self.matched(model, dataset).dataset.read(number)
            image = picture if isinstance(picture, Tensor) else input_of(self.model(model), picture)
        except UserError:
            raise
        except Exception as error:  # a decoder may raise anything on a broken file
            raise UserError(f"cannot read image {number} of {dataset}: {type(error).__name__}: {error}") from error
        _check(image, f"image {number} of {dataset}")
        self._images.keep(key, image)
        return image

    def images(self, unit: Unit) -> UnitImages:
        """The images of a unit, on the device.

        Raises:
            UserError: An image has changed since the run was planned.
        """
        found, unreadable = {}, {}
        for row, (number, expected) in enumerate(zip(unit.samples, unit.sample_ids, strict=True)):
            try:
                image = self.image(unit.model, unit.dataset, number)
            except UserError as error:
                unreadable[row] = error.message
                continue
            if sample_id(image) != content_of(expected):
                raise UserError(f"image {number} of {unit.dataset} has changed since the run was planned")
            found[row] = image
        x = torch.stack(list(found.values())).to(self.device) if found else torch.empty(0, 0, 0, 0)
        return UnitImages(x, tuple(found), unreadable)

    def starts(self, model: str, dataset: str, numbers: Sequence[int], shape: Sequence[int]) -> Tensor | None:
        """Images that attacks may start from: those that can be read and have this shape.

        They are the same for every unit of a run, so that no result depends on how the work is divided.

        Args:
            model: Label of the model.
            dataset: Label of the data set.
            numbers: Numbers of the images, chosen by :func:`spread` from all that the run uses.
            shape: (C, H, W).

        Returns:
            (M, C, H, W), on the device; None if there are none.
        """
        key = f"starts {model}, {dataset}, {tuple(shape)}"
        if key not in self._made:
            found = []
            for number in numbers:
                with suppress(UserError):
                    found.append(self.image(model, dataset, number))
            fitting = [image for image in found if image.shape == torch.Size(shape)]
            self._made[key] = torch.stack(fitting).to(self.device) if fitting else None
        starts: Tensor | None = self._made[key]
        return starts

    def samples(self, unit: Unit) -> list[Sample]:
        """Ids, names and labels of a unit's images."""
        dataset = self.matched(unit.model, unit.dataset).dataset
        truths = dataset.truths
        return [
            Sample.of(each, dataset.images[number], None if truths is None else truths[number])
            for number, each in zip(unit.samples, unit.sample_ids, strict=True)
        ]

    def _make(self, what: str) -> Any:
        if what not in self._makers:  # the plan of a run can be edited
            raise UserError(f"the plan names the {what}, which is not in the suite")
        return self.once(what, self._makers[what])

    def once(self, what: str, make: Callable[[], T]) -> T:
        """Return the cached result of a function, which is called only the first time.

        Args:
            what: Key of the cached result.
            make: Function that computes it.
        """
        if what not in self._made:
            self._made[what] = make()
        found: T = self._made[what]
        return found


def digest_of(spec: ModelSpec | None, model: Classifier) -> str:
    """Digest of a classifier: of its specification and of the resulting network.

    Args:
        spec: Specification that it was loaded from; None for an object.
        model: Classifier that was loaded.
    """
    made_from = {} if spec is None else _made_from(spec)
    return digest(made_from | {"weights": model_digest(model)})


def _made_from(spec: ModelSpec) -> dict[str, Any]:
    """Everything besides the weights that determines a model's outputs."""
    told = {"about": said} if (said := spec.about.without("gradients_from").said()) else {}
    twin = {} if spec.gradients_from is None else {"gradients_from": origin(spec.gradients_from)}
    return origin(spec.name) | told | twin


def _is_restricted(name: str) -> bool:
    """Whether models are judged only among the classes of a data set; False for one that is not in the catalogue."""
    return name in DATASETS and DATASETS[name].restricted


def spread(images: Sequence[T]) -> Sequence[T]:
    """Choose at most `MOST_STARTS` images, evenly spaced, because a data set may be sorted by class.

    Example:
        >>> spread([1, 2, 3]), len(spread(range(1000))), spread(range(1000))[:3]
        ([1, 2, 3], 250, range(0, 12, 4))
    """
    return images[:: max(-(-len(images) // MOST_STARTS), 1)]


def _check(image: Tensor, what: str) -> None:
    if image.dtype != torch.float32 or image.ndim != 3 or image.numel() == 0:
        raise UserError(f"{what} is not an image: expected float32 (C, H, W), got {image.dtype} {tuple(image.shape)}")
    if not (image.min() >= 0 and image.max() <= 1):
        raise UserError(f"{what} has values outside [0, 1]")

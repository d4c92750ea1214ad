"""Matches a data set to a model: labels become the model's classes, and it is judged among the data set's classes."""

from collections.abc import Callable
from typing import NamedTuple

from advbench.catalog import DATASETS, MODELS
from advbench.config.suite import DatasetSpec
from advbench.datasets.dataset import Dataset
from advbench.datasets.matching import Match, matched
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.restricted import restricted


class Fitted(NamedTuple):
    """A data set and a model, matched to each other."""

    dataset: Dataset
    """The data set, with labels as numbers of the model's classes."""
    model: Classifier
    """The model; judged among the classes of the data set, if the data set's authors intend that."""
    matches: tuple[Match, ...]
    """How each class of the data set was found in the model; empty if labels were numbers from the start."""


def made_for(data: str, model: str, classes: Callable[[], int]) -> bool | None:
    """Whether a data set of the catalogue is the kind of data that a model was made for.

    Args:
        data: Name of the data set.
        model: Name of the model.
        classes: Returns the model's number of classes; called for a model that is not in the catalogue.

    Returns:
        None for a data set whose classes have to be inspected.

    Example:
        >>> made_for("mnist", "lenet", lambda: 10), made_for("mnist", "vgg16", lambda: 1000)
        (True, False)
    """
    if data not in DATASETS or not (shows := DATASETS[data].data):
        return None
    if model in MODELS:
        return MODELS[model].data == shows
    return DATASETS[data].classes == classes()


def fitted(model: Classifier, name: str, dataset: Dataset, spec: DatasetSpec) -> Fitted:
    """Find the classes of a data set among those of a model.

    Args:
        model: Classifier to be judged on it.
        name: Name of the model, as on the command line.
        dataset: Data set, opened.
        spec: The data set as the user specified it.

    Raises:
        UserError: The model was made for other data, or does not have these classes.

    Example:
        >>> from advbench.datasets import load_dataset
        >>> from torch import nn
        >>> spec, net = DatasetSpec(name="mnist-samples"), Classifier(nn.Flatten(), num_classes=10, input_size=28)
        >>> fitted(net, "nets.py:net", load_dataset("mnist-samples"), spec).dataset.labels[:3]
        (7, 2, 1)
    """
    if made_for(spec.name, name, lambda: model.num_classes) is False:
        shows = DATASETS[spec.name]
        own = MODELS[name].data if name in MODELS else f"{model.num_classes} classes"
        message = f"data set {spec.name} is {shows.data} with {shows.classes} classes, and model {name} is for {own}"
        raise UserError(message, hint="choose another one: `advbench datasets` and `advbench models` list them")
    found = matched(dataset, model.classes, spec.classes, several=model.several)
    judged = model if found.among is None else restricted(model, found.among)
    labels = found.dataset.labels
    if labels and not 0 <= min(labels) <= max(labels) < judged.num_classes:
        got = f"labels from {min(labels)} to {max(labels)}"
        hint = "are they of the same classes? If they are counted from 1, store labels - 1"
        raise UserError(
            f"data set {spec.label} has {got}, and model {name} has {judged.num_classes} classes", hint=hint
        )
    return Fitted(found.dataset, judged, found.matches)

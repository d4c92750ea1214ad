"""Pairs the models of a suite with its data sets."""

from collections.abc import Mapping
from typing import NamedTuple

from advbench.catalog import DATASETS, MODELS
from advbench.config.models.model import ModelSpec
from advbench.config.suite import DatasetSpec, Suite
from advbench.errors import UserError
from advbench.planning.fitting import made_for
from advbench.planning.resources import Resources
from advbench.records.manifest import Misfit


class Pairing(NamedTuple):
    """The models of a suite with the data sets that they are run on."""

    pairs: list[tuple[ModelSpec, DatasetSpec]]
    """The pairs that fit."""
    misfits: list[Misfit]
    """The pairs that do not."""


def fitting_pairs(suite: Suite, resources: Resources) -> Pairing:
    """Pair every model with every data set that it is made for.

    Raises:
        UserError: A model or a data set has no partner.
    """
    misfits: dict[str, UserError] = {}
    beyond: dict[str, int] = {}  # label of a data set -> its largest class, where a model has fewer

    def misfit(model: ModelSpec, data: DatasetSpec) -> str:
        """Why the two do not fit; empty if they do."""
        known = made_for(data.name, model.name, lambda: resources.model(model.label).num_classes)
        if known is not None:
            return "" if known else _other_data(model, data, resources)
        resources.dataset(data.label)  # one that cannot be opened is an error, whatever else there is
        try:
            labels = resources.matched(model.label, data.label).dataset.labels
        except UserError as error:
            misfits[data.label] = error
            return error.message
        classes = resources.judged(model.label, data.label).num_classes
        if labels and max(labels) >= classes:
            beyond[data.label] = max(labels)
            return f"the data has labels up to {max(labels)}, and the model has {classes} classes"
        return ""

    every = [(model, data, misfit(model, data)) for model in suite.models for data in suite.datasets]
    pairs = [(model, data) for model, data, why in every if not why]
    for data in suite.datasets:
        if data.label in misfits and not any(pair[1] is data for pair in pairs):
            raise misfits[data.label]
    for kind, specs, place in (("model", suite.models, 0), ("data set", suite.datasets, 1)):
        for spec in specs:
            if not any(pair[place] is spec for pair in pairs):
                other = "data set" if kind == "model" else "model"
                message = f"suite {suite.name} has no {other} for the {kind} {spec.label!r}"
                raise UserError(f"{message}{_made_for(spec, resources)}", hint=_labels(beyond))
    return Pairing(pairs, [Misfit(model.label, data.label, why) for model, data, why in every if why])


def _other_data(model: ModelSpec, data: DatasetSpec, resources: Resources) -> str:
    """Why a model is not run on a data set of the catalogue."""
    if model.name in MODELS:
        return "the model is for other data"
    classes = resources.model(model.label).num_classes
    return f"the data has {DATASETS[data.name].classes} classes, and the model has {classes}"


def _labels(beyond: Mapping[str, int]) -> str:
    """What to do about data sets whose labels go beyond the classes of a model; empty if there are none."""
    told = ", ".join(f"{label} has labels up to {most}" for label, most in beyond.items())
    return f"{told}: are they of the same classes? If they are counted from 1, store labels - 1" if told else ""


def _made_for(spec: ModelSpec | DatasetSpec, resources: Resources) -> str:
    """What a model or a data set is made for, as the end of a sentence."""
    if isinstance(spec, DatasetSpec):
        return f", which is for {DATASETS[spec.name].data}" if spec.name in DATASETS else ""
    if spec.name in MODELS:
        return f", which is for {MODELS[spec.name].data}"
    return f", which has {resources.model(spec.label).num_classes} classes"

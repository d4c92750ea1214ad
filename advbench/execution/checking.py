"""The trust checks of a run: models and data sets are examined before any attack."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch
from PIL import Image
from torch import Tensor

from advbench.config.budgets import describe_norm
from advbench.config.goals import parse_goal
from advbench.config.suite import Suite
from advbench.datasets.trained_on import trained_on
from advbench.evaluation.attack_factory import make_attack
from advbench.evaluation.batch import labels_of
from advbench.evaluation.checks.attack import Trial, check_attack
from advbench.evaluation.checks.data import check_data
from advbench.evaluation.checks.model import ASKED, check_model
from advbench.evaluation.checks.sets import LOOKED_AT, Shown, check_set, is_train_split
from advbench.evaluation.goals import goal_maker, set_apart
from advbench.evaluation.memory import out_of_memory
from advbench.models.classifier import Classifier
from advbench.planning.resources import Resources
from advbench.planning.units.trust import longer
from advbench.records.flag import Flag
from advbench.records.unit import Unit


def checked(unit: Unit, resources: Resources) -> tuple[list[Flag], int | None]:
    """Make the trust checks of a model, or of an attack on it, on some images.

    Args:
        unit: Unit of the task "checks".
        resources: Models and images.

    Returns:
        The flags, and the number of images that were used if they did not all fit into memory, else None.

    Raises:
        UserError: An image has changed since the run was planned.
    """
    images, samples = resources.images(unit), resources.samples(unit)
    model, count = resources.judged(unit.model, unit.dataset), len(images.x)
    labels = labels_of([samples[row] for row in images.rows], images.x.new_empty(0, model.num_classes))
    size, flags = count, list[Flag]()
    while True:
        try:
            flags = _flags(model, images.x[:size], None if labels is None else labels[:size], unit)
            break
        except Exception as error:
            if size <= 1 or not out_of_memory(error):
                raise
        size = (size + 1) // 2  # outside the handler, where the exception no longer holds tensors
    if unit.attack:
        return flags, size if size < count else None
    flags += check_set(model, Shown(ids=(), pictures=_pictures(resources, unit)), dataset=unit.dataset)
    return flags, size if size < count else None


def _flags(model: Classifier, x: Tensor, labels: Tensor | None, unit: Unit) -> list[Flag]:
    if unit.attack:
        return _flags_of_attack(model, x, labels, unit) if len(x) else []
    few = None if labels is None else labels[:ASKED]
    flags = check_model(model, x[:ASKED], few, dataset=unit.dataset, seed=unit.seed)
    if labels is None or any(flag.severity == "E" for flag in flags):
        return flags
    return flags + check_data(model, x, labels, dataset=unit.dataset, seed=unit.seed)


def _flags_of_attack(model: Classifier, x: Tensor, labels: Tensor | None, unit: Unit) -> list[Flag]:
    """Flags for an attack, tried in other ways on the images for which the goal has a meaning."""
    with torch.no_grad():
        clean = model(x)
    goal = goal_maker(parse_goal(unit.goal), model)(clean, torch.arange(len(x), device=x.device), labels)
    rows = (~set_apart(goal, clean, labels)).nonzero().squeeze(1)
    if unit.eps is None or not len(rows):
        return []
    trial = Trial(
        model=model,
        attack=make_attack(unit.attack, unit.norm, json.loads(unit.params)),
        longer=longer(unit.attack, unit.norm, unit.params),
        x=x[rows],
        goal=goal.select(rows),
        eps=unit.eps,
        seed=unit.seed,
    )
    at = f" ({describe_norm(unit.norm, unit.eps)})"
    found = (each._replace(message=each.message + at)._asdict() for each in check_attack(trial))
    return [Flag(model=unit.model, dataset=unit.dataset, attack=unit.attack, **fields) for fields in found]


def flags_of_sets(clean: Mapping[tuple[str, str], Sequence[Unit]], suite: Suite, resources: Resources) -> list[Flag]:
    """Flags for whole data sets: duplicates, and images that a model is known to have been trained on.

    Args:
        clean: Model and data set -> its units of the task "clean", in which every image occurs once.
        suite: Suite that is run.
        resources: Models and images; no image is read.
    """
    named = {spec.label: spec.name for spec in suite.models}
    sources = {spec.label: spec for spec in suite.datasets}
    flags: list[Flag] = []
    for (model, dataset), units in clean.items():
        samples = [sample for unit in units for sample in resources.samples(unit)]
        truths = [sample.label if sample.labels is None else sample.labels for sample in samples]
        labels = [truth for truth in truths if truth is not None]
        shown = Shown(
            ids=[sample.sample_id for sample in samples],
            labels=labels if len(labels) == len(samples) else None,
            trained_on=trained_on(resources.model(model).loaded_from),
            train_split=is_train_split(sources[dataset].name, named[model], sources[dataset].split),
        )
        flags += check_set(resources.model(model), shown, dataset=dataset)
    return flags


def _pictures(resources: Resources, unit: Unit) -> Sequence[Image.Image]:
    """The first readable pictures of a unit, at their original size; empty for preprocessed inputs."""
    dataset = resources.matched(unit.model, unit.dataset).dataset
    found: list[Image.Image] = []
    for number in unit.samples[:LOOKED_AT]:
        with suppress(Exception):  # a decoder may raise anything; the image is unknown in every row already
            picture = dataset.read(number)
            found += [picture] if isinstance(picture, Image.Image) else []
    return found

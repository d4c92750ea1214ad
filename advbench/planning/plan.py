"""Turns a suite into units of work of a few seconds each, named by a digest of all that decides their results."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advbench.catalog import UNIVERSAL
from advbench.config.goals import parse_goal
from advbench.config.masks import parse_mask
from advbench.config.models.model import ModelSpec
from advbench.config.suite import DatasetSpec, Suite
from advbench.datasets.images.ids import Numbering, sample_id
from advbench.datasets.matching import Matched
from advbench.errors import UserError
from advbench.evaluation.attack_factory import refuse_small
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.masks import check_mask
from advbench.evaluation.recording import short_digest
from advbench.models.classifier import Classifier
from advbench.models.trial import try_model
from advbench.planning.cells import PlannedAttack, cells_for, last_of, proofs_of, refuse_granted, refuse_idle
from advbench.planning.cost.batches import CLEAN_BATCH
from advbench.planning.cost.footprint import Footprint, footprint
from advbench.planning.forms.fast_forms import AS_IT_IS, PLAIN, Choice, choose_form
from advbench.planning.forms.surrogates import StandIn, stand_ins
from advbench.planning.identity.run import suite_identity, surroundings
from advbench.planning.pairing import fitting_pairs
from advbench.planning.resources import Resources
from advbench.planning.units.cutting import Pair, attack_units, check_units, proof_units, runs
from advbench.records.manifest import Misfit
from advbench.records.unit import FORMAT, Unit, digest
from attacks.speed.agreement import FEW


class Plan(NamedTuple):
    """The plan of a run: all units of work."""

    units: tuple[Unit, ...]
    """Units in the order of the plan; those of the tasks "clean" and "checks" come first, those of "prove" last."""
    identity: dict[str, Any]
    """Identity of the run: everything that decides the results; a run can only be resumed with the same identity."""
    classes: dict[str, list[str]]
    """Label of a data set -> names of its classes."""
    footprints: dict[tuple[str, str], Footprint]
    """Model and data set -> cost of one image."""
    misfits: tuple[Misfit, ...] = ()
    """The pairs of a model and a data set that do not fit together, so that nothing is run on them."""

    @property
    def run_id(self) -> str:
        """Digest of the identity."""
        return digest(self.identity, digits=16)

    def clean(self) -> dict[tuple[str, str], list[Unit]]:
        """Model and data set -> the units that predict its clean images; every image occurs in exactly one."""
        found: dict[tuple[str, str], list[Unit]] = {}
        for unit in self.units:
            if unit.task == "clean":
                found.setdefault((unit.model, unit.dataset), []).append(unit)
        return found


def make_plan(suite: Suite, resources: Resources, forms: Mapping[str, Choice] = MappingProxyType({})) -> Plan:
    """Plan a run: inspect every model and every image, and divide the work into units.

    Args:
        suite: Suite to run.
        resources: Models and images of the suite.
        forms: Forms to keep, from the identity of an earlier plan; all others are chosen for this machine.

    Raises:
        UserError: Something cannot be loaded, a model has no data set or the reverse, or an attack has wrong or missing
            parameters or budgets.
    """
    around = surroundings(resources.device.type)
    pairs, misfits = fitting_pairs(suite, resources)
    digests = {model.label: resources.digest(model.label) for model, _ in pairs}
    drafts = [
        _draft(suite, resources, pair, around | {"model_digest": digests[pair[0].label]}, forms) for pair in pairs
    ]
    kinds = {resources.judged(model.label, data.label).several for model, data in pairs}
    for _, data in pairs:
        refuse_idle(suite, data, kinds)
    images = {draft.name: draft.images for draft in drafts}
    identity = {"suite": suite_identity(suite), **around, "models": digests, "images": images}
    stored = sorted({params for draft in drafts for params in draft.stored})
    identity |= ({"perturbations": stored} if stored else {}) | _of_surrogates(suite, resources, digests)
    identity["forms"] = {name: form._asdict() for draft in drafts for name, form in draft.forms.items()}
    classes = {data.label: list(resources.judged(model.label, data.label).classes) for model, data in reversed(pairs)}
    sizes = {
        (model.label, data.label): draft.size
        for (model, data), draft in zip(pairs, drafts, strict=True)
        if draft.size is not None
    }
    stages = zip(*(draft.stages for draft in drafts), strict=True)
    units = tuple(unit for stage in stages for units in stage for unit in units)
    return Plan(units, identity, classes, sizes, tuple(misfits))


class _Draft(NamedTuple):
    """The part of a plan about one model on one data set."""

    name: str
    """Key of this part in the identity."""
    images: str
    """Digest of its images."""
    stages: tuple[Sequence[Unit], ...] = ((), (), (), ())
    """Units that predict, check, attack and prove."""
    size: Footprint | None = None
    """Cost of one image; None: there are no images."""
    forms: Mapping[str, Choice] = MappingProxyType({})
    """The forms that were chosen for the model and the surrogates."""
    stored: Iterable[str] = ()
    """Parameters of attacks that apply a stored perturbation."""


def _draft(
    suite: Suite,
    resources: Resources,
    pair: tuple[ModelSpec, DatasetSpec],
    around: Mapping[str, Any],
    forms: Mapping[str, Choice],
) -> _Draft:
    """Plan one model on one data set."""
    model, data = pair
    judged, labelled = resources.judged(model.label, data.label), resources.matched(model.label, data.label)
    numbers = chosen(suite, data, len(labelled.dataset))
    ids = _ids(resources, model.label, data.label, numbers)
    _check_labels(resources, model.label, data.label)
    cells = cells_for(suite, model, data, several=judged.several)
    _check_goals(cells, judged, labelled, numbers)
    own = Pair(model.label, data.label, numbers, ids, {**around, **_key(labelled), **_mask(data)}, suite.seed)
    draft = _Draft(f"{model.label} on {data.label}", short_digest(ids))
    if not numbers:
        return draft
    first = _first_images(resources, model.label, data, numbers)
    size = _size(judged, first, cells, f"those of {draft.name}")
    found: dict[str, Choice] = {}
    if not suite.precise and any(cell.passes.form != PLAIN for cell in cells if cell.surrogate is None):
        found[draft.name] = forms.get(draft.name) or choose_form(judged, first, size)
    others, forms_of_others = stand_ins(suite, resources, cells, (model.label, data.label), first, forms)
    made_on: dict[str | None, StandIn] = {**others, None: StandIn(size, found.get(draft.name, AS_IT_IS), "")}
    last = last_of(suite, model, data)
    cut = (attack_units(own, cell, size, made_on[cell.surrogate], in_parts=cell in last) for cell in cells)
    attacked = [unit for units in cut for unit in units]
    stages = (
        [own.unit("clean", rows) for rows in runs(len(numbers), CLEAN_BATCH)],
        [*check_units(suite, own, cells, twin=getattr(judged, "twin", None) is not None)],
        attacked,
        [unit for cell in proofs_of(suite, data, cells) for unit in proof_units(own, cell, attacked)],
    )
    stored = {cell.params for cell in cells if cell.attack == UNIVERSAL and not cell.takes_fit}
    return draft._replace(stages=stages, size=size, forms=found | forms_of_others, stored=stored)


def _check_goals(cells: Sequence[PlannedAttack], model: Classifier, labelled: Matched, numbers: Sequence[int]) -> None:
    """Check that the model has the classes of every goal, and that each has a meaning for some image."""
    for goal in dict.fromkeys(cell.goal for cell in cells):
        goal_maker(parse_goal(goal), model)
    if (sets := labelled.dataset.label_sets) is not None and numbers:
        refuse_granted(cells, [sets[number] for number in numbers], model)


def _of_surrogates(suite: Suite, resources: Resources, known: Mapping[str, str]) -> dict[str, Any]:
    """The part of the identity about surrogates that are only attacked, not judged."""
    labels = dict.fromkeys(each.label for surrogate in suite.surrogates for each in surrogate.models)
    found = {label: resources.digest(label) for label in sorted(labels) if label not in known}
    return {"surrogates": found} if found else {}


def _size(model: Classifier, images: Tensor, cells: Sequence[PlannedAttack], which: str) -> Footprint:
    """Cost of one image, after checking that the model accepts it and that it is large enough for every attack."""
    refuse_small((cell.attack for cell in cells), images.shape[2:], which)
    try_model(model, images[0])
    return footprint(model, images[0])


def _key(labelled: Matched) -> dict[str, Any]:
    """Everything that decides the results of a model on a data set, besides the code, the model and the images."""
    found = {"format": FORMAT, "labels": labelled.dataset.truths}
    return found | ({} if labelled.among is None else {"among": labelled.among})


def _mask(data: DatasetSpec) -> dict[str, str]:
    """The mask, if only part of each image may change."""
    return {} if data.mask is None else {"mask": parse_mask(data.mask).digest()}


def chosen(suite: Suite, data: DatasetSpec, size: int) -> tuple[int, ...]:
    """Numbers of the images that are used: the same for the same seed; a smaller choice is a subset of a larger one.

    Example:
        >>> suite = Suite(name="x", models="vgg16", datasets="mnist-samples", attacks="pgd", images=3)
        >>> chosen(suite, suite.datasets[0], size=20)
        (8, 9, 14)
    """
    return some_of(size, data.images or suite.images or size, suite.seed)


def some_of(size: int, count: int, seed: int) -> tuple[int, ...]:
    """Numbers of some images of a data set, ascending; see :func:`chosen`.

    Args:
        size: Number of images in the data set.
        count: Number of images wanted; if it exceeds `size`, all of them.
        seed: Seed of the choice.
    """
    shuffled = sorted(range(size), key=lambda number: short_digest(seed, number))
    return tuple(sorted(shuffled[:count]))


def _ids(resources: Resources, model: str, dataset: str, numbers: tuple[int, ...]) -> tuple[str, ...]:
    """Ids of the images: digests of their content, with a number appended to duplicates.

    Raises:
        UserError: They have several sizes, so they cannot be batched.
    """
    sizes: dict[str, None] = {}

    def name(number: int) -> str:
        try:
            image = resources.image(model, dataset, number)
        except UserError:
            return short_digest("unreadable", resources.matched(model, dataset).dataset.images[number])
        sizes[f"{image.shape[-1]} x {image.shape[-2]}"] = None
        return sample_id(image)

    ids = tuple(map(Numbering(), map(name, numbers)))
    if len(sizes) > 1:
        found = f"{len(sizes)} sizes, such as {' and '.join([*sizes][:2])} pixels"
        hint = "set the size to scale them to: input_size of the model (--input-size)"
        raise UserError(f"images of {dataset} have {found}, and {model} does not resize them", hint=hint)
    return ids


def _first_images(resources: Resources, model: str, data: DatasetSpec, numbers: tuple[int, ...]) -> Tensor:
    """The first `FEW` readable images of one size that the mask fits (N, C, H, W), on the device."""
    found: list[Tensor] = []
    problems: list[UserError] = []
    for number in numbers:
        try:
            image = resources.image(model, data.label, number)
        except UserError as error:
            problems.append(error)
            continue
        if data.mask is not None:
            check_mask(parse_mask(data.mask), image)
        found += [image] if not found or image.shape == found[0].shape else []
        if len(found) == FEW:
            break
    if not found:
        why = problems[0]
        raise UserError(f"none of the {len(numbers)} images of {data.label} can be read: {why.message}", hint=why.hint)
    return torch.stack(found).to(resources.device)


def _check_labels(resources: Resources, model: str, dataset: str) -> None:
    labels, classes = resources.matched(model, dataset).dataset.labels, resources.judged(model, dataset).num_classes
    if labels and not 0 <= min(labels) <= max(labels) < classes:
        got = f"labels from {min(labels)} to {max(labels)}"
        raise UserError(f"data set {dataset} has {got}, and model {model} has {classes} classes")

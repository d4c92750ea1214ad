"""Inputs and outputs of a unit of work: its run, the logits of its images, its rows and its files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import safetensors.numpy
import torch
from torch import Tensor

from advbench.config.goals import parse_goal
from advbench.config.masks import parse_mask
from advbench.config.suite import Suite
from advbench.errors import UserError
from advbench.evaluation.batch import BatchAttack, Candidate, ImageResult, labelled_pointless, unattacked
from advbench.evaluation.evaluate import Instead
from advbench.evaluation.goals import goal_labels, goal_maker
from advbench.evaluation.recording import Provenance, Sample, failure
from advbench.models.classifier import Classifier
from advbench.planning.forms.surrogates import surrogate_model
from advbench.planning.resources import Resources, UnitImages
from advbench.records.clean import CleanLogits
from advbench.records.record import UNKNOWN, Reason, Record
from advbench.records.storage.checksum import BLANK, sealed
from advbench.records.storage.shards import as_shard
from advbench.records.unit import FORMAT, Unit
from attacks import Attack, Model

_FIRST = 5
"""Number of top classes kept in a row; more if the goal involves more."""


class Done(NamedTuple):
    """The result of a unit, as the contents of its files."""

    content: bytes
    """Content of the file with the result."""
    adversarials: bytes | None = None
    """Content of the file with adversarial images; None if none are kept."""
    unknown: int = 0
    """Number of images whose outcome is unknown."""
    batch: int | None = None
    """Number of images that fitted into memory together; None if the whole unit did."""


class Job(NamedTuple):
    """A unit of work as handed to a worker."""

    unit: Unit
    """The unit of work to do."""
    clean: CleanLogits | None = None
    """Logits of its clean images; None for units that do not need them."""
    fooled: frozenset[str] = frozenset()
    """Ids of the images that are wrong when clean or that an attack fooled; only proofs need them."""
    most: int | None = None
    """Number of images to attack together; None: all, as far as they fit into memory."""


class TaskContext(NamedTuple):
    """Everything that a worker needs besides the unit itself."""

    suite: Suite
    """The suite that is run."""
    run_id: str
    """Id of the run."""
    resources: Resources
    """Models and images, loaded on demand."""
    models: Mapping[str, str]
    """Label of each model -> its digest when the run was planned."""
    starts: Mapping[tuple[str, str], tuple[int, ...]]
    """Model and data set -> numbers of the images from which attacks may start."""


def set_up(
    unit: Unit,
    context: TaskContext,
    attack: Attack,
    *,
    x: Tensor | None = None,
    on_cut: Callable[[int], None] = lambda size: None,
) -> BatchAttack:
    """Set up an attack, or a proof in its place, on the images of a unit.

    Args:
        unit: The unit to run.
        context: The run that it belongs to.
        attack: Attack made for the unit's norm.
        x: Images (N, C, H, W); the attack then gets the model in the unit's form, or the unit's surrogate. None: the
            attack gets the model as it is judged.
        on_cut: Called with the smaller number of images each time a batch is halved for lack of memory.
    """
    judged, goal = context.resources.judged(unit.model, unit.dataset), parse_goal(unit.goal)
    mask = context.suite.data(unit.dataset).mask
    model: Model = judged
    if x is not None and (label := unit.surrogate) is not None:
        spec = context.suite.surrogate(label)
        model = Instead(judged, surrogate_model(context.resources, spec, unit.model, unit.dataset, unit.form, x))
    elif x is not None:
        model = context.resources.fast(unit.model, unit.dataset, unit.form, x)
    return BatchAttack(
        model=model,
        attack=attack,
        make_goal=goal_maker(goal, judged),
        source=_provenance(unit, context, judged),
        keep=max(_FIRST, goal.k, len(goal.classes)),
        thresholds=judged.thresholds,
        mask=None if mask is None else parse_mask(mask),
        on_cut=on_cut,
    )


def made_on(unit: Unit, context: TaskContext) -> list[str]:
    """Labels of the models that a unit's attack runs on instead of the model itself."""
    label = unit.surrogate
    return [] if label is None else [each.label for each in context.suite.surrogate(label).models]


def logits_of(unit: Unit, images: UnitImages, clean: CleanLogits) -> Tensor:
    """Clean logits of the readable images (n, classes).

    Raises:
        UserError: There are none for one of them.
    """
    place = {number: row for row, number in enumerate(clean.numbers)}
    numbers = [unit.samples[row] for row in images.rows]
    if missing := [number for number in numbers if number not in place]:
        raise UserError(f"image {missing[0]} of {unit.dataset} could not be read when the clean images were predicted")
    return torch.from_numpy(clean.logits)[[place[number] for number in numbers]]


class Attacked(NamedTuple):
    """The images of a unit with the results of the attack."""

    images: UnitImages
    """The images that can be read."""
    results: Sequence[ImageResult]
    """Results of these images, in the same order."""
    records: Mapping[int, Record]
    """Position of every image in the unit -> its row, including unreadable images."""


class _Found(NamedTuple):
    """An image of a unit for which the attack returned a valid candidate."""

    row: int
    """Position of the image in the unit."""
    x: Tensor
    """The clean image (C, H, W)."""
    clean: Tensor
    """The model's logits for it (classes,)."""
    candidate: Candidate
    """The candidate and its measurements."""


def _found(images: UnitImages, results: Sequence[ImageResult]) -> Iterator[_Found]:
    """Yield the images of a unit with a valid candidate, in their order."""
    for row, x, result in zip(images.rows, images.x, results, strict=True):
        if result.candidate is not None and result.clean is not None:
            yield _Found(row, x, result.clean, result.candidate)


def finished(unit: Unit, context: TaskContext, attacked: Attacked, cuts: Sequence[int] = ()) -> Done:
    """Create the files of a unit that attacked or proved its images.

    Args:
        unit: The unit that is done.
        context: The run that it belongs to.
        attacked: Its images with their results.
        cuts: Numbers of images that fitted into memory together, if not all did.
    """
    ordered = [attacked.records[row] for row in range(len(unit.samples))]
    found, files = list(_found(attacked.images, attacked.results)), None
    if context.suite.save != "none":
        files = _kept(unit, found if context.suite.save == "all" else _most_interesting(found, unit.norm))
    unknown = sum(record.status == UNKNOWN for record in ordered)
    return Done(as_shard(ordered, unit.unit_id), files, unknown, min(cuts, default=None))


def _most_interesting(found: list[_Found], norm: str) -> list[_Found]:
    """The smallest perturbation, the most confident mistake, and an image that was not broken."""
    fooled = [each for each in found if each.candidate.measured.met and each.candidate.measured.flipped]
    chosen = []
    if fooled:
        chosen.append(min(fooled, key=lambda each: (each.candidate.measured.sizes[norm], each.row)))
        chosen.append(max(fooled, key=lambda each: (float(each.candidate.logits.softmax(0).max()), -each.row)))
    chosen += [each for each in found if not each.candidate.measured.met][:1]
    return list({each.row: each for each in chosen}.values())


def _kept(unit: Unit, found: list[_Found]) -> bytes | None:
    """The adversarial images to keep, with the clean ones and the logits of both."""
    if not found:
        return None
    tensors = {
        "rows": torch.tensor([each.row for each in found]),
        "x": torch.stack([each.x for each in found]),
        "x_adv": torch.stack([each.candidate.x_adv for each in found]),
        "clean_logits": torch.stack([each.clean for each in found]),
        "adv_logits": torch.stack([each.candidate.logits for each in found]),
    }
    return as_tensors(unit, tensors)


def unreadable_records(unit: Unit, context: TaskContext, why: Mapping[int, str]) -> dict[int, Record]:
    """Records of the unreadable images of a unit, by row."""
    samples = context.resources.samples(unit)
    own = [samples[row] for row in why]
    said = [f"{samples[row].sample_name}: {each}" for row, each in why.items()]
    return dict(zip(why, _unattacked(unit, context, own, Reason.UNREADABLE, said), strict=True))


def lost_shard(unit: Unit, context: TaskContext, reason: Reason, why: str) -> bytes:
    """The shard of a unit that failed: the outcomes of all its images are unknown.

    Args:
        unit: The unit that failed.
        context: The run that it belongs to.
        reason: The kind of failure.
        why: The explanation, a sentence.
    """
    samples = context.resources.samples(unit)
    said = [failure(sample.sample_name, unit.attack, why) for sample in samples]
    return as_shard(_unattacked(unit, context, samples, reason, said), unit.unit_id)


def _unattacked(
    unit: Unit, context: TaskContext, samples: list[Sample], reason: Reason, why: list[str]
) -> list[Record]:
    """Records of images that were not attacked; those for which the goal has no meaning are marked as left out."""
    model = context.resources.judged(unit.model, unit.dataset)
    aside = labelled_pointless(goal_maker(parse_goal(unit.goal), model), samples, model.num_classes)
    return unattacked(_provenance(unit, context, model), samples, reason, why, aside)


def _provenance(unit: Unit, context: TaskContext, model: Classifier) -> Provenance:
    """The columns that all rows of a unit share."""
    same = ("unit_id", "model", "dataset", "attack", "goal", "norm", "eps", "seed", "form", "params")
    columns = {name: getattr(unit, name) for name in same} | {"surrogate": unit.surrogate or ""}
    columns |= {"weights_sha256": model.weights_sha256 or ""}
    columns["goal_labels"] = goal_labels(parse_goal(unit.goal), model)
    return Provenance(context.run_id, columns)


def as_tensors(unit: Unit, tensors: dict[str, Tensor]) -> bytes:
    """Serialise tensors as a sealed safetensors file."""
    # a single entry: safetensors writes several in arbitrary order
    metadata = {"advbench": f"unit {unit.unit_id}, format {FORMAT}, {BLANK}"}
    return sealed(safetensors.numpy.save({name: t.cpu().contiguous().numpy() for name, t in tensors.items()}, metadata))

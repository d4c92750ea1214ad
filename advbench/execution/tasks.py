"""Do one unit of work: predict, check or attack, and return the file with its result."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from advbench.config.goals import parse_goal
from advbench.config.suite import Suite
from advbench.errors import UserError
from advbench.evaluation.attack_factory import make_attack
from advbench.evaluation.batch import (
    BatchAttack,
    Candidate,
    ImageResult,
    attack_batch,
    labelled_pointless,
    unattacked,
)
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.memory import by_halves
from advbench.evaluation.recording import Provenance, Sample, failure
from advbench.execution.checking import checked
from advbench.models.classifier import Classifier
from advbench.planning.resources import Resources, UnitImages
from advbench.records.clean import CleanLogits
from advbench.records.record import UNKNOWN, Reason, Record
from advbench.records.storage.checksum import BLANK, is_intact, sealed
from advbench.records.storage.shards import as_shard, check_unit
from advbench.records.unit import FORMAT, Unit
from attacks import Attack
from attacks.searches.starts import takes_starts, with_starts

FIRST = 5
"""Number of top classes that a row keeps; more if the goal involves more."""
CLEAN_BATCH = 32
"""Number of clean images in one forward pass."""


class Done(NamedTuple):
    """The result of a unit, as the contents of its files."""

    content: bytes
    """Content of the file with the result."""
    adversarials: bytes | None = None
    """Content of the file with adversarial images; None if none are kept."""
    unknown: int = 0
    """Number of images whose outcome is unknown."""
    batch: int | None = None
    """Number of images that fitted into memory together; None where all of the unit did."""


class TaskContext(NamedTuple):
    """Everything that a worker needs besides the unit itself."""

    suite: Suite
    """The suite that is run."""
    run_id: str
    """Id of the run."""
    resources: Resources
    """Models and images, loaded when they are needed."""
    models: Mapping[str, str]
    """Label of each model -> its digest when the run was planned."""
    starts: Mapping[tuple[str, str], tuple[int, ...]]
    """Model and data set -> numbers of the images from which attacks may start."""


def do(unit: Unit, context: TaskContext, clean: CleanLogits | None = None, *, most: int | None = None) -> Done:
    """Do a unit of work. The result depends on the unit alone, whatever was done before in this process.

    Args:
        unit: The unit to do.
        context: The run that it belongs to.
        clean: The logits of its clean images; only attacks need them.
        most: Number of images to attack together; None: all of the unit, as far as they fit into memory.

    Raises:
        UserError: A model, an image or a file is missing, or has changed since the run was planned.
    """
    if context.resources.digest(unit.model) != context.models[unit.model]:
        raise UserError(f"model {unit.model} has changed since the run was planned")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(unit.seed)
        if unit.task == "attack":
            return _attack(unit, context, clean or CleanLogits((), np.empty((0, 0))), most or len(unit.samples))
        return {"clean": _predict, "checks": _check}[unit.task](unit, context)


def _predict(unit: Unit, context: TaskContext) -> Done:
    model = context.resources.judged(unit.model, unit.dataset)
    logits, numbers, unreadable, cuts = [torch.empty(0, model.num_classes)], list[int](), 0, list[int]()
    for part in _parts(unit, CLEAN_BATCH):  # the images of a whole unit would take much memory
        images = context.resources.images(part)
        unreadable += len(images.unreadable)
        numbers += [part.samples[row] for row in images.rows]
        if images.rows:
            with torch.no_grad():
                logits += by_halves(lambda some, x=images.x: model(x[some]).cpu(), len(images.x), cuts.append)  # type: ignore[misc]
    tensors = {"logits": torch.cat(logits), "samples": torch.tensor(numbers, dtype=torch.int64)}
    return Done(_tensors(unit, tensors), unknown=unreadable, batch=min(cuts, default=None))


def _parts(unit: Unit, size: int) -> Iterator[Unit]:
    """The unit cut into units of at most this many images."""
    for start in range(0, len(unit.samples), size):
        part = slice(start, start + size)
        yield replace(unit, samples=unit.samples[part], sample_ids=unit.sample_ids[part])


def _check(unit: Unit, context: TaskContext) -> Done:
    flags, looked_at = checked(unit, context.resources)
    found = {"unit_id": unit.unit_id, "seal": BLANK, "flags": [flag.as_dict() for flag in flags]}
    content = sealed(json.dumps(found, indent=1, allow_nan=False).encode())
    return Done(content, batch=looked_at)


def _attack(unit: Unit, context: TaskContext, clean: CleanLogits, most: int) -> Done:
    images, samples = context.resources.images(unit), context.resources.samples(unit)
    records = _unreadable(unit, context, images.unreadable)
    kept, cuts = None, [most] if most < len(unit.samples) else []
    if images.rows:
        logits = _logits_of(unit, images, clean).to(images.x.device)
        setup = _setup(unit, context, images.x, cuts)
        own = [samples[row] for row in images.rows]
        results = []
        for start in range(0, len(own), most):
            part = slice(start, start + most)
            results += attack_batch(setup, images.x[part], own[part], logits[part])
        records |= {row: result.record for row, result in zip(images.rows, results, strict=True)}
        if context.suite.save != "none":
            found = list(_found(images, results))
            kept = _kept(unit, found if context.suite.save == "all" else _most_interesting(found, unit.norm))
    ordered = [records[row] for row in range(len(samples))]
    unknown = sum(record.status == UNKNOWN for record in ordered)
    return Done(as_shard(ordered, unit.unit_id), kept, unknown, min(cuts, default=None))


def _logits_of(unit: Unit, images: UnitImages, clean: CleanLogits) -> Tensor:
    """The clean logits of the images that can be read (n, classes)."""
    place = {number: row for row, number in enumerate(clean.numbers)}
    numbers = [unit.samples[row] for row in images.rows]
    if missing := [number for number in numbers if number not in place]:
        raise UserError(f"image {missing[0]} of {unit.dataset} could not be read when the clean images were predicted")
    return torch.from_numpy(clean.logits)[[place[number] for number in numbers]]


def _setup(unit: Unit, context: TaskContext, x: Tensor, cuts: list[int]) -> BatchAttack:
    """The attack of a unit on its model."""
    model, goal = context.resources.judged(unit.model, unit.dataset), parse_goal(unit.goal)
    return BatchAttack(
        model=context.resources.fast(unit.model, unit.dataset, unit.form, x),
        attack=_equipped(unit, context, x),
        make_goal=goal_maker(goal, model),
        source=_provenance(unit, context, model),
        keep=max(FIRST, goal.k, len(goal.classes)),
        on_cut=cuts.append,
    )


def _equipped(unit: Unit, context: TaskContext, x: Tensor) -> Attack:
    """The attack of a unit, with images of its data set to start from if it needs any."""
    attack = make_attack(unit.attack, unit.norm, json.loads(unit.params))
    if not takes_starts(attack):
        return attack
    numbers = context.starts[unit.model, unit.dataset]
    starts = context.resources.starts(unit.model, unit.dataset, numbers, x.shape[1:])
    return attack if starts is None else with_starts(attack, starts)


class _Found(NamedTuple):
    """An image of a unit for which the attack returned a valid candidate."""

    row: int
    """Its place in the unit."""
    x: Tensor
    """The clean image (C, H, W)."""
    clean: Tensor
    """The model's logits for it (classes,)."""
    candidate: Candidate
    """The candidate and its measurements."""


def _found(images: UnitImages, results: list[ImageResult]) -> Iterator[_Found]:
    """The images of a unit with a valid candidate, in their order."""
    for row, x, result in zip(images.rows, images.x, results, strict=True):
        if result.candidate is not None and result.clean is not None:
            yield _Found(row, x, result.clean, result.candidate)


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
    return _tensors(unit, tensors)


def _most_interesting(found: list[_Found], norm: str) -> list[_Found]:
    """The smallest perturbation, the most confident mistake, and an image that was not broken."""
    fooled = [each for each in found if each.candidate.measured.met and each.candidate.measured.flipped]
    chosen = []
    if fooled:
        chosen.append(min(fooled, key=lambda each: (each.candidate.measured.sizes[norm], each.row)))
        chosen.append(max(fooled, key=lambda each: (float(each.candidate.logits.softmax(0).max()), -each.row)))
    chosen += [each for each in found if not each.candidate.measured.met][:1]
    return list({each.row: each for each in chosen}.values())


def _unreadable(unit: Unit, context: TaskContext, why: Mapping[int, str]) -> dict[int, Record]:
    """The records of the images of a unit that could not be read, by row."""
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
        why: A sentence that explains it.
    """
    samples = context.resources.samples(unit)
    said = [failure(sample.sample_name, unit.attack, why) for sample in samples]
    return as_shard(_unattacked(unit, context, samples, reason, said), unit.unit_id)


def _unattacked(
    unit: Unit, context: TaskContext, samples: list[Sample], reason: Reason, why: list[str]
) -> list[Record]:
    """The records of images that were not attacked; those for which the goal has no meaning are left out."""
    model = context.resources.judged(unit.model, unit.dataset)
    aside = labelled_pointless(goal_maker(parse_goal(unit.goal), model), samples, model.num_classes)
    return unattacked(_provenance(unit, context, model), samples, reason, why, aside)


def _provenance(unit: Unit, context: TaskContext, model: Classifier) -> Provenance:
    same = ("unit_id", "model", "dataset", "attack", "goal", "norm", "eps", "seed", "form", "params")
    columns = {name: getattr(unit, name) for name in same} | {"weights_sha256": model.weights_sha256 or ""}
    return Provenance(context.run_id, columns)


def _tensors(unit: Unit, tensors: dict[str, Tensor]) -> bytes:
    """Tensors as a sealed safetensors file."""
    # a single entry: safetensors writes several in arbitrary order
    metadata = {"advbench": f"unit {unit.unit_id}, format {FORMAT}, {BLANK}"}
    return sealed(safetensors.torch.save({name: t.cpu().contiguous() for name, t in tensors.items()}, metadata))


def check_result(content: bytes, unit: Unit) -> None:
    """Check that a file holds the result of a unit.

    Raises:
        ValueError: It was truncated or changed, or belongs to another unit or version.
    """
    if unit.task == "attack":
        check_unit(content, unit)
    elif not is_intact(content) or unit.unit_id.encode() not in content[:4096]:
        raise ValueError("the file was truncated or changed")

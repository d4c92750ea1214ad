"""Runs one unit of work: predict, check, attack or prove, and return the file with its result."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from advbench.errors import UserError
from advbench.evaluation.attack_factory import make_attack
from advbench.evaluation.batch import ImageResult, attack_batch
from advbench.evaluation.memory import by_halves
from advbench.execution.checking import checked
from advbench.execution.proving import prove_unit
from advbench.execution.unit_results import (
    Attacked,
    Done,
    Job,
    TaskContext,
    as_tensors,
    finished,
    logits_of,
    made_on,
    set_up,
    unreadable_records,
)
from advbench.planning.cost.universal import fitted_universal, takes_fit
from advbench.records.clean import CleanLogits
from advbench.records.storage.checksum import BLANK, is_intact, sealed
from advbench.records.storage.shards import check_unit
from advbench.records.unit import Unit
from attacks import Attack
from attacks.searches.starts import takes_starts, with_starts

CLEAN_BATCH = 32
"""Number of clean images in one forward pass."""


def do(job: Job, context: TaskContext) -> Done:
    """Run a unit of work. The result depends only on the job, whatever was done before in this process.

    Args:
        job: The unit, with the earlier results that it needs.
        context: The run that it belongs to.

    Raises:
        UserError: A model, an image or a file is missing, or has changed since the run was planned.
    """
    unit, clean = job.unit, job.clean or CleanLogits((), np.empty((0, 0)))
    for label in (unit.model, *made_on(unit, context)):
        if context.resources.digest(label) != context.models[label]:
            raise UserError(f"model {label} has changed since the run was planned")
    with _seeded(unit.seed, context.resources.device):
        match unit.task:
            case "clean":
                return _predict(unit, context)
            case "checks":
                return _check(unit, context)
            case "attack":
                return _attack(unit, context, clean, job.most or len(unit.samples))
            case "prove":
                return prove_unit(unit, context, clean, job.fooled)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators, and restore their states afterwards.

    On the CPU those of GPUs are left alone: looking for GPUs takes longer than the rest of a unit's overhead.
    """
    gpus = list(range(torch.cuda.device_count())) if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        if device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        yield


def _predict(unit: Unit, context: TaskContext) -> Done:
    model = context.resources.judged(unit.model, unit.dataset)
    logits, numbers, unreadable, cuts = [torch.empty(0, model.num_classes)], list[int](), 0, list[int]()
    for part in _parts(unit, CLEAN_BATCH):  # the images of a whole unit would take too much memory
        images = context.resources.images(part)
        unreadable += len(images.unreadable)
        numbers += [part.samples[row] for row in images.rows]
        if images.rows:
            with torch.no_grad():
                logits += by_halves(lambda some, x=images.x: model(x[some]).cpu(), len(images.x), cuts.append)  # type: ignore[misc]
    tensors = {"logits": torch.cat(logits), "samples": torch.tensor(numbers, dtype=torch.int64)}
    return Done(as_tensors(unit, tensors), unknown=unreadable, batch=min(cuts, default=None))


def _parts(unit: Unit, size: int) -> Iterator[Unit]:
    """Divide a unit into units of at most this many images."""
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
    records = unreadable_records(unit, context, images.unreadable)
    results, cuts = list[ImageResult](), [most] if most < len(unit.samples) else []
    if images.rows:
        logits = logits_of(unit, images, clean).to(images.x.device)
        setup = set_up(unit, context, _equipped(unit, context, images.x), x=images.x, on_cut=cuts.append)
        own = [samples[row] for row in images.rows]
        for start in range(0, len(own), most):
            part = slice(start, start + most)
            results += attack_batch(setup, images.x[part], own[part], logits[part])
        records |= {row: result.record for row, result in zip(images.rows, results, strict=True)}
    return finished(unit, context, Attacked(images, results, records), cuts)


def _equipped(unit: Unit, context: TaskContext, x: Tensor) -> Attack:
    """The attack of a unit, with images of its data set to start from or to fit to, if it needs any."""
    attack = make_attack(unit.attack, unit.norm, json.loads(unit.params))
    numbers = context.starts[unit.model, unit.dataset]
    if takes_fit(attack):
        return fitted_universal(attack, unit, context.resources, numbers, x.shape[1:])
    if not takes_starts(attack):
        return attack
    starts = context.resources.starts(unit.model, unit.dataset, numbers, x.shape[1:])
    return attack if starts is None else with_starts(attack, starts)


def check_result(content: bytes, unit: Unit) -> None:
    """Check that a file contains the result of a unit.

    Raises:
        ValueError: It was truncated or changed, or belongs to another unit or version.
    """
    if unit.has_rows:
        check_unit(content, unit)
    elif not is_intact(content) or unit.unit_id.encode() not in content[:4096]:
        raise ValueError("the file was truncated or changed")

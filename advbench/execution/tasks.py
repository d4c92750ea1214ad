"""Do one unit of work: predict, check or attack, and give back the file that holds what came of it."""

import json
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from advbench.config.goals import parse_goal
from advbench.config.suite import Suite
from advbench.datasets.image_ids import content_ids
from advbench.errors import UserError
from advbench.evaluation.attack_factory import make_attack
from advbench.evaluation.evaluate import Evaluation, evaluate_quickly
from advbench.evaluation.goals import goal_maker, set_apart
from advbench.evaluation.model_checks import check_model
from advbench.evaluation.recording import Provenance, Sample, as_record, failure, left_out, lost, measurements, rank
from advbench.models.classifier import Classifier
from advbench.planning.resources import Resources, clean_logits
from advbench.records.checksum import BLANK, is_intact, sealed
from advbench.records.record import UNKNOWN, Record
from advbench.records.run_folder import RunFolder
from advbench.records.shards import as_shard, check_unit
from advbench.records.unit import FORMAT, Unit
from attacks import Attack
from attacks.searches.starts import takes_starts, with_starts

FIRST = 5
"""How many of the first classes a row keeps; more where the goal is about more."""
CLEAN_BATCH = 32
"""Images that are predicted together."""


class Done(NamedTuple):
    """What came of a unit."""

    content: bytes
    """Of the file with its result."""
    adversarials: bytes | None = None
    """Of the file with adversarial images, where some are kept."""
    unknown: int = 0
    """Images of which nothing is known."""


class TaskContext(NamedTuple):
    """What a worker has before it."""

    suite: Suite
    """What is run."""
    folder: RunFolder
    """Where results of earlier units are found."""
    run_id: str
    """Of the run."""
    clean: dict[tuple[str, str], Unit]
    """Model and data set -> the unit that predicts the clean images."""
    resources: Resources
    """Models and images."""
    models: dict[str, str]
    """Label of each model -> the digest that it was planned with."""


def do(unit: Unit, context: TaskContext) -> Done:
    """Do a unit of work. The result depends on the unit alone, whatever was done before in this process.

    Args:
        unit: What to do.
        context: What to do it with.

    Raises:
        UserError: A model, an image or a file is missing or not the one that was planned with.
    """
    if context.resources.digest(unit.model) != context.models[unit.model]:
        raise UserError(f"model {unit.model} has changed since the run was planned")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(unit.seed)
        return {"clean": _predict, "checks": _check, "attack": _attack}[unit.task](unit, context)


def _predict(unit: Unit, context: TaskContext) -> Done:
    images, model = context.resources.images(unit), context.resources.model(unit.model)
    with torch.no_grad():
        batches = torch.split(images.x, CLEAN_BATCH) if images.rows else ()
        logits = torch.cat([torch.empty(0, model.num_classes), *(model(x).cpu() for x in batches)])
    numbers = torch.tensor([unit.samples[row] for row in images.rows], dtype=torch.int64)
    return Done(_tensors(unit, {"logits": logits, "samples": numbers}), unknown=len(images.unreadable))


def _check(unit: Unit, context: TaskContext) -> Done:
    images, samples = context.resources.images(unit), context.resources.samples(unit)
    labels = _labels([samples[row] for row in images.rows], images.x)
    flags = check_model(context.resources.model(unit.model), images.x, labels, dataset=unit.dataset, seed=unit.seed)
    found = {"unit_id": unit.unit_id, "seal": BLANK, "flags": [flag.as_dict() for flag in flags]}
    return Done(sealed(json.dumps(found, indent=1, allow_nan=False).encode()))


def _attack(unit: Unit, context: TaskContext) -> Done:
    images, samples, model = (
        context.resources.images(unit),
        context.resources.samples(unit),
        context.resources.model(unit.model),
    )
    source = _provenance(unit, context, model)
    records = {
        row: lost(samples[row], source, f"{samples[row].sample_name}: {why}") for row, why in images.unreadable.items()
    }
    records |= _aside(unit, model, {row: samples[row] for row in images.unreadable}, source)
    batch = None
    if images.rows:
        numbers = tuple(unit.samples[row] for row in images.rows)
        logits = clean_logits(context.folder, context.clean[unit.model, unit.dataset], numbers).to(images.x.device)
        batch = _Batch(unit, context.resources, images.x, logits, [samples[row] for row in images.rows], source)
        records |= dict(zip(images.rows, batch.attack(_equipped(unit, context, images.x)), strict=True))
    ordered = [records[row] for row in range(len(samples))]
    kept = (
        None if batch is None or context.suite.save == "none" else batch.kept(images.rows, context.suite.save == "all")
    )
    unknown = sum(record.status == UNKNOWN for record in ordered)
    return Done(as_shard(ordered, unit.unit_id), kept, unknown)


def _equipped(unit: Unit, context: TaskContext, x: Tensor) -> Attack:
    """The attack of a unit, with images of its data set to start from if it needs any."""
    attack = make_attack(unit.attack, unit.norm, json.loads(unit.params))
    if not takes_starts(attack):
        return attack
    starts = context.resources.starts(
        unit.model, unit.dataset, context.clean[unit.model, unit.dataset].samples, x.shape[1:]
    )
    return attack if starts is None else with_starts(attack, starts)


def _aside(unit: Unit, model: Classifier, samples: dict[int, Sample], source: Provenance) -> dict[int, Record]:
    """Records of those labelled images, by row, for which the goal of a unit has no meaning; nothing is read."""
    known = {row: sample.label for row, sample in samples.items() if sample.label is not None}
    if not known:
        return {}
    labels, ids = torch.tensor(list(known.values())), torch.arange(len(known))
    nothing = torch.zeros(len(known), model.num_classes)
    aside = set_apart(goal_maker(parse_goal(unit.goal), model)(nothing, ids, labels), nothing, labels).tolist()
    return {row: left_out(samples[row], source) for row, out in zip(known, aside, strict=True) if out}


class _Batch:
    """The images of a unit that can be read, under its attack."""

    def __init__(
        self, unit: Unit, resources: Resources, x: Tensor, clean: Tensor, samples: list[Sample], source: Provenance
    ) -> None:
        self.unit, self.x, self.clean, self.samples, self.source = unit, x, clean, samples, source
        self.model, goal = resources.fast(unit.model, unit.form, x), parse_goal(unit.goal)
        self.make_goal, self.k = goal_maker(goal, resources.model(unit.model)), max(FIRST, goal.k, len(goal.classes))
        self.before = rank(clean, self.k)
        self.found: list[tuple[int, dict[str, Any], Tensor, Tensor]] = []
        """Place in the batch, measurements, candidate and its logits, of images with a valid candidate."""

    def attack(self, attack: Attack) -> list[Record]:
        """A record for each image; those for which the goal has no meaning are left alone."""
        labels = _labels(self.samples, self.x)
        aside = set_apart(self.make_goal(self.clean, content_ids(self.x), labels), self.clean, labels)
        records = {row: left_out(self.samples[row], self.source, self.before[row]) for row in _rows(aside)}
        if len(places := (~aside).nonzero().squeeze(1)):
            records |= dict(zip(places.tolist(), self._attempt(attack, places), strict=True))
        return [records[row] for row in range(len(self.x))]

    def _attempt(self, attack: Attack, places: Tensor) -> list[Record]:
        """Attack some of the images together; if that fails, one by one, so that only the image at fault is lost."""
        samples = [self.samples[place] for place in places.tolist()]
        x, clean = self.x[places], self.clean[places]
        ids = content_ids(x, [sample.sample_id for sample in samples])
        goal = self.make_goal(clean, ids, _labels(samples, x))
        try:
            result = evaluate_quickly(self.model, attack, x, clean, goal, eps=self.unit.eps, seed=self.unit.seed)
        except Exception as error:  # an attack or a network may throw anything; it concerns the images in its hands
            if len(places) > 1:
                return [record for place in places.unsqueeze(1) for record in self._attempt(attack, place)]
            return [self._lost(int(places), f"{type(error).__name__}: {error}".rstrip(": "))]
        return self._records(places.tolist(), result)

    def _records(self, places: list[int], result: Evaluation) -> list[Record]:
        records = []
        after = rank(result.verdicts.adv_logits, self.k)
        for row, (place, seen) in enumerate(zip(places, measurements(result), strict=True)):
            if row in result.errors:
                records.append(self._lost(place, result.errors[row]))
                continue
            record = as_record(self.source, self.samples[place], seen, (self.before[place], after[row]))
            if record.status == UNKNOWN:
                records.append(self._lost(place, record.error or ""))
                continue
            records.append(record)
            self.found.append((place, seen, result.x_adv[row], result.verdicts.adv_logits[row]))
        return records

    def _lost(self, place: int, why: str) -> Record:
        sample = self.samples[place]
        return lost(sample, self.source, failure(sample.sample_name, self.unit.attack, why), self.before[place])

    def kept(self, rows: tuple[int, ...], everything: bool) -> bytes | None:
        """The adversarial images to keep, beside the clean ones, with the logits of both."""
        chosen = self.found if everything else _most_interesting(self.found, self.unit.norm)
        if not chosen:
            return None
        places = [place for place, *_ in chosen]
        tensors = {
            "rows": torch.tensor([rows[place] for place in places]),
            "x": self.x[places],
            "x_adv": torch.stack([x_adv for *_, x_adv, _ in chosen]),
            "clean_logits": self.clean[places],
            "adv_logits": torch.stack([logits for *_, logits in chosen]),
        }
        return _tensors(self.unit, tensors)


def _most_interesting(found: list[Any], norm: str) -> list[Any]:
    """The smallest perturbation, the most confident mistake, and an image that withstood."""
    fooled = [each for each in found if each[1]["met"] and each[1]["flipped"]]
    chosen = []
    if fooled:
        chosen.append(min(fooled, key=lambda each: (each[1][norm], each[0])))
        chosen.append(max(fooled, key=lambda each: (float(each[3].softmax(0).max()), -each[0])))
    chosen += [each for each in found if not each[1]["met"]][:1]
    return list({each[0]: each for each in chosen}.values())


def lost_shard(unit: Unit, context: TaskContext, why: str) -> bytes:
    """The shard of a unit of which nothing is known."""
    source = _provenance(unit, context, context.resources.model(unit.model))
    samples = dict(enumerate(context.resources.samples(unit)))
    records = {row: lost(each, source, failure(each.sample_name, unit.attack, why)) for row, each in samples.items()}
    records |= _aside(unit, context.resources.model(unit.model), samples, source)
    return as_shard(list(records.values()), unit.unit_id)


def _provenance(unit: Unit, context: TaskContext, model: Classifier) -> Provenance:
    same = ("unit_id", "model", "dataset", "attack", "goal", "norm", "eps", "seed", "form", "params")
    columns = {name: getattr(unit, name) for name in same} | {"weights_sha256": model.weights_sha256 or ""}
    return Provenance(context.run_id, columns)


def _labels(samples: list[Sample], x: Tensor) -> Tensor | None:
    labels = [sample.label for sample in samples if sample.label is not None]
    return torch.tensor(labels, device=x.device) if len(labels) == len(samples) else None


def _rows(mask: Tensor) -> list[int]:
    """Where a mask (N,) is true."""
    return [row for row, out in enumerate(mask.tolist()) if out]


def _tensors(unit: Unit, tensors: dict[str, Tensor]) -> bytes:
    """Tensors as a sealed safetensors file."""
    # one entry: safetensors writes several in any order
    metadata = {"advbench": f"unit {unit.unit_id}, format {FORMAT}, {BLANK}"}
    return sealed(safetensors.torch.save({name: t.cpu().contiguous() for name, t in tensors.items()}, metadata))


def check_result(content: bytes, unit: Unit) -> None:
    """Check that a file holds the result of a unit.

    Raises:
        ValueError: It was cut short or changed, or it is of another unit or version.
    """
    if unit.task == "attack":
        check_unit(content, unit)
    elif not is_intact(content) or unit.unit_id.encode() not in content[:4096]:
        raise ValueError("it is not what was written: cut short, or changed")

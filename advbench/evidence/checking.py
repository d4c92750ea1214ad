"""Checks an archive with its model, using the goals and norms of the attack library but no attacks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from advbench.config.goals import GoalSpec, parse_goal
from advbench.datasets.images.ids import sample_id
from advbench.errors import UserError
from advbench.evidence.archive import Archive, own_text
from advbench.evidence.claims import DIGITS, DataClaim, LevelClaim, ThreatClaim
from advbench.evidence.png import Pixels
from advbench.evidence.standalone import known
from advbench.intervals import wilson
from advbench.models.classifier import Classifier
from advbench.models.restricted import restricted
from advbench.records.record import largest_size
from attacks import NORMS, Goal, LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted
from attacks.objectives.ranking import ranked_classes
from attacks.queries.answers import ask

BATCH = 64
"""Number of images that the model classifies together."""
LEAD, OF_LARGEST = 1e-2, 1e-3
"""Tolerances for the lead of the first logit on another machine, as shares of the lead and of the largest logit."""
_SHOWN = 20
"""Number of images that are named for each kind of problem."""


class Checked(NamedTuple):
    """Findings of a check."""

    images: int
    """Number of clean images that the model classified."""
    adversarials: int
    """Number of adversarial images that were measured and classified."""
    problems: list[str]
    """Claims that do not hold, a sentence each; empty if every claim does."""
    notes: list[str]
    """Notes for the reader, a sentence each."""


class _Clean(NamedTuple):
    """The clean images of a data set."""

    images: dict[int, Pixels]
    """Position in the data set -> image (C, H, W)."""
    logits: dict[int, Tensor]
    """Position in the data set -> logits (classes,)."""
    model: Classifier
    """The model with the classes among which it is judged."""


@torch.no_grad()
def check_archive(archive: Archive, model: Classifier, classes: dict[str, list[str]] | None = None) -> Checked:
    """Check everything that an archive claims, and that the checker inside it is the one from this package.

    Args:
        archive: An archive with a correct digest.
        model: The model that it is about.
        classes: Data set -> names of the classes among which the model is judged, for data sets that have fewer than
            the model.

    Raises:
        UserError: A picture cannot be read, or the model does not accept the images or has other classes.
    """
    problems = [
        f"{name} in the archive is not the one of this version of advbench: do not run it"
        for name in ("README.txt", "check.py")
        if archive.text(name) != own_text(name)
    ]
    notes, found = [], []
    for number, data in enumerate(archive.claims.data):
        clean = _clean(archive, number, _judged(model, data, (classes or {}).get(data.label, [])))
        found.append(clean)
        problems += _first(_clean_problems(data, clean))
        if copies := len(data.ids) - len(set(data.ids)):
            notes.append(f"{data.label}: copies of other images: {copies}")
        if len(clean.images) < len(data.ids):
            notes.append(f"{data.label}: images not in it, which count as robust: {len(data.ids) - len(clean.images)}")
    for number, threat in enumerate(archive.claims.threats):
        problems += _first(_threat_problems(archive, number, found[threat.data]))
        problems += _count_problems(number, threat, archive.claims.data[threat.data])
    adversarials = sum(len(known(threat.sizes)) for threat in archive.claims.threats)
    return Checked(sum(len(each.images) for each in found), adversarials, problems, notes)


def _judged(model: Classifier, data: DataClaim, names: Sequence[str]) -> Classifier:
    """The model among the classes of the data set."""
    if model.num_classes == data.num_classes:
        return model
    if len(names) == data.num_classes and set(names) <= set(model.classes):
        return restricted(model, [model.classes.index(name) for name in names])
    got = f"{model.name} has {model.num_classes} classes"
    raise UserError(f"{got}, and the claims on {data.label} are about {data.num_classes}")


def _clean(archive: Archive, number: int, model: Classifier) -> _Clean:
    data = archive.claims.data[number]
    held = {i for t in archive.claims.threats if t.data == number for i in known(t.sizes)} | set(
        known(data.clean_class)
    )
    images = {i: archive.image(number, i) for i in sorted(held)}
    logits = dict(zip(images, _logits(model, [*images.values()]), strict=True))
    if any(not bool(each.isfinite().all()) for each in logits.values()):
        raise UserError(f"{model.name} gives outputs that are not finite for some of the clean images")
    return _Clean(images, logits, model)


def _logits(model: Classifier, images: Sequence[Pixels]) -> Iterator[Tensor]:
    """The logits of each image, on the CPU."""
    device = next(model.buffers()).device
    for start in range(0, len(images), BATCH):
        x = as_tensor(images[start : start + BATCH]).to(device)
        try:
            yield from ask(model, x).cpu()
        except Exception as error:  # a model may raise anything
            raise UserError(f"{model.name} cannot classify the images of the archive: {str(error)[:300]}") from error


def as_tensor(images: Sequence[Pixels]) -> Tensor:
    """8-bit images as model input: (N, C, H, W), float32, in [0, 1]."""
    return torch.from_numpy(np.stack(images)).to(torch.float32) / 255


def _clean_problems(data: DataClaim, clean: _Clean) -> Iterator[str]:
    """Yield the claims about clean images that do not hold."""
    for i, image in clean.images.items():
        what, said, logits = f"{data.label}, clean image {i}", data.clean_class[i], clean.logits[i]
        if sample_id(as_tensor([image])[0]) != data.ids[i]:
            yield f"{what}: it is not the image of that id"
        claimed = data.lead[i]
        if said is None or claimed is None:
            continue
        first, second = logits.double().topk(2).values.tolist()
        if int(logits.argmax()) != said:
            yield f"{what}: class {said} is claimed, and the model says {int(logits.argmax())}"
        elif not abs(first - second - claimed) <= LEAD * (first - second) + OF_LARGEST * float(logits.abs().max()):
            leads = f"its first class leads by {first - second:.6g}, not by {claimed:.6g}"
            yield f"{what}: {leads}: these are other weights"


def _threat_problems(archive: Archive, number: int, clean: _Clean) -> Iterator[str]:
    """Yield the adversarial images that differ from the claims or do not meet the goal."""
    threat = archive.claims.threats[number]
    data, norm = archive.claims.data[threat.data], NORMS[threat.norm]()
    places = known(threat.sizes)
    for start in range(0, len(places), BATCH):
        part = places[start : start + BATCH]
        images = [archive.adversarial(number, i, clean.images[i]) for i in part]
        changes = [image.astype(np.float64) - clean.images[i] for i, image in zip(part, images, strict=True)]
        sizes = norm.measure(torch.from_numpy(np.stack(changes)) / 255)
        logits = torch.stack([*_logits(clean.model, images)])
        goal = goal_of(threat.goal, [data.labels[i] for i in part], torch.stack([clean.logits[i] for i in part]))
        for i, size, margin in zip(part, sizes.tolist(), goal.margin(logits).tolist(), strict=True):
            what, said = f"{data.label}, {threat.goal}, {threat.norm}, image {i}", threat.sizes[i]
            if said is None or not abs(size - said) <= 1e-9 * max(size, 1):
                yield f"{what}: its perturbation has the size {size:.6g}, not {said:.6g}"
            if not margin < 0:
                yield f"{what}: the goal is missed by {margin:.6g}"


def goal_of(text: str, labels: Sequence[int | None], clean: Tensor) -> Goal:
    """The goal of some images; the class predicted when clean replaces unknown labels.

    Args:
        text: Goal, with class numbers in place of names.
        labels: True classes (N).
        clean: Logits of the clean images (N, C).

    Raises:
        UserError: The goal makes no sense for that number of classes.
    """
    spec, first = parse_goal(text), ranked_classes(clean, 1)[:, 0].tolist()
    truth = torch.tensor([best if label is None else label for label, best in zip(labels, first, strict=True)])
    wanted = torch.tensor([int(each) for each in spec.classes]).expand(len(labels), -1)
    try:
        goal = _goal(spec, truth, wanted, clean)
        goal.check(clean.shape[1])
    except ValueError as error:
        raise UserError(f"the goal {text} makes no sense for {clean.shape[1]} classes: {error}") from None
    return goal


def _goal(spec: GoalSpec, truth: Tensor, wanted: Tensor, clean: Tensor) -> Goal:
    match spec.kind:
        case "untargeted":
            return Untargeted(truth)
        case "targeted":
            return Targeted(wanted[:, 0])
        case "label-out-of-topk":
            return LabelOutOfTopK(truth, spec.k)
        case "ordered-topk":
            return OrderedTopK(wanted)
    return TopKExclusion.from_logits(clean, spec.k)


def _count_problems(number: int, threat: ThreatClaim, data: DataClaim) -> Iterator[str]:
    """Yield the claimed numbers that the outcomes of the images do not give."""
    first = [int(each) for each in parse_goal(threat.goal).classes[:1]]
    rows = [
        (label, clean, size)
        for label, clean, size in zip(data.labels, data.clean_class, threat.sizes, strict=True)
        if [clean if label is None else label] != first
    ]
    for claim in threat.levels:
        bound = float("inf") if claim.eps is None else largest_size(claim.eps)
        wrong = sum(label is not None and clean is not None and label != clean for label, clean, _ in rows)
        fooled = sum(
            size is not None and size <= bound and (label is None or clean is None or label == clean)
            for label, clean, size in rows
        )
        robust = len(rows) - wrong - fooled
        low, high = (round(float(end), DIGITS) for end in wilson(robust, len(rows)))
        counted = LevelClaim(
            eps=claim.eps, images=len(rows), wrong=wrong, fooled=fooled, robust=robust, low=low, high=high
        )
        if counted != claim:
            yield f"threat {number}: {claim.model_dump()} is claimed, and {counted.model_dump()} is counted"


def _first(found: Iterator[str]) -> list[str]:
    """The first problems of a kind, and the number of others."""
    every = list(found)
    more = len(every) - _SHOWN
    return [*every[:_SHOWN], f"and {more} more like these"] if more > 0 else every

"""Makes an archive of a run, with the claims that its kept images support. Does not import torch."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from advbench.analysis.labels.codes import is_several
from advbench.analysis.metrics import levels
from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.threats import Threat, ThreatResults, gather_clean
from advbench.catalog.attacks import CORRUPTION
from advbench.catalog.registry import class_numbers
from advbench.catalog.user_models import sha256_of
from advbench.config.goals import parse_goal
from advbench.config.masks import mask_in
from advbench.config.model_description import read_description
from advbench.errors import UserError
from advbench.evidence.archive import change_of, write_archive
from advbench.evidence.claims import Claims, DataClaim, LevelClaim, ModelClaim, ThreatClaim
from advbench.evidence.gathering import Goal, Kept, Search, gather_images
from advbench.evidence.png import Pixels
from advbench.evidence.report import Shortfall, report_of, shortfalls
from advbench.evidence.standalone import counted
from advbench.records.clean import read_clean
from advbench.records.record import PROOF
from advbench.records.stored_run import StoredRun, read_run, refuse_part

_CLOSE = 1e-4
"""Lead of the first logit, as a share of the largest, below which it may be rounding: such an image gets no claim."""


class Made(NamedTuple):
    """An archive, and its shortfalls."""

    content: bytes
    """All bytes of the file; if it is to be signed, without its digest."""
    claims: Claims
    """Claims of the archive."""
    shortfalls: tuple[Shortfall, ...]
    """Comparison of the run's numbers with those that the archive supports, for each threat and eps."""


class _Data(NamedTuple):
    """One data set of a run."""

    images: ThreatResults
    """Ids, labels and predicted classes."""
    logits: Mapping[str, NDArray[Any]]
    """Id of an image -> logits of the clean image, if known."""
    kept: Kept
    """The images that the run kept."""
    goals: Mapping[Threat, Goal]
    """Threats on it."""


def make_archive(
    folder: str | Path,
    *,
    model: str | None = None,
    onnx: Sequence[Path] = (),
    search: Search | None = None,
    signed: bool = False,
) -> Made:
    """Make an archive of a run; without a search, this needs neither its models nor torch.

    Args:
        folder: Folder of the run.
        model: Label of the model that it is about; None: the only one.
        onnx: ONNX exports of the model; their digests go into the archive.
        search: Searches for 8-bit images where rounding lost them; see :func:`advbench.evidence.rounding.searcher`.
        signed: Whether to leave room for a signature.

    Raises:
        UserError: The folder is not that of a run, the model is not in it, or the run kept no usable images or stopped
            once it was decided.
    """
    run = read_run(folder)
    refuse_part(run, "an archive")
    analysis, label = RunAnalysis.of(run), _model(run, model)
    if any(is_several(each.threat.goal) for each in analysis.evidence if each.threat.model == label):
        raise UserError(
            f"model {label} has several labels for each image, and an archive claims a single class for each"
        )
    images = gather_clean(analysis.frame[analysis.frame["model"] == label])
    found = [each for each in (_data(run, analysis, one, search) for one in images) if each.kept.clean]
    if not found:
        raise UserError(f"the run in {run.folder} kept no images, so there is no evidence", hint=AGAIN)
    data = tuple(_data_claim(each) for each in found)
    threats = tuple(
        _threat_claim(place, each, data[place], threat) for place, each in enumerate(found) for threat in each.goals
    )
    claims = _claims(_model_claim(run, label, onnx), data, threats)
    evidence = {each.threat: each for each in analysis.evidence}
    fell = tuple(short for each, claim in zip(found, data, strict=True) for short in _shortfalls(each, claim, evidence))
    texts = {
        "manifest.json": (json.dumps(run.manifest, indent=1) + "\n").encode(),
        "report.json": (json.dumps(report_of(run, analysis, label, fell), indent=1) + "\n").encode(),
    }
    return Made(write_archive(claims, _pictures(found, claims), texts, signed=signed), claims, fell)


AGAIN = 'run it again with save = "all" in the suite, into another folder'
"""Advice for a run that kept too few images."""


def _model(run: StoredRun, wanted: str | None) -> str:
    """The label of the model that the archive is about."""
    labels = list(dict.fromkeys(unit.model for unit in run.plan))
    if wanted is None and len(labels) == 1:
        return labels[0]
    if wanted not in labels:
        what = "is about several models" if wanted is None else f"has no model {wanted!r}"
        raise UserError(f"the run in {run.folder} {what}", hint=f"--model takes one of: {', '.join(labels)}")
    return wanted


def _data(run: StoredRun, analysis: RunAnalysis, images: ThreatResults, search: Search | None) -> _Data:
    model, dataset = images.threat.model, images.threat.dataset
    if mask := mask_in(dataset):
        raise UserError(f"attacks on {dataset} were confined to the mask {mask}, which archives do not support yet")
    units = [unit for unit in run.plan if (unit.model, unit.dataset) == (model, dataset)]
    names = analysis.classes.get(dataset, [])
    goals = {
        each.threat: Goal(
            _numbered(each.threat.goal, names), each.threat.norm, tuple(levels(each, analysis.budgets or {}))
        )
        for each in analysis.evidence
        if (each.threat.model, each.threat.dataset) == (model, dataset) and any(t.attack != PROOF for t in each.trials)
    }
    # corruptions are reported separately, not as attacks
    attacked = [unit for unit in units if unit.has_rows and not unit.attack.startswith(CORRUPTION)]
    kept = gather_images(run, attacked, goals)
    if search is not None:
        search(run, units, kept, goals)
    if len(shapes := {each.shape for each in kept.clean.values()}) > 1:
        raise UserError(f"the images of {dataset} have {len(shapes)} sizes; an archive holds images of a single size")
    return _Data(images, _logits(run, units), kept, goals)


def _numbered(goal: str, names: Sequence[str]) -> str:
    """A goal with class numbers in place of class names."""
    spec = parse_goal(goal)
    if not spec.classes:
        return str(spec)
    numbers = [class_numbers(each, names) for each in spec.classes]
    if any(len(each) != 1 for each in numbers):
        raise UserError(f"the classes of the goal {goal} are not among those in the manifest")
    return f"{spec.kind}:{','.join(str(each[0]) for each in numbers)}"


def _logits(run: StoredRun, units: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Id of an image -> the model's logits for the clean image."""
    from advbench.records.run_folder import RunFolder

    clean = [unit for unit in units if unit.task == "clean"]
    ids = {number: name for unit in clean for number, name in zip(unit.samples, unit.sample_ids, strict=True)}
    if not ids:
        return {}
    try:
        found = read_clean(RunFolder(run.folder), clean, sorted(ids))
    except UserError:  # the run is unfinished or damaged; then nothing is claimed
        return {}
    return {ids[number]: logits for number, logits in zip(found.numbers, found.logits, strict=True)}


def _model_claim(run: StoredRun, label: str, onnx: Sequence[Path]) -> ModelClaim:
    rows = run.frame[run.frame["model"] == label]["weights_sha256"].dropna()
    about = next((spec.about for spec in run.suite.models if spec.label == label), None)
    name = next((spec.name for spec in run.suite.models if spec.label == label), "")
    if about is not None and Path(name).suffix == ".onnx" and (beside := Path(name).with_suffix(".toml")).is_file():
        about = about.over(read_description(beside))
    return ModelClaim(
        label=label,
        digest=str(run.manifest.get("identity", {}).get("models", {}).get(label, "")),
        weights_sha256=str(rows.iloc[0]) if len(rows) else "",
        onnx_sha256=tuple(map(sha256_of, onnx)),
        mean=(about and about.mean) or (0.0,),
        std=(about and about.std) or (1.0,),
    )


def _data_claim(data: _Data) -> DataClaim:
    samples, kept = [str(each) for each in data.images.samples], data.kept
    classes, leads = zip(*(_clean(data, sample) for sample in samples), strict=True)
    width = next((len(each) for each in data.logits.values()), 0)
    names = [*(each for each in data.images.label.tolist() if each >= 0), *(c for c in classes if c is not None), 1]
    return DataClaim(
        label=data.images.threat.dataset,
        num_classes=width or max(names) + 1,
        shape=next(iter(kept.clean.values())).shape,
        ids=tuple(_content_id(kept.clean[each]) if each in kept.clean else each.partition("-")[0] for each in samples),
        labels=tuple(None if each < 0 else each for each in data.images.label.tolist()),
        clean_class=classes,
        lead=leads,
    )


def _content_id(image: Pixels) -> str:
    """The id of an 8-bit image, as :func:`advbench.datasets.images.ids.sample_id` computes it for the float32 image."""
    content = f"torch.float32 {image.shape} ".encode() + (image.astype(np.float32) / np.float32(255)).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def _clean(data: _Data, sample: str) -> tuple[int | None, float | None]:
    """Claim about a clean image: its class and the lead of that class; nothing if the image was not kept unchanged."""
    logits = data.logits.get(sample)
    if logits is None or sample not in data.kept.clean or sample in data.kept.rounded or not np.isfinite(logits).all():
        return None, None
    lead = float(np.diff(np.sort(logits.astype(np.float64))[-2:])[0])
    close = lead <= _CLOSE * float(np.abs(logits).max())
    return (None, None) if close else (int(logits.argmax()), float(f"{lead:.6g}"))


def _threat_claim(place: int, data: _Data, claim: DataClaim, threat: Threat) -> ThreatClaim:
    goal, carried = data.goals[threat], data.kept.carried.get(threat, {})
    sizes = [carried[each].size if each in carried else None for each in map(str, data.images.samples)]
    facts, found = claim.model_dump(mode="json"), {"goal": goal.goal, "sizes": sizes}
    claimed = tuple(LevelClaim(**counted(facts, found, eps)) for eps in goal.levels)
    made = {"data": place, "goal": goal.goal, "norm": goal.norm, "sizes": sizes, "levels": claimed}
    return ThreatClaim.model_validate(made)


def _claims(model: ModelClaim, data: tuple[DataClaim, ...], threats: tuple[ThreatClaim, ...]) -> Claims:
    try:
        return Claims(format=1, model=model, data=data, threats=threats)
    except ValueError as error:
        why = str(error).splitlines()[2].strip().removeprefix("Value error, ").partition(" [")[0]
        raise UserError(f"no archive can be made of this run: {why}", hint="make one of a part: --model") from None


def _shortfalls(data: _Data, claim: DataClaim, evidence: Mapping[Threat, ThreatResults]) -> Iterator[Shortfall]:
    pairs = zip(map(str, data.images.samples), claim.labels, claim.clean_class, strict=True)
    wrong = {sample for sample, label, clean in pairs if None not in (label, clean) and label != clean}
    for threat, goal in data.goals.items():
        sizes = {sample: each.size for sample, each in data.kept.carried.get(threat, {}).items()}
        yield from shortfalls(evidence[threat], goal.levels, sizes, wrong, data.kept)


def _pictures(found: Sequence[_Data], claims: Claims) -> Iterator[tuple[str, Pixels]]:
    """Name and content of each picture that the claims need."""
    samples = [[str(each) for each in data.images.samples] for data in found]
    threats = [(place, threat) for place, data in enumerate(found) for threat in data.goals]
    needed = {(claim.data, i) for claim in claims.threats for i, size in enumerate(claim.sizes) if size is not None} | {
        (d, i) for d, data in enumerate(claims.data) for i, each in enumerate(data.clean_class) if each is not None
    }
    for place, i in sorted(needed):
        yield f"images/{place}/{i}.png", found[place].kept.clean[samples[place][i]]
    for number, (place, threat) in enumerate(threats):
        for i, sample in enumerate(samples[place]):
            if (best := found[place].kept.carried.get(threat, {}).get(sample)) is not None:
                yield f"deltas/{number}/{i}.png", change_of(found[place].kept.clean[sample], best.image)

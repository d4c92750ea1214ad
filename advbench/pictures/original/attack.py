"""Attacks a photograph at its original size, writes it, and judges the written file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advbench.datasets.images.files import PictureError, read_picture
from advbench.datasets.images.ids import content_ids
from advbench.errors import UserError
from advbench.evaluation.batch import Candidate, ImageResult
from advbench.evaluation.evaluate import Instead
from advbench.evaluation.predictions import predicted
from advbench.evaluation.recording import Sample, failure
from advbench.models.classifier import Classifier
from advbench.models.trial import input_of, try_model
from advbench.pictures.original.files import write_beside, write_photograph
from advbench.pictures.original.model import AtOwnSize
from advbench.pictures.original.photograph import Photograph
from advbench.pictures.outcome import PictureResult, ReadBack, failed, picture_result
from advbench.pictures.sessions.session import Session
from advbench.pictures.sessions.several import Best, attack_by_several
from advbench.records.record import Reason
from attacks import Goal, Model, ensemble


def attack_photograph(
    session: Session, photograph: Photograph, sample: str, folder: Path, tick: Callable[[], None]
) -> PictureResult:
    """Attack a photograph, and write the resulting files.

    The goal refers to the model's prediction for the unchanged photograph. Whether it is met is decided on the written
    file, opened again with Pillow and preprocessed like any picture.

    Args:
        session: The attack, the model and the goal.
        photograph: Photograph to attack.
        sample: Id of its pixels.
        folder: Folder for its files.
        tick: Called at each forward pass.

    Raises:
        UserError: The files cannot be written.
    """
    model, path = session.model, photograph.path
    x = photograph.pixels.unsqueeze(0).to(next(model.buffers()).device)
    try:
        clean = _logits(model, photograph.turned(photograph.stored.picture))
    except UserError as problem:  # for example, the picture is too long and thin
        error = PictureError(path, "; ".join(filter(None, (problem.message, problem.hint))))
        return failed(path, str(error), session.source)
    own = _asked(session, photograph, tick)
    setups = [replace(each.setup(x, tick), model=own) for each in session.all]
    (best,) = attack_by_several(setups, x, [Sample(sample, str(path), None)], clean)
    goal = session.make_goal(clean, content_ids(x, [sample]))
    try:
        return _written(session, photograph, x[0], best, (goal, clean), folder)
    except UserError:
        raise  # the results cannot be written, so no other picture will succeed either
    except Exception as error:  # drawing may fail on one picture; the others continue
        why = failure(path, session.config.attack, f"{type(error).__name__}: {error}".rstrip(": "))
        return failed(path, why, session.source, sample, Reason.CRASHED)


def _asked(session: Session, photograph: Photograph, tick: Callable[[], None]) -> Model:
    """The model at the photograph's own size, with its surrogate, if any, at the same size."""
    own = AtOwnSize(session.model, photograph, tick)
    if session.stand_in is None:
        return own
    members = [AtOwnSize(net, photograph, tick) for net in session.stand_in.members]
    return Instead(own, members[0] if len(members) == 1 else ensemble(members, session.stand_in.spec.average))


def _written(
    session: Session, photograph: Photograph, x: Tensor, best: Best, asked: tuple[Goal, Tensor], folder: Path
) -> PictureResult:
    """The outcome for a photograph, after its file has been written and judged by the goal and the clean logits."""
    goal, clean = asked
    result, rivals = best.result, best.records if session.others else ()
    candidate = result.candidate
    if candidate is None:
        return picture_result(photograph.path, result, session.model, rivals)
    file = write_photograph(folder, photograph, candidate.x_adv)
    back = read_picture(file)
    logits = _logits(session.model, back)
    met = bool(goal.margin(logits) < 0)
    result = _as_the_file_has_it(result, candidate, torch.cat([clean, logits]), session, met=met)
    read_back = ReadBack(
        file=file.name,
        saved_as=str(photograph.saved),
        size=back.size,
        met=met,
        linf=_largest_difference(photograph, back),
        saving=_largest_difference(photograph, photograph.saved_again(x)),
    )
    outcome = picture_result(photograph.path, result, session.model, rivals)._replace(read_back=read_back)
    beside = write_beside(folder, outcome, photograph, x, candidate.x_adv)
    return outcome._replace(files={file.name: file, **beside})


def _as_the_file_has_it(
    result: ImageResult, candidate: Candidate, logits: Tensor, session: Session, *, met: bool
) -> ImageResult:
    """The result, with the attack's measurements replaced by those of the written file.

    Args:
        result: The result of the attack.
        candidate: The candidate of that result.
        logits: Logits of the photograph and of the written file (2, classes).
        session: The session of the attack.
        met: Whether the file meets the goal.
    """
    record, measured = result.record, candidate.measured
    before, after = predicted(logits, len(record.clean_topk or (0,)), session.model.thresholds)
    sizes = {name: size if met else None for name, size in measured.sizes.items()}
    seen = {"met_share": float(met), "survives_8bit": met, "flipped": before.answer != after.answer}
    found = replace(record, met=met, **seen, **after.columns("adv"), **sizes)  # type: ignore[arg-type]
    measured = measured._replace(met=met, met_8bit=met, survives_8bit=met, size_8bit=measured.sizes[record.norm])
    return result._replace(record=found, candidate=candidate._replace(measured=measured, logits=logits[1]))


def _logits(model: Classifier, picture: Image.Image) -> Tensor:
    """Logits of a model for a picture (1, classes)."""
    image = input_of(model, picture)
    try_model(model, image)
    with torch.no_grad():
        logits: Tensor = model(image.unsqueeze(0).to(next(model.buffers()).device))
    return logits


def _largest_difference(photograph: Photograph, other: Image.Image) -> float:
    """Largest difference between a photograph and another picture of its size, both upright, in image units."""
    before = photograph.turned(photograph.stored.picture)
    values = (np.asarray(each.convert(before.mode), dtype=np.int16) for each in (before, other))
    first, second = values
    return float(np.abs(first - second).max()) / 255

"""Attacks pictures: the implementation of `advbench attack`."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.config.attack import AttackConfig
from advbench.config.pictures.photograph import ORIGINAL
from advbench.datasets.images.files import PictureError
from advbench.datasets.images.ids import Numbering, content_ids, sample_id
from advbench.errors import UserError
from advbench.evaluation.attack_factory import make_attack as attack_of_table
from advbench.evaluation.batch import ImageResult
from advbench.evaluation.masks import check_mask
from advbench.evaluation.recording import Sample, failure
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.pictures.choice import choose, read_input, refuse_own, suit
from advbench.pictures.files import write_files
from advbench.pictures.original.attack import attack_photograph
from advbench.pictures.original.photograph import read_photograph
from advbench.pictures.outcome import PictureResult, failed, picture_result
from advbench.pictures.proving import reach_of, with_reach
from advbench.pictures.sessions.session import Session, hastened, open_sessions
from advbench.pictures.sessions.several import Best, attack_by_several
from advbench.pictures.sessions.surrogate import load_stand_in
from advbench.records.record import OK, Reason, Record
from advbench.records.storage.atomic import folder_for_results
from advbench.records.storage.tables import write_records
from advbench.sanitize import display_name, slug, unique_slugs
from attacks import NORMS, Attack

Progress = Callable[[str, int, int], None]
"""Called with the current activity, the number of pictures done, and their total number."""

_REPORTS = Path("reports")
"""Folder that holds the results if none is named."""

MakeAttack = Callable[[Classifier], Attack]
"""The loaded classifier -> the attack on it."""


def attack_pictures(
    config: AttackConfig, progress: Progress = lambda *_: None, make_attack: MakeAttack | None = None
) -> list[PictureResult]:
    """Attack every readable picture; the results of each batch are written as soon as it is done.

    Args:
        config: The validated options of the command.
        progress: Called at every forward pass.
        make_attack: Makes an attack that is not in the catalogue; None: the one that the configuration names.

    Returns:
        An outcome for each picture and for each path without one. Pictures that failed have status `unknown`, those
        that already have the target class `left out`.

    Raises:
        UserError: The attack does not accept its parameters, nothing could be read, the model cannot be loaded, or
            the results cannot be written.
    """
    # Made here so that a parameter that the attack rejects is reported before anything is read.
    named = [] if make_attack else [attack_of_table(one.attack, one.norm, one.params) for one in config.all]
    refuse_own(config.out or _REPORTS, config.paths, config.data)
    found, dataset = choose(config.paths, config.data, config.seed)
    together = config.out if len(found.pictures) + len(found.problems) > 1 else None
    jobs = list(zip(found.pictures, _folders(config, found.pictures, together), strict=True))
    with folder_for_results(jobs[0][1]):
        progress(f"loading {config.model}", 0, len(jobs))
        model = load_model(config.model, weights=config.weights, about=config.about, device=config.device)
        if dataset is not None and config.data is not None:
            found, model = suit(found, dataset, config.data, model, config.model)
        session = open_sessions(config, model, named if make_attack is None else [make_attack(model)], found)
        if config.surrogate is not None:
            session = session.on(load_stand_in(config, model, dataset))
        if make_attack is None and not config.precise and config.size != ORIGINAL:
            session = hastened(session)
        done = [failed(problem.path, str(problem), session.source) for problem in found.problems]
        numbering = Numbering()
        for start in range(0, len(jobs), config.batch_size):
            chunk = jobs[start : start + config.batch_size]
            done += _attack_chunk(session, chunk, numbering, _ticker(progress, chunk, start, len(jobs)))
            if together and any(map(_was_read, done)):
                write_records(together / "record", [outcome.record for outcome in done])
    if not any(map(_was_read, done)):
        raise UserError("\n".join(str(outcome.record.error) for outcome in done))
    return [outcome._replace(notes=model.notes) for outcome in done]


class _Picture(NamedTuple):
    """A readable picture."""

    path: Path
    folder: Path
    """Folder for its results."""
    image: Tensor
    """The image (C, H, W), in [0, 1]."""
    sample: str
    """Id of the image, unique even among identical pictures."""


_Job = tuple[Path, Path]
"""A picture to read, and the folder for its results."""


def _attack_chunk(
    session: Session, chunk: list[_Job], numbering: Numbering, tick: Callable[[], None]
) -> list[PictureResult]:
    """Read the pictures of a batch, attack the readable ones, and write their files."""
    if session.config.size == ORIGINAL:
        return [_attack_at_own_size(session, job, numbering, tick) for job in chunk]
    done, pictures = [], []
    for path, folder in chunk:
        try:
            image = read_input(path, session.model, session.pictures.read)
            pictures.append(_Picture(path, folder, image, numbering(sample_id(image))))
        except PictureError as problem:
            done.append(failed(path, str(problem), session.source))
    if pictures:
        done += _attack(session, pictures, tick)
    order = {path: place for place, (path, _) in enumerate(chunk)}
    return sorted(done, key=lambda outcome: order[outcome.path])


def _attack_at_own_size(session: Session, job: _Job, numbering: Numbering, tick: Callable[[], None]) -> PictureResult:
    """Attack a photograph at its original size, and write its files."""
    path, folder = job
    try:
        photograph = read_photograph(path, session.model, session.config.saved_as)
    except PictureError as problem:
        return failed(path, str(problem), session.source)
    sample = numbering(sample_id(photograph.pixels))
    return attack_photograph(session, photograph, sample, folder, tick)


def _was_read(outcome: PictureResult) -> bool:
    return bool(outcome.record.sample_id)


def _attack(session: Session, pictures: list[_Picture], tick: Callable[[], None]) -> list[PictureResult]:
    """Attack the pictures of a batch, those of one shape together, and write the files of each."""
    shapes = {picture.image.shape for picture in pictures}
    batches = [pictures] if len(shapes) == 1 else [[picture] for picture in pictures]
    return [outcome for batch in batches for outcome in _attack_together(session, batch, tick)]


def _attack_together(session: Session, pictures: list[_Picture], tick: Callable[[], None]) -> list[PictureResult]:
    """Attack pictures of one shape, and write the files of each."""
    config = session.config
    x = torch.stack([picture.image for picture in pictures]).to(next(session.model.buffers()).device)
    if config.mask is not None:
        check_mask(config.mask, x[0])
    labels, sets = session.pictures.labels, session.pictures.label_sets
    samples = [
        Sample(picture.sample, str(picture.path), labels.get(picture.path), sets.get(picture.path))
        for picture in pictures
    ]
    results = attack_by_several([each.setup(x, tick) for each in session.all], x, samples)
    return [
        _proved_and_written(session, picture, image, best)
        for picture, image, best in zip(pictures, x, results, strict=True)
    ]


def _proved_and_written(session: Session, picture: _Picture, image: Tensor, best: Best) -> PictureResult:
    """The outcome of a picture, with the reach of a proof if requested."""
    config, result, record = session.config, best.result, best.result.record
    rivals = best.records if session.others else ()
    if not config.prove or record.status != OK or result.clean is None:
        return _written(session, picture, image, result, rivals)
    x = image.unsqueeze(0)
    label = None if record.label is None else torch.tensor([record.label], device=x.device)
    goal = session.make_goal(result.clean.unsqueeze(0), content_ids(x, [record.sample_id]), label)
    found = getattr(record, config.norm) if record.met else None
    start = config.eps or (found / 2 if found else 0.01)
    reach = reach_of(session.model, x, goal, NORMS[config.norm](), start=start, found=found)
    result = result._replace(record=with_reach(record, reach))
    return _written(session, picture, image, result, rivals)._replace(reach=reach)


def _written(
    session: Session, picture: _Picture, image: Tensor, result: ImageResult, rivals: tuple[Record, ...]
) -> PictureResult:
    """The outcome of a picture; its files are written if there is a valid candidate."""
    outcome = picture_result(picture.path, result, session.model, rivals)
    if result.candidate is None:
        return outcome
    try:
        found = result.candidate
        files = write_files(picture.folder, outcome, image, found.x_adv, found.x_8bit, found.allowed)
    except UserError:
        raise  # the results cannot be written, so no other picture will succeed either
    except Exception as error:  # drawing may fail on one picture; the others continue
        why = failure(picture.path, session.config.attack, f"{type(error).__name__}: {error}".rstrip(": "))
        return failed(picture.path, why, session.source, picture.sample, Reason.CRASHED)
    return outcome._replace(files=files)


def _folders(config: AttackConfig, pictures: tuple[Path, ...], together: Path | None) -> list[Path]:
    """Folder for the results of each picture."""
    # The first two names are used by files next to the folders when there are several.
    names = unique_slugs(["record.parquet", "record.csv", *(picture.stem for picture in pictures)])[2:]
    if together is not None:
        return [together / name for name in names]
    if config.out is not None:
        return [config.out]
    attacks = "-".join(slug(each.attack) for each in config.all)
    made_by = f"{slug(Path(config.model).name)}-{attacks}"
    return [_REPORTS / f"{name}-{made_by}" for name in names]


def _ticker(progress: Progress, chunk: list[_Job], start: int, total: int) -> Callable[[], None]:
    """A callback that counts the passes of one batch."""
    what = display_name(chunk[0][0].name, limit=30) if len(chunk) == 1 else f"{len(chunk)} pictures"
    passes = iter(range(1, 10**9))
    return lambda: progress(f"{what}: pass {next(passes)}", start, total)

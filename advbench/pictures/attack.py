"""Attack pictures: the work behind `advbench attack`."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from advbench import __version__
from advbench.catalog import UNIVERSAL
from advbench.config.attack import AttackConfig, suited
from advbench.datasets.images.files import PictureError
from advbench.datasets.images.ids import Numbering, content_ids, sample_id
from advbench.errors import UserError
from advbench.evaluation.attack_factory import make_attack as attack_of_table
from advbench.evaluation.attack_factory import refuse_small
from advbench.evaluation.batch import BatchAttack, ImageResult, attack_batch
from advbench.evaluation.goals import MakeGoal, goal_maker
from advbench.evaluation.masks import check_mask
from advbench.evaluation.recording import Provenance, Sample, failure
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.pictures.choice import Choice, choose, read_input, suit
from advbench.pictures.files import write_files
from advbench.pictures.outcome import SHOWN, PictureResult, failed, picture_result, provenance
from advbench.pictures.proving import reach_of, with_reach
from advbench.pictures.starting import carried_starts, of_shape
from advbench.planning.cost.footprint import footprint
from advbench.planning.forms.fast_forms import PLAIN, bears, choose_form
from advbench.records.record import OK, Reason
from advbench.records.storage.atomic import folder_for_results
from advbench.records.storage.tables import write_records
from advbench.sanitize import display_name, slug, unique_slugs
from attacks import NORMS, Attack, Model, Stuck, capped
from attacks.searches.starts import takes_starts, with_starts
from attacks.speed.folding import milder
from attacks.standins.fast import in_form

Progress = Callable[[str, int, int], None]
"""Called with the current activity, the number of pictures done, and their total number."""


NO_PICTURES = Choice(())
"""The choice of a session in which other code reads the pictures."""

MakeAttack = Callable[[Classifier], Attack]
"""The classifier, once it is loaded -> the attack on it."""


def attack_pictures(
    config: AttackConfig, progress: Progress = lambda *_: None, make_attack: MakeAttack | None = None
) -> list[PictureResult]:
    """Attack every picture that can be read; the results of each batch are written as soon as it is done.

    Args:
        config: The options of the command, checked.
        progress: Called at every forward pass.
        make_attack: Makes an attack that is not in the table; None: the one that the configuration names.

    Returns:
        An outcome for each picture and for each path without one. Pictures that failed have status `unknown`, those
        that already are of the target class `left out`.

    Raises:
        UserError: The attack does not take its parameters, nothing could be read, the model cannot be loaded, or the
            results cannot be written.
    """
    # Made here so that a parameter that the attack refuses is reported before anything is read.
    named = attack_of_table(config.attack, config.norm, config.params) if make_attack is None else None
    found, dataset = choose(config.paths, config.data, config.seed)
    together = config.out if len(found.pictures) + len(found.problems) > 1 else None
    jobs = list(zip(found.pictures, _folders(config, found.pictures, together), strict=True))
    with folder_for_results(jobs[0][1]):
        progress(f"loading {config.model}", 0, len(jobs))
        model = load_model(config.model, weights=config.weights, about=config.about, device=config.device)
        if dataset is not None and config.data is not None:
            found, model = suit(found, dataset, config.data, model, config.model)
        session = open_session(config, model, named if make_attack is None else make_attack(model), found)
        if make_attack is None and not config.precise:
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


class Session(NamedTuple):
    """One model, attack and goal, for all pictures."""

    config: AttackConfig
    """The options of the command."""
    model: Classifier
    """The classifier as it was loaded."""
    asked: Model
    """The same classifier, possibly with a faster form for the attack."""
    attack: Attack
    """The attack, made for the norm."""
    make_goal: MakeGoal
    """Makes the goal from clean logits and ids."""
    source: Provenance
    """The columns that all records share."""
    pictures: Choice = NO_PICTURES
    """The pictures, and how they are read."""
    starts: tuple[Tensor, ...] = ()
    """Images (C, H, W) from which the attack may start, if it needs any."""

    def attack_on(self, x: Tensor) -> Attack:
        """The attack for images (N, C, H, W), with the starting images of the same shape."""
        starts = of_shape(self.starts, x)
        return self.attack if starts is None else with_starts(self.attack, starts)


class _Picture(NamedTuple):
    """A picture that could be read."""

    path: Path
    folder: Path
    """Folder for its results."""
    image: Tensor
    """The image (C, H, W), in [0, 1]."""
    sample: str
    """Its id, unique even among identical pictures."""


_Job = tuple[Path, Path]
"""A picture to read, and the folder for its results."""


def open_session(
    config: AttackConfig, model: Classifier, attack: Attack | None = None, pictures: Choice = NO_PICTURES
) -> Session:
    """Make the goal that a configuration names, and its attack if none is given.

    Raises:
        UserError: The goal names a class or a k that the model does not have, or the attack does not take its
            parameters.
    """
    if attack is None:
        attack = attack_of_table(config.attack, config.norm, config.params)
    attack = attack if config.max_passes is None else capped(attack, config.max_passes)
    if model.input_size is not None:
        refuse_small([config.attack], model.sides(otherwise=0), f"the inputs of {config.model}")
    config = suited(config, model.num_classes, several=model.several)
    if config.prove and model.several:
        raise UserError(f"{config.model} has several labels, which proofs do not know", hint="leave --prove out")
    make_goal = goal_maker(config.goal, model)
    starts = carried_starts(model, config.model) if takes_starts(attack) else ()
    source = provenance(config, model, attack, __version__)
    return Session(config, model, model, attack, make_goal, source, pictures, tuple(starts))


def hastened(session: Session) -> Session:
    """The session with the fastest form of its network on this machine, if its attack can take gradients from one.

    Args:
        session: The session with the network as it was loaded; the forms are timed on its first picture that can be
            read.
    """
    config, model, attack = session.config, session.model, session.attack
    if (most := bears(config.attack, attack, config.goal.kind)) == PLAIN:
        return session
    for path in session.pictures.pictures:
        with suppress(PictureError):
            image = read_input(path, model, session.pictures.read).to(next(model.buffers()).device)
            x = image.unsqueeze(0)
            asked = in_form(model, milder(choose_form(model, x, footprint(model, image)).form, most), x)
            return session._replace(asked=asked, source=provenance(config, model, attack, __version__, asked.form))
    return session


def _attack_chunk(
    session: Session, chunk: list[_Job], numbering: Numbering, tick: Callable[[], None]
) -> list[PictureResult]:
    """Read the pictures of a batch, attack those that can be read, and write their files."""
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
    setup = BatchAttack(
        model=session.asked,
        attack=session.attack_on(x),
        make_goal=session.make_goal,
        source=session.source,
        keep=_kept(config),
        thresholds=session.model.thresholds,
        mask=config.mask,
        # What already exists, whoever applies it wants to see on every picture.
        attack_all=config.attack == UNIVERSAL or isinstance(session.attack, Stuck),
        on_pass=tick,
    )
    labels, sets = session.pictures.labels, session.pictures.label_sets
    samples = [
        Sample(picture.sample, str(picture.path), labels.get(picture.path), sets.get(picture.path))
        for picture in pictures
    ]
    results = zip(pictures, x, attack_batch(setup, x, samples), strict=True)
    return [_proved_and_written(session, picture, image, result) for picture, image, result in results]


def _proved_and_written(session: Session, picture: _Picture, image: Tensor, result: ImageResult) -> PictureResult:
    """The outcome of a picture, with how far a proof reaches if that was asked for."""
    config, record = session.config, result.record
    if not config.prove or record.status != OK or result.clean is None:
        return _written(session, picture, image, result)
    x = image.unsqueeze(0)
    label = None if record.label is None else torch.tensor([record.label], device=x.device)
    goal = session.make_goal(result.clean.unsqueeze(0), content_ids(x, [record.sample_id]), label)
    found = getattr(record, config.norm) if record.met else None
    start = config.eps or (found / 2 if found else 0.01)
    reach = reach_of(session.model, x, goal, NORMS[config.norm](), start=start, found=found)
    return _written(session, picture, image, result._replace(record=with_reach(record, reach)))._replace(reach=reach)


def _written(session: Session, picture: _Picture, image: Tensor, result: ImageResult) -> PictureResult:
    """The outcome of a picture, with the files written for a valid candidate."""
    outcome = picture_result(picture.path, result, session.model)
    if result.candidate is None:
        return outcome
    try:
        found = result.candidate
        files = write_files(picture.folder, outcome, image, found.x_adv, found.x_8bit, found.allowed)
    except UserError:
        raise  # the results cannot be written, so no other picture will succeed either
    except Exception as error:  # drawing may fail on one picture; the others go on
        why = failure(picture.path, session.config.attack, f"{type(error).__name__}: {error}".rstrip(": "))
        return failed(picture.path, why, session.source, picture.sample, Reason.CRASHED)
    return outcome._replace(files=files)


def _kept(config: AttackConfig) -> int:
    """Number of top classes that a record keeps."""
    k = max(config.goal.k, len(config.goal.classes))
    return k if k > 1 else SHOWN


def _folders(config: AttackConfig, pictures: tuple[Path, ...], together: Path | None) -> list[Path]:
    """Folder for the results of each picture."""
    # The first two names are taken by files beside the folders when there are several.
    names = unique_slugs(["record.parquet", "record.csv", *(picture.stem for picture in pictures)])[2:]
    if together is not None:
        return [together / name for name in names]
    if config.out is not None:
        return [config.out]
    made_by = f"{slug(Path(config.model).name)}-{slug(config.attack)}"
    return [Path("reports") / f"{name}-{made_by}" for name in names]


def _ticker(progress: Progress, chunk: list[_Job], start: int, total: int) -> Callable[[], None]:
    """A callback that counts the passes of one batch."""
    what = display_name(chunk[0][0].name, limit=30) if len(chunk) == 1 else f"{len(chunk)} pictures"
    passes = iter(range(1, 10**9))
    return lambda: progress(f"{what}: pass {next(passes)}", start, total)

"""Measures and applies universal perturbations: the implementation of `advbench universal eval` and `apply`."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from advbench.config.attack import AttackConfig
from advbench.config.data.name import ChosenImages
from advbench.config.goals import GoalSpec
from advbench.config.model_description import NOTHING, Description
from advbench.datasets.images.files import PictureError
from advbench.datasets.images.loader import PictureStream
from advbench.errors import UserError
from advbench.evaluation.goals import goal_maker
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.models.thresholds import refuse_several
from advbench.pictures.attack import Progress, attack_pictures
from advbench.pictures.choice import choose, suit
from advbench.pictures.outcome import PictureResult
from advbench.pictures.universal.arrays import NOTHING as UNSAID
from advbench.pictures.universal.arrays import Told, read_perturbation
from advbench.pictures.universal.made_for import ANY, check_channels, goal_of, model_about, model_name
from advbench.pictures.universal.streams import classes_after, enough, known_labels, stream_of
from advbench.planning.identity.run import model_digest
from attacks import FoolingCounts, Perturbation, Universal, fooled


@dataclass(frozen=True, kw_only=True)
class UseConfig:
    """Options of `advbench universal eval` and `apply`."""

    perturbation: Path
    """File of the perturbation."""
    told: Told = UNSAID
    """Description of the perturbation, if it is an array from another project."""
    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures."""
    data: ChosenImages | None = None
    """Images of a data set, instead of such paths."""
    model: str | None = None
    """A name of `advbench models`; None: the model it was made for."""
    weights: Path | None = None
    """A file with the model's weights."""
    about: Description = NOTHING
    """Description of the user's own model, beyond what its file or function says."""
    resize: bool = False
    """Whether a model or size other than that of the fit is allowed."""
    goal: GoalSpec | None = None
    """Goal, which defines what counts as fooled; None: the goal of the fit."""
    labels: Path | None = None
    """CSV with the columns `file` and `index`: the true class of each picture."""
    batch_size: int = 32
    """Number of pictures attacked together."""
    device: str = "cpu"
    """Device to compute on."""
    out: Path | None = None
    """Folder for the results."""


class Measured(NamedTuple):
    """Result of measuring a perturbation."""

    perturbation: Perturbation
    """The perturbation, with its card."""
    counts: FoolingCounts
    """Counts over the pictures that it was measured on."""
    classes: tuple[tuple[str, int], ...]
    """Most frequent classes of perturbed pictures, with their counts."""
    problems: tuple[PictureError, ...]
    """Pictures that could not be read."""
    folder: Path | None = None
    """Folder of the files."""

    def as_row(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        counts = self.counts._asdict() | {"classes": [list(each) for each in self.classes]}
        made = {"norm": self.perturbation.norm.name, "eps": self.perturbation.eps, "card": dict(self.perturbation.card)}
        return made | counts | {"folder": None if self.folder is None else str(self.folder)}


def measure_perturbation(config: UseConfig, progress: Progress = lambda *_: None) -> Measured:
    """Measure how often a perturbation fools a model on pictures.

    Raises:
        UserError: A file that is not a perturbation; one for another model or size; no pictures; missing labels.
    """
    perturbation = read_perturbation(config.perturbation, config.told)
    found, dataset = choose(config.paths, config.data, seed=0)
    paths = enough(found.pictures, found.problems, least=1)
    labels = None if config.labels is None else _labels(config.labels, paths)
    name = model_name(config.perturbation, perturbation.card, config.model)
    progress(f"loading {name}", 0, len(paths))
    model = load_model(
        name,
        weights=config.weights,
        about=model_about(perturbation.card, config.model, config.about),
        device=config.device,
    )
    refuse_several(model.thresholds, name, "universal perturbations")
    fitting = fitting_perturbation(perturbation, model, config)
    if dataset is not None and config.data is not None:
        found, model = suit(found, dataset, config.data, model, name)
        labels = labels or known_labels(found)
    stream = stream_of(model, paths, config.batch_size, labels=labels, read=found.read)
    progress(f"{name}: measuring", 0, len(paths))
    measured = measured_on(model, fitting, stream, config.goal or goal_of(perturbation.card))
    return measured._replace(problems=(*found.problems, *stream.problems.values()))


def apply_perturbation(config: UseConfig, progress: Progress = lambda *_: None) -> list[PictureResult]:
    """Add a perturbation to pictures, and write the results like `advbench attack`.

    Raises:
        UserError: As for :func:`measure_perturbation`.
    """
    perturbation = read_perturbation(config.perturbation, config.told)
    attack = AttackConfig(
        paths=config.paths,
        data=config.data,
        model=model_name(config.perturbation, perturbation.card, config.model),
        weights=config.weights,
        about=model_about(perturbation.card, config.model, config.about),
        attack="universal",
        goal=config.goal or goal_of(perturbation.card),
        norm=perturbation.norm.name,
        eps=perturbation.eps,
        device=config.device,
        batch_size=config.batch_size,
        out=config.out,
    )
    return attack_pictures(
        attack, progress, lambda model: Universal(perturbation=fitting_perturbation(perturbation, model, config))
    )


def fitting_perturbation(perturbation: Perturbation, model: Classifier, config: UseConfig) -> Perturbation:
    """Adapt a perturbation to a model's images.

    Raises:
        UserError: It was made for another model or size, which was not allowed; or for other colour channels.
    """
    made_for = perturbation.card.get("weights")
    if made_for and made_for != model_digest(model) and not config.resize:
        raise UserError(
            f"{config.perturbation} was made for {perturbation.card.get('model')}, and {model.name} has other weights",
            hint="--resize transfers it anyway; --model and --weights name the model it was made for",
        )
    height, width = model.sides(otherwise=ANY)
    hint = "resizing cannot change that: fit one to this model with `advbench universal fit`"
    check_channels(config.perturbation, len(perturbation.delta), model, hint=hint)
    if model.input_size is None or tuple(perturbation.delta.shape[1:]) == (height, width):
        return perturbation
    if not config.resize:
        shape = " x ".join(map(str, perturbation.delta.shape[1:]))
        raise UserError(
            f"{config.perturbation} is for pictures of {shape} pixels, and {model.name} takes {height} x {width}",
            hint="--resize rescales it",
        )
    return perturbation.resized(height, width).on_grid()


def measured_on(model: Classifier, perturbation: Perturbation, stream: PictureStream, goal: GoalSpec) -> Measured:
    """Count how often a perturbation fools a model on pictures.

    Raises:
        UserError: None of them can be read.
    """
    counts = fooled(model, stream, perturbation.apply, goal_maker(goal, model))
    named = classes_after(model, counts, stream)
    return Measured(perturbation, counts, named, tuple(stream.problems.values()))


def _labels(path: Path, pictures: tuple[Path, ...]) -> list[int]:
    """The class of each picture, by file name."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if not {"file", "index"} <= set(rows.fieldnames or ()):
                raise ValueError("these columns are missing")
            known = {row["file"]: int(row["index"]) for row in rows}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"cannot read {path}: {error}", hint="a CSV with the columns file and index is needed"
        ) from None
    if missing := [picture for picture in pictures if picture.name not in known]:
        raise UserError(f"{path} has no label for {len(missing)} of the pictures, such as {missing[0].name}")
    return [known[picture.name] for picture in pictures]

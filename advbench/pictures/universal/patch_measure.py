"""Measures and applies patches: the implementation of `advbench patch eval` and `apply`."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advbench.analysis.statistics import Proportion
from advbench.config.attack import AttackConfig
from advbench.config.goals import GoalSpec
from advbench.config.masks import PLACES
from advbench.datasets.images.files import PictureError
from advbench.datasets.images.loader import PictureStream
from advbench.errors import UserError
from advbench.evaluation.goals import goal_maker
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.pictures.attack import Progress, attack_pictures
from advbench.pictures.choice import choose, refuse_own, suit
from advbench.pictures.files import as_picture
from advbench.pictures.outcome import PictureResult
from advbench.pictures.universal.made_for import ANY, check_channels, goal_of, model_about, model_name
from advbench.pictures.universal.options import PatchUse
from advbench.pictures.universal.panel import draw_universal, examples_of
from advbench.pictures.universal.streams import classes_after, enough, known_labels, stream_of
from advbench.planning.identity.run import model_digest
from advbench.records.storage.atomic import folder_for_results, write_atomic
from attacks import FoolingCounts, Placing, Sticker, Stuck, fooled
from attacks.searches.draws import derive, uniform
from attacks.universal.clean import content_ids

PANEL = "panel.png"
"""Name of the figure in the folder of the results."""
_EXAMPLES = 4
_SEEN, _NOISE = 1, 2
"""Numbers of the seeds for the places of a measurement and for the colours of the random patch."""


class PatchMeasured(NamedTuple):
    """Result of measuring a patch."""

    sticker: Sticker
    """The patch, with its card."""
    counts: FoolingCounts
    """Counts over all places on all pictures."""
    noise: FoolingCounts
    """Counts for a patch of random colours at the same places."""
    pictures: int
    """Number of pictures."""
    classes: tuple[tuple[str, int], ...]
    """Most frequent classes of pictures with the patch, with their counts."""
    problems: tuple[PictureError, ...]
    """Pictures that could not be read."""
    folder: Path | None = None
    """Folder of the files."""

    def met(self, counts: FoolingCounts) -> Proportion:
        """Share of places where the goal is met, among those where it has a meaning, with an interval over pictures.

        Places on one picture are not independent: with several places on each, the interval is that for the number of
        pictures with the same share. For a single picture, the interval is over its places.

        Args:
            counts: Counts of the patch, or of the random-colour one.
        """
        some = counts.images - counts.pointless
        if self.pictures in (1, counts.images) or not some:
            return Proportion(counts.met, some)
        pictures = round(some * self.pictures / counts.images)
        return Proportion(round(counts.met / some * pictures), pictures)

    def as_row(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        share = self.met(self.counts)
        return {
            "card": dict(self.sticker.card),
            "sha256": self.sticker.digest,
            "pictures": self.pictures,
            **self.counts._asdict(),
            "classes": [list(each) for each in self.classes],
            "interval": [share.low, share.high],
            "random_colours_met": self.noise.met,
            "folder": None if self.folder is None else str(self.folder),
        }


def measure_patch(config: PatchUse, progress: Progress = lambda *_: None) -> PatchMeasured:
    """Measure how often a patch at random places fools a model on pictures, and draw some of them.

    Raises:
        UserError: No pictures, or no readable ones; a file that is not a patch; a model that it does not fit, or one
            with other weights than the model it was made for, unless that is named.
    """
    sticker = read_patch(config.patch)
    if config.out is not None:
        refuse_own(config.out, config.paths, config.data)
    found, dataset = choose(config.paths, config.data, seed=0)
    paths = enough(found.pictures, found.problems, least=1)
    name = model_name(config.patch, sticker.card, config.model)
    about = model_about(sticker.card, config.model, config.about)
    progress(f"loading {name}", 0, len(paths))
    model = load_model(name, weights=config.weights, about=about, device=config.device)
    check_patch(sticker, model, config)
    if dataset is not None and config.data is not None:
        found, model = suit(found, dataset, config.data, model, name)
    stream = stream_of(model, paths, config.batch_size, labels=known_labels(found), read=found.read)
    goal = config.goal or goal_of(sticker.card)
    places = config.places or (PLACES if len(paths) == 1 else 1)
    progress(f"{name}: measuring", 0, len(paths))
    measured = measured_on(model, sticker, stream, goal, places=places, seed=config.seed)
    measured = measured._replace(problems=(*found.problems, *stream.problems.values()))
    if config.out is None:
        return measured
    with folder_for_results(config.out) as folder:
        write_atomic(folder / PANEL, draw_panel(model, next(iter(stream))[0], measured, seed=config.seed))
    return measured._replace(folder=folder)


def apply_patch(config: PatchUse, progress: Progress = lambda *_: None) -> list[PictureResult]:
    """Put a patch into pictures at a random place, and write the results like `advbench attack`.

    Raises:
        UserError: As for :func:`measure_patch`.
    """
    sticker = read_patch(config.patch)
    attack = AttackConfig(
        paths=config.paths,
        data=config.data,
        model=model_name(config.patch, sticker.card, config.model),
        weights=config.weights,
        about=model_about(sticker.card, config.model, config.about),
        attack="patch",
        goal=config.goal or goal_of(sticker.card),
        norm=Stuck(sticker=sticker).norm.name,
        seed=config.seed,
        device=config.device,
        batch_size=config.batch_size,
        out=config.out,
    )

    def stuck(model: Classifier) -> Stuck:
        check_patch(sticker, model, config)
        return Stuck(sticker=sticker)

    return attack_pictures(attack, progress, stuck)


def read_patch(path: Path) -> Sticker:
    """Read a file that `advbench patch fit` or :meth:`attacks.Sticker.save` wrote.

    Raises:
        UserError: There is no such file, or it is something else.
    """
    try:
        return Sticker.load(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}", hint="check the spelling") from None
    except ValueError as error:
        hint = "make one: advbench patch fit FOLDER; a printed or edited one no longer has its card"
        raise UserError(f"{path} is not a patch: {error}", hint=hint) from None


def check_patch(sticker: Sticker, model: Classifier, config: PatchUse) -> None:
    """Check that a patch can be put into a model's images.

    Raises:
        UserError: It was made for other weights, and the model was not named; its colour channels differ; or it does
            not fit into the images.
    """
    made_for = sticker.card.get("weights")
    if made_for and config.model is None and made_for != model_digest(model):
        raise UserError(
            f"{config.patch} was made for {sticker.card.get('model')}, and {model.name} has other weights",
            hint=f"--model {model.name} measures it on that model anyway",
        )
    hint = "make one for this model with `advbench patch fit`"
    check_channels(config.patch, len(sticker.content), model, hint=hint)
    check_room(sticker.placing, model)


def check_room(placing: Placing, model: Classifier) -> None:
    """Check that a model's images have room for a patch.

    Raises:
        UserError: They do not.
    """
    if model.input_size is None:
        return
    height, width = model.sides(otherwise=ANY)
    try:
        placing.side(height, width)
    except ValueError as error:
        raise UserError(
            f"the patch is larger than the input of {model.name}: {error}", hint="make it smaller with --share"
        ) from None


def measured_on(
    model: Classifier, sticker: Sticker, stream: PictureStream, goal: GoalSpec, *, places: int, seed: int
) -> PatchMeasured:
    """Count how often a patch at random places fools a model on pictures.

    Args:
        model: Classifier that is tested.
        sticker: Patch that is put into the pictures.
        stream: Pictures in batches.
        goal: What counts as fooled.
        places: Number of random places on each picture.
        seed: Seed of the places, which differ from those of a fit with the same seed.

    Raises:
        UserError: None of them can be read, or the patch does not fit into them.
    """
    make_goal, drawn = goal_maker(goal, model), derive(seed, _SEEN)

    def counted(patch: Sticker) -> FoolingCounts:
        total = FoolingCounts()
        for draw in range(places):
            total += fooled(model, stream, partial(patch.apply, seed=drawn, draw=draw), make_goal)
        return total

    try:
        counts, noise = counted(sticker), counted(_random_colours(sticker, seed))
    except ValueError as error:
        raise UserError(f"the patch cannot be put into these pictures: {error}") from None
    named = classes_after(model, counts, stream)
    problems = tuple(stream.problems.values())
    return PatchMeasured(sticker, counts, noise, counts.images // places, named, problems)


def _random_colours(sticker: Sticker, seed: int) -> Sticker:
    ids = torch.zeros(1, dtype=torch.long)
    return Sticker(content=uniform(derive(seed, _NOISE), ids, 0, sticker.content.shape)[0], placing=sticker.placing)


def draw_panel(model: Classifier, x: Tensor, measured: PatchMeasured, *, seed: int) -> bytes:
    """Draw a patch and its effect on some images (n, C, H, W), at places of the measurement, as a PNG file.

    For a single image, several places are shown.
    """
    sticker, drawn = measured.sticker, derive(seed, _SEEN)
    x = x[:_EXAMPLES]
    if len(x) == 1:
        draws = range(min(_EXAMPLES, measured.counts.images))
        x_adv = torch.cat([sticker.apply(x, content_ids(x), seed=drawn, draw=draw) for draw in draws])
        x = x.expand(len(x_adv), -1, -1, -1)
    else:
        x_adv = sticker.apply(x, seed=drawn)
    examples = examples_of(model, x, x_adv)
    counts, placing = measured.counts, sticker.placing
    share = measured.met(counts)
    title = f"{model.name} · {placing.shape}, {100 * placing.share:.3g} % · fools {share.percent} {share.interval}"
    return draw_universal(
        title, as_picture(sticker.content), examples, measured.classes, counts.images, caption="the patch, enlarged"
    )

"""The pictures, and the model of a fit, of universal perturbations and patches."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from advbench.datasets.images.files import PictureError, read_picture
from advbench.datasets.images.loader import PictureStream
from advbench.errors import UserError
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.pictures.attack import Progress
from advbench.pictures.choice import Choice, Read, choose, read_input, refuse_own, suit
from advbench.pictures.universal.options import Fit
from attacks import FoolingCounts


class Loaded(NamedTuple):
    """The model and the pictures of a fit."""

    model: Classifier
    """Classifier, as judged on the data set if the pictures are from one."""
    chosen: Choice
    """All pictures that were given."""
    fitted: PictureStream
    """Pictures to fit to."""
    kept: PictureStream
    """Pictures held out; a single picture is also one to fit to."""

    def some(self) -> Tensor:
        """The first images to fit to (n, C, H, W), on which a form of the model can be tried.

        Raises:
            UserError: None can be read.
        """
        first = next(iter(self.fitted), None)
        if first is None:
            raise UserError("\n".join(str(problem) for problem in self.fitted.problems.values()))
        return first[0][:_TRIED]

    def problems(self) -> tuple[PictureError, ...]:
        """Pictures that could not be found or read."""
        return (*self.chosen.problems, *(self.fitted.problems | self.kept.problems).values())


def load(fit: Fit, progress: Progress, check: Callable[[Classifier], None], *, least: int = 2) -> Loaded:
    """Load the model of a fit, and split its pictures.

    Args:
        fit: Options of the fit.
        progress: Receives what is being done.
        check: Raises an error if nothing can be fitted to the model.
        least: Smallest number of pictures.

    Raises:
        UserError: Too few pictures; a folder for results among them; a model or a data set that cannot be loaded or do
            not match.
    """
    refuse_own(fit.out, fit.paths, fit.data)
    chosen, dataset = choose(fit.paths, fit.data, fit.seed)
    enough(chosen.pictures, chosen.problems, least)
    progress(f"loading {fit.model}", 0, fit.steps)
    model = load_model(fit.model, weights=fit.weights, about=fit.about, device=fit.device)
    check(model)
    if dataset is not None and fit.data is not None:
        chosen, model = suit(chosen, dataset, fit.data, model, fit.model)
    return Loaded(model, chosen, *_split(model, chosen, fit))


def enough(pictures: tuple[Path, ...], problems: tuple[PictureError, ...], least: int = 2) -> tuple[Path, ...]:
    """Return the pictures, if there are enough.

    Raises:
        UserError: There are too few.
    """
    if not pictures:
        raise UserError("\n".join(str(problem) for problem in problems) or "no pictures were given")
    if len(pictures) < least:
        raise UserError(
            f"a universal perturbation is fitted to at least {least} pictures, and only {len(pictures)} was given",
            hint="some hundreds are needed for one that also fools the model on other pictures",
        )
    return pictures


def stream_of(
    model: Classifier,
    paths: tuple[Path, ...],
    batch_size: int,
    *,
    labels: list[int] | None = None,
    seed: int | None = None,
    read: Read = read_picture,
) -> PictureStream:
    """Stream of pictures, preprocessed for a model."""
    device = next(model.buffers()).device

    def prepared(path: Path) -> Tensor:
        return read_input(path, model, read)

    return PictureStream(paths, prepared, batch_size=batch_size, labels=labels, seed=seed, device=device)


def known_labels(found: Choice) -> list[int] | None:
    """The class of each picture, if the data set gives it for all of them."""
    labels = [found.labels[path] for path in found.pictures if path in found.labels]
    return labels if len(labels) == len(found.pictures) else None


def classes_after(model: Classifier, counts: FoolingCounts, stream: PictureStream) -> tuple[tuple[str, int], ...]:
    """The most frequent predicted classes of changed pictures, with their counts.

    Args:
        model: Classifier that predicted them.
        counts: Counts of the measurement.
        stream: Pictures that were measured.

    Raises:
        UserError: None of them could be read.
    """
    if not counts.images:
        raise UserError("\n".join(str(problem) for problem in stream.problems.values()))
    return tuple((model.classes[index], count) for index, count in counts.classes)


def _split(model: Classifier, found: Choice, fit: Fit) -> tuple[PictureStream, PictureStream]:
    """The pictures to fit to, and those held out."""
    order = sorted(found.pictures, key=lambda path: path.as_posix())
    random.Random(fit.seed).shuffle(order)  # noqa: S311 - not for secrets
    count = max(1, round(fit.held_out * len(order))) if len(order) > 1 else 0
    fitted, kept = tuple(order[count:]), tuple(order[:count] or order)
    return (
        stream_of(model, fitted, fit.batch_size, seed=fit.seed, read=found.read),
        stream_of(model, kept, fit.batch_size, read=found.read),
    )


_TRIED = 4
"""Number of images on which a form of the model is tried."""

"""Pictures in batches, for fitting and measuring universal perturbations and patches."""

import random
from pathlib import Path
from typing import Protocol

from torch import Tensor

from advbench.datasets.images.files import PictureError, read_picture
from advbench.datasets.images.loader import PictureStream
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.pictures.choice import Choice, Read, read_input
from attacks import FoolingCounts


class Fit(Protocol):
    """Options of a fit that concern its pictures."""

    @property
    def held_out(self) -> float:
        """Fraction of the pictures held out."""
        ...

    @property
    def batch_size(self) -> int:
        """Number of pictures in a batch."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the choice and of the order."""
        ...


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


def split(model: Classifier, found: Choice, config: Fit) -> tuple[PictureStream, PictureStream]:
    """Split the pictures into those to fit to and those held out; a single picture is both.

    Args:
        model: Classifier that processes them.
        found: All pictures that were given.
        config: Options of the fit.
    """
    order = sorted(found.pictures, key=lambda path: path.as_posix())
    random.Random(config.seed).shuffle(order)  # noqa: S311 - not for secrets
    count = max(1, round(config.held_out * len(order))) if len(order) > 1 else 0
    fitted, kept = tuple(order[count:]), tuple(order[:count] or order)
    return (
        stream_of(model, fitted, config.batch_size, seed=config.seed, read=found.read),
        stream_of(model, kept, config.batch_size, read=found.read),
    )


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

"""Pictures in batches, as a fit and a measurement of a change for many pictures need them."""

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
    """What a fit says about its pictures."""

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
    """The pictures.

    Raises:
        UserError: They are too few.
    """
    if not pictures:
        raise UserError("\n".join(str(problem) for problem in problems) or "no pictures were given")
    if len(pictures) < least:
        raise UserError(
            f"a universal perturbation is fitted to {least} pictures at least, and only {len(pictures)} was given",
            hint="some hundred are needed for one that fools on other pictures too",
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
    """Pictures as a model takes them."""
    device = next(model.buffers()).device

    def prepared(path: Path) -> Tensor:
        return read_input(path, model, read)

    return PictureStream(paths, prepared, batch_size=batch_size, labels=labels, seed=seed, device=device)


def split(model: Classifier, found: Choice, config: Fit) -> tuple[PictureStream, PictureStream]:
    """The pictures to fit to, and those held out; one picture is both.

    Args:
        model: Classifier that looks at them.
        found: All pictures that were given.
        config: What is asked for.
    """
    order = sorted(found.pictures, key=lambda path: path.as_posix())
    random.Random(config.seed).shuffle(order)  # noqa: S311 - no secret
    count = max(1, round(config.held_out * len(order))) if len(order) > 1 else 0
    fitted, kept = tuple(order[count:]), tuple(order[:count] or order)
    return (
        stream_of(model, fitted, config.batch_size, seed=config.seed, read=found.read),
        stream_of(model, kept, config.batch_size, read=found.read),
    )


def known_labels(found: Choice) -> list[int] | None:
    """The class of each picture, if the data set says it of all of them."""
    labels = [found.labels[path] for path in found.pictures if path in found.labels]
    return labels if len(labels) == len(found.pictures) else None


def classes_after(model: Classifier, counts: FoolingCounts, stream: PictureStream) -> tuple[tuple[str, int], ...]:
    """The most frequent classes of changed pictures, with their counts.

    Args:
        model: Classifier that looked at them.
        counts: What was counted.
        stream: Pictures that were looked at.

    Raises:
        UserError: None of them could be read.
    """
    if not counts.images:
        raise UserError("\n".join(str(problem) for problem in stream.problems.values()))
    return tuple((model.classes[index], count) for index, count in counts.classes)

"""Labelled images from any source, read one by one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from advbench.config.goals import NO_LABEL
from advbench.sanitize import one_line

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images by number, with their labels; an image is read on demand.

    An image has one class, or several labels, or its truth is unknown: at most one of `labels` and `label_sets` is
    given.

    Raises:
        ValueError: The numbers of labels and images differ, or a label is not the number of a class.

    Example:
        >>> grey = Dataset(name="grey", images=("a", "b"), labels=(0, 1), read=lambda i: Image.new("L", (28, 28), i))
        >>> len(grey), grey.read(1).getpixel((0, 0))
        (2, 1)
    """

    name: str
    """Name of the data set in records."""
    images: tuple[str, ...]
    """Name of each image, such as a file name or a number. All different."""
    labels: tuple[int, ...] | None
    """True class of each image, as a number in `classes`; None: unknown."""
    read: "Callable[[int], Image.Image | Tensor]"
    """Number -> picture of any size and mode, or a preprocessed input (C, H, W), float32 in [0, 1].

    Raises a `UserError` if an image cannot be read: that image is recorded as unknown, and the others continue."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the labels, which are matched to the classes of a model by name, WordNet id
    or number; None: the labels are numbers of the model's classes."""
    restricted: bool = False
    """Whether a model is judged only on these classes, although it has more."""
    label_sets: tuple[tuple[int, ...], ...] | None = None
    """The labels that apply to each image, as numbers in `classes`, ascending; none for an image without any."""
    width: int | None = None
    """Number of labels that `label_sets` decides about; None: all, since a label that is not named does not apply."""

    def __post_init__(self) -> None:
        known = self.labels if self.label_sets is None else self.label_sets
        if self.labels is not None and self.label_sets is not None:
            raise ValueError("expected labels or label_sets, got both")
        if known is not None and len(known) != len(self.images):
            raise ValueError(f"expected {len(self.images)} labels, got {len(known)}")
        numbers = self.labels if self.label_sets is None else [each for labels in self.label_sets for each in labels]
        most = len(self.classes) if self.classes else self.width if self.label_sets else None
        if numbers and most and not 0 <= min(numbers) <= max(numbers) < most:
            got = f"labels from {min(numbers)} to {max(numbers)}"
            raise ValueError(f"expected labels from 0 to {most - 1}, got {got}")

    @property
    def truths(self) -> Sequence[int] | Sequence[tuple[int, ...]] | None:
        """The class of each image, or its labels if it may have several; None: unknown."""
        return self.labels if self.label_sets is None else self.label_sets

    def __repr__(self) -> str:
        return one_line(self)

    def __len__(self) -> int:
        return len(self.images)


def called(truth: int | tuple[int, ...], classes: Sequence[str] | None) -> str:
    """The name of a class, or the names of labels.

    Args:
        truth: Number of a class, or numbers of labels.
        classes: Names in their order; None: use the numbers.

    Example:
        >>> called(1, ["cat", "dog"]), called((0, 1), ["cat", "dog"]), called((), None)
        ('dog', 'cat, dog', 'none')
    """
    if isinstance(truth, tuple):
        return ", ".join(called(label, classes) for label in truth) or NO_LABEL
    return classes[truth] if classes else str(truth)


def counts_of(dataset: Dataset, classes: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Number of images of each class, or with each label, in order; named classes are included even if it is 0.

    Args:
        dataset: Data set to count.
        classes: Names for labels that are numbers of a model's classes; empty: use the numbers.

    Example:
        >>> sets = ((0,), (0, 2))
        >>> both = Dataset(name="x", images=("a", "b"), labels=None, label_sets=sets, read=lambda number: None)
        >>> counts_of(both, ["cat", "dog", "hat"])
        (('cat', 2), ('hat', 1))
    """
    if dataset.truths is None:
        return ()
    times = Counter(dataset.labels or [label for labels in dataset.label_sets or () for label in labels])
    if dataset.classes is not None:
        return tuple((name, times[label]) for label, name in enumerate(dataset.classes))
    return tuple((called(label, classes or None), times[label]) for label in sorted(times))

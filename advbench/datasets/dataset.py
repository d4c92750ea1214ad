"""Labelled images of any source, read one by one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from advbench.sanitize import one_line

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images by number, with their labels; an image is read when it is needed.

    Raises:
        ValueError: There are not as many labels as images, or a label is not the number of a class.

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
    """Number -> picture of any size and mode, or a finished input (C, H, W), float32 in [0, 1].

    Raises a `UserError` where an image cannot be read: that image is recorded as unknown, the others go on."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the labels, which are matched to the classes of a model by name, WordNet id
    or number; None: the labels are numbers of the model's classes."""
    restricted: bool = False
    """Whether a model is judged among these classes alone, although it has more."""

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.images):
            raise ValueError(f"expected {len(self.images)} labels, got {len(self.labels)}")
        if self.labels and self.classes and not 0 <= min(self.labels) <= max(self.labels) < len(self.classes):
            got = f"labels from {min(self.labels)} to {max(self.labels)}"
            raise ValueError(f"expected labels from 0 to {len(self.classes) - 1}, got {got}")

    def __repr__(self) -> str:
        return one_line(self)

    def __len__(self) -> int:
        return len(self.images)

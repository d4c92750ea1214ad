"""Images with labels: the batch that attacks work on, and how each kind of data set is read."""

from pathlib import Path
from typing import TYPE_CHECKING

from advbench.catalog import DATASETS
from advbench.catalog.registry import resolve
from advbench.errors import UserError

if TYPE_CHECKING:
    from advbench.datasets.dataset import Dataset


def load_dataset(name: str, *, path: "str | Path | None" = None) -> "Dataset":
    """Open a data set by name.

    Args:
        name: One of `advbench.catalog.DATASETS`, such as "imagenet-samples".
        path: The file or folder, for a data set that is read from one.

    Returns:
        The data set.

    Raises:
        UserError: An unknown name, a path where none is taken or none where one is, or files that cannot be read.

    Example:
        >>> mnist = load_dataset("mnist-samples")
        >>> len(mnist), mnist.labels[0], mnist.read(0).size
        (20, 7, (28, 28))
    """
    card = DATASETS[name]
    if path is None and card.takes_path:
        raise UserError(f"data set {name!r} needs a path", hint=f'write {{ name = "{name}", path = "..." }}')
    if path is not None and not card.takes_path:
        raise UserError(f"data set {name!r} takes no path, got {path}")
    dataset: Dataset = resolve(card.loader)(card, None if path is None else Path(path))
    return dataset

"""Labelled images: the batch that attacks work on, and a reader for each kind of data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from advbench.catalog.registry import resolve
from advbench.catalog.user_datasets import dataset_card
from advbench.config.data.source import DataSource
from advbench.errors import UserError

if TYPE_CHECKING:
    from advbench.datasets.dataset import Dataset


def load_dataset(name: str, path: "str | Path | None" = None, **source: Any) -> "Dataset":
    """Open a data set by name. Images are read on demand.

    Args:
        name: A name of `advbench datasets`, such as "folder" or "imagenet-samples"; or `hf/` and a name on the Hugging
            Face hub.
        path: The file or folder, for a data set that is read from one.
        **source: The other fields of :class:`advbench.config.data.source.DataSource`: `split`, `label_column`, ...

    Returns:
        The data set.

    Raises:
        TypeError: An option that does not exist.
        ValueError: An option of the wrong type.
        UserError: An unknown name, a missing or superfluous path, or files that cannot be read.

    Example:
        >>> mnist = load_dataset("mnist-samples")
        >>> len(mnist), mnist.labels[0], mnist.read(0).size
        (20, 7, (28, 28))
    """
    card = dataset_card(name)
    if unknown := source.keys() - DataSource.model_fields:
        raise TypeError(f"load_dataset() got an unexpected keyword argument {min(unknown)!r}")
    given = DataSource(path=None if path is None else Path(path), **source)
    if given.path is None and card.takes_path:
        raise UserError(f"data set {name!r} needs a path", hint=f'write {{ name = "{name}", path = "..." }}')
    if given.path is not None and not card.takes_path:
        raise UserError(f"data set {name!r} takes no path, got {given.path}")
    dataset: Dataset = resolve(card.loader)(card, given)
    return dataset

"""Data sets that are taken once more under the masks of attacks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from advbench.config.masks import without_mask


class Masked(Protocol):
    """A data set of a suite, as far as masks go."""

    @property
    def label(self) -> str:
        """Its name in records, which ends with the mask where there is one."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """The same with other fields."""

    def under(self, mask: str | None, folder: Path = ...) -> Self:
        """The same under a mask."""


Data = TypeVar("Data", bound=Masked)
"""Any such data set."""


def with_masks_of(masks: Iterable[str | None], datasets: tuple[Data, ...], folder: Path = Path()) -> tuple[Data, ...]:
    """Some data sets, and each of them once more under every mask that attacks bring along.

    Args:
        masks: Masks of the attacks of a suite; None for each that has none.
        datasets: Its data sets; those that are there already are not added again.
        folder: Folder in which relative paths of masks start.

    Example:
        >>> from advbench.config.suite import DatasetSpec
        >>> [data.label for data in with_masks_of(["border:2"], (DatasetSpec(name="mnist"),))]
        ['mnist', 'mnist, only border:2']
    """
    found = list(datasets)
    for mask in dict.fromkeys(filter(None, masks)):
        for data in datasets:
            bare = data.model_copy(update={"mask": None, "label": without_mask(data.label)})
            twin = bare.under(mask, folder)
            found += [twin] if twin.label not in [each.label for each in found] else []
    return tuple(found)

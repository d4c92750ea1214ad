"""Add a masked copy of each data set for every mask that attacks name."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from advbench.config.masks import without_mask


class Masked(Protocol):
    """A data set of a suite, as far as masks are concerned."""

    @property
    def label(self) -> str:
        """Its name in records, which ends with the mask if there is one."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """A copy with other fields."""

    def under(self, mask: str | None, folder: Path = ...) -> Self:
        """A copy under a mask."""


Data = TypeVar("Data", bound=Masked)
"""Any such data set."""


def with_masks_of(masks: Iterable[str | None], datasets: tuple[Data, ...], folder: Path = Path()) -> tuple[Data, ...]:
    """The data sets, and a copy of each under every mask that attacks name.

    Args:
        masks: Masks of the attacks of a suite; None for an attack without one.
        datasets: Its data sets; copies that are already among them are not added again.
        folder: Folder that relative paths of masks start from.

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

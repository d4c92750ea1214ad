"""Data sets that stand in no table: those of the Hugging Face hub. Imports no torch."""

from advbench.catalog.cards import DatasetCard
from advbench.catalog.datasets import DATASETS
from advbench.errors import refuse_no_text

HUB = "hf/"
"""Prefix of the names of data sets of the Hugging Face hub."""


def dataset_card(name: str) -> DatasetCard:
    """The card of a data set of the catalogue, or of one of the Hugging Face hub.

    Args:
        name: A name of `advbench datasets`, or `hf/` and the name of a data set of the hub, such as "hf/cifar10"; or
            `hf/` and a folder that begins with `.`, `/` or `~`, such as "hf/./saved".

    Returns:
        The card. That of the hub says little before the data set is loaded.

    Raises:
        UserError: There is no such name, or it is no text.

    Example:
        >>> dataset_card("hf/user/pets").loader
        'advbench.datasets.sources.hub:load'
    """
    refuse_no_text("a data set", name, "such as mnist or folder")
    if name.startswith(HUB) and name not in DATASETS:
        summary = "a data set of the Hugging Face hub"
        return DatasetCard(name=name, loader="advbench.datasets.sources.hub:load", summary=summary)
    return DATASETS[name]

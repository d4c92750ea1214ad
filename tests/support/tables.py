"""The tables of names, which plugins add to."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from advbench import catalog
from advbench.catalog import plugins


@contextmanager
def tables_restored() -> Iterator[None]:
    """Whatever plugins add to the tables within it is gone afterwards, and they can be loaded again."""
    with ExitStack() as stack:
        for table in (catalog.MODELS, catalog.ATTACKS, catalog.DATASETS):
            stack.enter_context(patch.dict(table._cards))
        stack.enter_context(patch.dict(plugins._LOADED))
        yield

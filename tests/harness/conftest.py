"""What several tests of runs share."""

from contextlib import ExitStack
from unittest.mock import patch

import pytest

from advbench import catalog, plugins


@pytest.fixture
def plugged(monkeypatch):
    """The plugin of the tests, for one test; and units so small that there are several."""
    with ExitStack() as stack:
        for table in (catalog.MODELS, catalog.ATTACKS, catalog.DATASETS):
            stack.enter_context(patch.dict(table._cards))
        stack.enter_context(patch.dict(plugins._LOADED))
        plugins.load_plugins(["fake_plugin"])
        monkeypatch.setattr("advbench.plan.LARGEST_BATCH", 4)
        yield

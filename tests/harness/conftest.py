"""What several tests of runs share."""

import pytest
from tables import tables_restored

from advbench import plugins


@pytest.fixture
def plugged(monkeypatch):
    """The plugin of the tests, for one test; and units so small that there are several."""
    with tables_restored():
        plugins.load_plugins(["fake_plugin"])
        monkeypatch.setattr("advbench.plan.LARGEST_BATCH", 4)
        yield

"""What all tests share: one torch thread, the same random numbers, hypothesis settings, the folder of shared data."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# one thread for torch, here and in the commands that tests start: read when torch is imported, and that is later;
# threads of several processes that wait for each other's cores make everything ten times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")

# no clock decides a test: two workers on a busy machine are slow, and that is no mistake of the code
settings.register_profile(
    "quick",
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=300, derandomize=False)
settings.load_profile("quick")  # unless --hypothesis-profile names the other


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed torch before a test and its fixtures: a network without trained weights is the same one each time."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ``shared`` beside the repository, with pictures and data sets; skips where there is none."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder 'shared' beside the repository")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory) -> None:
    """What a machine remembers of earlier runs decides no test, and no test leaves anything there."""
    os.environ["ADVBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def plugged(monkeypatch):
    """The plugin of the tests, for one test; and units so small that there are several."""
    from tables import tables_restored

    from advbench.catalog import plugins

    with tables_restored():
        plugins.load_plugins(["fake_plugin"])
        monkeypatch.setattr("advbench.planning.cost.batches.LARGEST_BATCH", 4)
        yield


@pytest.fixture(scope="module")
def fakes_registered():
    """The models and attacks of ``fakes`` in the tables, for a module of tests."""
    import fakes

    with fakes.registered():
        yield


@pytest.fixture
def without_panel(monkeypatch):
    """No panel is drawn, which takes longer than all the rest and has tests of its own."""
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")

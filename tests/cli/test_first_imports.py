"""Garbage is left alone while a command imports torch and when it ends, and collected as ever in between."""

import gc
import os
import subprocess
import sys

import pytest

from advbench.cli.imports import first_imports


@pytest.fixture
def no_torch_yet(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_collected_while_torch_is_imported(no_torch_yet, fails):
    before = gc.get_freeze_count()
    try:
        with first_imports():
            assert not gc.isenabled()
            if fails:
                raise ImportError("no such module")
    except ImportError:
        assert fails
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


def test_whoever_has_switched_it_off_finds_it_off(no_torch_yet):
    before = gc.get_freeze_count()
    gc.disable()
    with first_imports():
        assert not gc.isenabled()
    assert not gc.isenabled()
    assert gc.get_freeze_count() == before


def test_nothing_is_changed_for_whoever_has_imported_torch():
    before = gc.get_freeze_count()
    with first_imports():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_the_end_of_a_command_looks_through_nothing():
    count = "print(gc.get_freeze_count())"
    # what is registered first runs last
    code = f"import atexit, gc; atexit.register(lambda: {count}); import advbench.cli.main; {count}"
    during, at_exit = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert during == 0
    assert at_exit > 1000


def test_a_home_that_cannot_be_written_to_is_no_matter():
    """Matplotlib would keep its fonts there, and says so, also with --quiet."""
    code = "import advbench.cli.main; import matplotlib; print(matplotlib.get_cachedir())"
    places = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=places | {"HOME": os.devnull}, capture_output=True, text=True, check=True
    )
    assert "matplotlib-" in done.stdout, "the home is used after all"
    assert done.stderr == ""

"""The folder in which tests of commands work."""

from pathlib import Path

import fakes
import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a picture ``tiger.png`` in it."""
    monkeypatch.chdir(tmp_path)
    fakes.picture(Path("tiger.png"), 1)
    return tmp_path

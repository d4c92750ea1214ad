"""Commands on a run, called in another folder than the one where it was made."""

import shutil
from pathlib import Path

import fakes
import pytest
from click.testing import CliRunner
from PIL import Image
from tables import tables_restored

from advbench.cli.main import main

SUITE = """
models = { name = "nets.py:net", label = "mine" }
datasets = "folder:val/"
attacks = ["fgsm"]
noise = false
save = "all"
eps = { linf = 0.05 }
"""
NETS = "import fakes\n\ndef net():\n    return fakes.classifier()\n"
STARTS = "its relative paths start from the folder where it was made\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a suite, its files, and a run made there."""
    folder = tmp_path_factory.mktemp("made")
    for number, name in enumerate(fakes.CLASSES[:2]):
        (folder / "val" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (40 * number, 80, 120)).save(folder / "val" / name / "0.png")
    (folder / "nets.py").write_text(NETS)
    (folder / "suite.toml").write_text(SUITE)
    with tables_restored(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(main, ["run", "suite.toml", "--allow-code", "--out", "runs/one"])
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def files(made, tmp_path, monkeypatch):
    """A copy of that folder, seen from one beside it."""
    shutil.copytree(made, tmp_path / "made")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with tables_restored():
        yield Path("../made")


def said(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments), "--allow-code"])
    assert result.exit_code == 2, result.output
    return result.stderr


def interrupted(run):
    """The run without what it found."""
    for shard in (run / "shards").iterdir():
        shard.unlink()
    return run


def test_a_run_names_the_folder_where_it_was_made(files):
    advice = (
        f"run ../made/runs/one was made with nets.py, val, and {STARTS}"
        "change to that folder, probably ../made, and name the run from there: runs/one\n"
    )
    missing = "error: there is no file nets.py with a function 'net'\n"
    assert said("verify", files / "runs/one") == missing + advice
    missing = "error: cannot read the folder 'val': it does not exist\n"
    assert said("resume", interrupted(files / "runs/one")) == missing + advice


def test_a_run_that_was_moved_away_names_no_folder(files):
    shutil.move(files / "runs/one", "here")
    advice = (
        f"run here was made with nets.py, val, and {STARTS}change to that folder, and name the run from there; or put"
    )
    assert advice in said("verify", "here")
    shutil.copy(files / "nets.py", "nets.py")
    assert f"'val': it does not exist\nrun here was made with val, and {STARTS}" in said(
        "resume", interrupted(Path("here"))
    )


def test_what_needs_no_data_does_without(files):
    shutil.copy(files / "nets.py", "nets.py")
    result = CliRunner().invoke(main, ["verify", str(files / "runs/one"), "--allow-code"])
    assert (result.exit_code, result.output) == (0, "1 unit and 2 adversarial images checked: no problems\n")


def test_an_error_about_something_else_stays_as_it_is(files):
    (files / "runs/one/manifest.json").write_text("{}")
    assert STARTS not in said("verify", files / "runs/one")


def test_running_the_suite_again_from_elsewhere_says_why_it_is_another_run(files):
    text = said("run", files / "suite.toml", "--out", files / "runs/one")
    assert "suite.datasets[0].path: val -> ../made/val" in text
    assert f"was made with nets.py, val, and {STARTS}" in text

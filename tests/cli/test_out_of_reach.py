"""Names that no file can have, folders that are closed to us, and texts from strangers, in every command."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import run_folders
from command import QUICK, attack, refused
from fakes import picture

from advbench.config.folders import files_below
from advbench.datasets.images.loader import files_digest
from advbench.datasets.sources.array_files import arrays_in
from advbench.errors import UserError

LONG = "a" * 300
"""A name that is too long for a file."""
MODEL = ("attack", "tiger.png", "--model")
NAMED = {
    "model": (*MODEL, LONG),
    "file of code": (*MODEL, f"{LONG}.py:net"),
    "network": (*MODEL, f"{LONG}.onnx"),
    "twin": (*MODEL, "tiny", "--gradients-from", LONG),
    "data": ("attack", "--model", "tiny", "--data", LONG),
    "folder": ("attack", "--model", "tiny", "--data", f"folder:{LONG}"),
    "arrays": ("attack", "--model", "tiny", "--data", f"arrays:{LONG}.npz"),
    "suite": ("run", LONG),
    "run": ("report", LONG),
    "other run": ("compare", "run", LONG),
    "look": ("datasets", LONG),
    "model of a look": ("datasets", "mnist-samples", "--model", LONG),
    "listing": ("models", LONG),
    "base": ("train", "transfer", "--data-root", ".", "--from", LONG),
    "training data": ("train", "lenet", "--data-root", LONG),
}
CLOSED = {
    "file of code": (*MODEL, "closed/net.py:net"),
    "folder": ("attack", "--model", "tiny", "--data", "folder:closed"),
    "data": ("attack", "--model", "tiny", "--data", "closed/x.npz"),
    "arrays": ("attack", "--model", "tiny", "--data", "arrays:closed"),
    "shards": ("attack", "--model", "tiny", "--data", "parquet:closed"),
    "part of the shards": ("attack", "--model", "tiny", "--data", "parquet:.", "--out", "../out"),
    "look": ("datasets", "closed"),
    "other run": ("compare", "run", "closed/run"),
    "perturbation": ("universal", "eval", "closed/p.safetensors", "tiger.png", *QUICK[:2]),
    "run": ("report", "closed/run"),
}


@pytest.fixture(autouse=True)
def _here(folder, fakes_registered):
    run_folders.make(folder / "run", {})


@pytest.fixture
def closed(folder, monkeypatch):
    """A folder whose content the system hides: permissions do not hold for root, as whom tests may run."""
    place = folder / "closed"
    place.mkdir()

    def refusing(name):
        real = getattr(os, name)

        def refused(path=".", *args, **kwargs):
            inside = Path(os.fsdecode(path)).absolute() if isinstance(path, str | bytes | os.PathLike) else Path()
            if place in inside.parents or (name in ("scandir", "listdir") and inside == place):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return real(path, *args, **kwargs)

        return refused

    for name in ("stat", "scandir", "listdir", "open"):
        monkeypatch.setattr(os, name, refusing(name))
    monkeypatch.setattr("io.open", refusing_open(place))
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).absolute() != place and real(path, mode))
    return place


def refusing_open(place):
    real = open

    def refused(path, *args, **kwargs):
        if isinstance(path, str | os.PathLike) and place in Path(path).absolute().parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return real(path, *args, **kwargs)

    return refused


@pytest.mark.parametrize("what", NAMED)
def test_a_name_that_no_file_can_have_is_refused_like_any_that_is_misspelled(what):
    said = refused(*NAMED[what])
    assert said.startswith("error: ")
    assert "aaa" in said


@pytest.mark.parametrize("what", CLOSED)
def test_a_closed_folder_is_named(closed, what):
    said = refused(*CLOSED[what])
    assert "closed" in said
    assert "permission" in said.lower()
    assert "move the folder away" not in said  # nothing is wrong with it


def test_a_report_that_cannot_be_written_is_told_after_a_run(folder):
    (folder / "s.toml").write_text(
        'models = "gray_forest"\ndatasets = "cifar10-grey-samples"\nattacks = "square"\nimages = 1\n'
    )
    assert LONG[:50] in refused("run", "s.toml", "--out", "made", "--junit-xml", LONG)


def test_a_folder_in_another_that_is_closed_is_not_passed_over(folder, closed):
    (folder / "open.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot read the folder .*closed: permission denied"):
        list(files_below(folder, ".tar"))
    assert [file.name for file in files_below(folder, ".tar", deep=False)] == ["open.tar"]


def test_a_picture_that_is_closed_has_a_digest_of_its_own(folder, closed):
    tiger = folder / "tiger.png"
    assert files_digest([tiger, closed / "b.png"]) != files_digest([tiger])


def test_an_array_in_a_folder_is_found_beside_closed_folders(folder, closed):
    np.save("x.npy", np.zeros((2, 3, 8, 8), np.float32))
    np.save("y.npy", np.zeros(2, np.int64))
    assert set(arrays_in(folder)) == {"x", "y"}


ESCAPE = "\x1b[31mred\u202e"


@pytest.mark.parametrize(
    "suite",
    [
        f'models = [{{name = "gray_forest", weights = "{ESCAPE}.pt"}}]\n',
        f'models = "gray_forest"\ngoals = "{ESCAPE}"\n',
        f'models = "gray_forest"\n"{ESCAPE}" = 1\n',
        f'models = "gray_forest"\ndevice = "{ESCAPE}"\n',
    ],
    ids=["weights", "goal", "key", "device"],
)
def test_what_a_suite_says_cannot_steer_the_terminal(folder, suite):
    suite = suite.replace("\x1b", "\\u001b").replace("\u202e", "\\u202e")
    (folder / "s.toml").write_text(f'datasets = "cifar10-grey-samples"\nattacks = "fgsm"\n{suite}')
    said = refused("run", "s.toml")
    assert "\\x1b[31mred\\u202e" in said
    assert all(character == "\n" or character.isprintable() for character in said)


def test_neither_can_an_option():
    assert "\\x1b[31mred\\u202e" in refused("attack", "tiger.png", *QUICK[:2], "--goal", ESCAPE)
    assert "\\x1b[31mred\\u202e" in refused("report", ESCAPE)


@pytest.mark.parametrize("device", ["meta", "nowhere", "cpu:x"])
def test_a_device_that_computes_nothing_is_no_device(device):
    said = refused("attack", "tiger.png", *QUICK[:-1], device, "--out", "out")
    assert said.startswith(f"error: device '{device}' cannot be used here: ")
    assert said.endswith("\n`--device cpu` always works\n")


def test_an_unreadable_picture_is_one_of_the_failed(folder, closed):
    (folder / "both").mkdir()
    picture(folder / "both" / "a.png", 1)
    result = attack("both", "closed/b.png", "--quiet", "--out", "out")
    assert result.exit_code in (2, 3)
    assert "no permission" in result.stderr

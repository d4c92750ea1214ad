"""Data sets named in one word, and what is found at a path."""

from pathlib import Path

import pytest

from advbench.config.data.guess import guessed_name
from advbench.config.data.name import data_at, parse_data
from advbench.config.suite_files import load_suite
from advbench.errors import UserError


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("cifar10", {"name": "cifar10"}),
        ("cifar10,split=train", {"name": "cifar10", "split": "train"}),
        ("folder:val/", {"name": "folder", "path": Path("val")}),
        ("folder,path=val", {"name": "folder", "path": Path("val")}),
        ("folder:a,b=c/val", {"name": "folder", "path": Path("a"), "b": "c/val"}),
        ("folder:one, two", {"name": "folder", "path": Path("one, two")}),
        ("webdataset:{train,val}-{0..3}.tar", {"name": "webdataset", "path": Path("{train,val}-{0..3}.tar")}),
        ("hf/cifar10,split=test[:100],label_column=fine", {"split": "test[:100]", "label_column": "fine"}),
        ("arrays:x.npz,images=64,label=mine,classes=map.json", {"images": 64, "label": "mine"}),
    ],
)
def test_a_word_names_a_data_set(text, given):
    if "b" in given:
        with pytest.raises(UserError, match="unknown key 'b'"):
            parse_data(text)
        return
    spec = parse_data(text)
    assert {key: getattr(spec, key) for key in given} == given


def test_the_home_folder_is_understood_behind_a_colon():
    assert parse_data("folder:~/val").path == Path("~/val").expanduser()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flder:val", "unknown dataset 'flder'\ndid you mean folder"),
        ("folder:val,split=a,split=b", "the key 'split' is given twice"),
        ("folder:,split=a", "the path is empty"),
        ("mnist,images=none", "is not a data set: images: Input should be a valid integer"),
        ("mnist,eps=3", "unknown key 'eps'"),
    ],
)
def test_mistakes_are_told(text, message):
    with pytest.raises(UserError, match=message):
        parse_data(text)


def test_the_kind_at_a_path_is_guessed(tmp_path):
    places = {
        "classes/cat/a.PNG": ("classes", "folder"), "flat/labels.csv": ("flat", "folder"),
        "arrays/x.npz": ("arrays/x.npz", "arrays"), "npy/x.npy": ("npy", "arrays"),
        "shards/data/test-0.parquet": ("shards", "parquet"), "tar/val-0.tar": ("tar/val-0.tar", "webdataset"),
    }  # fmt: skip
    for file, (place, kind) in places.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
        assert guessed_name(tmp_path / place) == kind, place
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/state.json").touch()
    assert guessed_name(tmp_path / "saved") == f"hf/{tmp_path / 'saved'}"
    (tmp_path / "empty").mkdir()
    assert guessed_name(tmp_path / "empty") is None


def test_a_path_in_place_of_a_name_is_taken_or_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("val/cat").mkdir(parents=True)
    Path("val/cat/a.png").touch()
    found = data_at("val/,images=3")
    assert (found.spec.name, found.spec.path, found.spec.images, found.guessed) == ("folder", Path("val"), 3, True)
    assert not data_at("folder:val").guessed
    with pytest.raises(UserError, match="it is a path: write folder:val/,images=3"):
        parse_data("val/,images=3")
    with pytest.raises(UserError, match="unknown dataset 'nothing/here'"):
        data_at("nothing/here")


def test_a_suite_takes_the_same_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("deep").mkdir()
    Path("deep/s.toml").write_text(
        'models = "lenet"\nattacks = "fgsm"\ndatasets = ["folder:val,split=test", "hf/./saved", "hf/cifar10,label=c"]\n'
    )
    folder, saved, hub = load_suite("deep/s.toml").datasets
    assert (folder.name, folder.path, folder.split, folder.label) == ("folder", Path("deep/val"), "test", "folder")
    assert (saved.name, saved.label) == ("hf/./deep/saved", "hf/./saved")
    assert (hub.name, hub.label) == ("hf/cifar10", "c")
    Path("wrong.toml").write_text('models = "lenet"\nattacks = "fgsm"\ndatasets = "folder:val,spilt=test"\n')
    with pytest.raises(UserError, match=r"datasets\[0\].spilt: unknown key; did you mean split"):
        load_suite("wrong.toml")

"""`advbench datasets PATH|NAME --model M`: a look before a run."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import rows_of, run
from PIL import Image

from advbench.datasets import load_dataset

DIGITS = load_dataset("mnist")


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def digits(folder="val", count=40):
    for number in range(count):
        place = Path(folder) / str(DIGITS.labels[number])
        place.mkdir(parents=True, exist_ok=True)
        DIGITS.read(number).save(place / f"{number:03}.png")
    return folder


def png(number=0):
    file = io.BytesIO()
    DIGITS.read(number).save(file, "PNG")
    return file.getvalue()


def arrays(labels, count=20, file="x.npz"):
    pixels = np.stack([np.asarray(DIGITS.read(number).convert("L")) for number in range(count)])
    np.savez(file, x=pixels, y=labels)
    return file


def refused(*arguments):
    """What a look at something that cannot be used says; it ends with 2."""
    result = run("datasets", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    first = result.stderr.removeprefix("error: ")
    assert len(first.splitlines()) <= 2, first
    return first


def test_a_folder_is_guessed_and_looked_at():
    result = run("datasets", digits(), "--model", "lenet", "--out", "sheet.png")
    assert result.exit_code == 0, result.output
    for line in (
        "folder at val, guessed by what is there",
        "images   40; 40 were read",
        "classes  10, found among the model's 10: 10 by number",
        "sizes    28 x 28 pixels, RGB",
        "when clean",
        "no trust flag is raised",
    ):
        assert line in result.stdout
    with Image.open("sheet.png") as sheet:
        assert sheet.size[0] > 1000


def test_everything_in_json():
    (row,) = rows_of(run("datasets", f"folder:{digits()},split=test", "--model", "lenet", "--json"))
    assert (row["name"], row["guessed"], row["images"], row["split"]) == ("folder", False, 40, "test")
    assert row["classes"][3] == {
        "name": "3", "images": sum(label == 3 for label in DIGITS.labels[:40]), "class": 3, "class_name": "3",
        "matched_by": "number",
    }  # fmt: skip
    assert row["right"]["n"] == 40
    assert row["flags"] == []


def test_without_a_model_and_by_name():
    result = run("datasets", "mnist", "--limit", "5")
    assert "images   1,000; 5 were read" in result.stdout
    assert "when clean" not in result.stdout


@pytest.mark.parametrize("columns", [80])
def test_it_fits_80_columns(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    Path("map.json").write_text(json.dumps({"0": 0, "1": None}))
    result = run("datasets", f"{digits()},classes=map.json", "--model", "lenet", "--limit", "30")
    assert "10, found among the model's 10: 8 by number, 1 by map, 1 left out" in result.stdout
    assert "left out by the map" in result.stdout


def test_mistakes_show_as_flags():
    np.savez("x.npz", x=np.load(arrays(DIGITS.labels[:60], 60))["x"], y=(np.array(DIGITS.labels[:60]) + 1) % 10)
    result = run("datasets", "x.npz", "--model", "lenet")
    assert "arrays at x.npz, guessed by what is there" in result.stdout
    assert "flag E D1 lenet on arrays: " in result.stdout


def test_one_broken_picture_is_told_and_the_others_are_looked_at():
    digits()
    next(Path("val").rglob("*.png")).write_bytes(b"nothing")
    result = run("datasets", "val", "--model", "lenet")
    assert result.exit_code == 0
    assert "unreadable  1: cannot read '" in result.stdout


def test_one_hot_labels_are_understood():
    file = arrays(np.eye(10)[list(DIGITS.labels[:20])])
    assert "classes  9 of the model's 10" in run("datasets", file, "--model", "lenet").stdout


def test_an_empty_folder_and_a_path_that_does_not_exist():
    Path("empty").mkdir()
    assert "unknown dataset 'empty'" in refused("empty")
    assert "folder 'empty' has no pictures" in refused("folder:empty")
    assert "cannot read the folder 'gone': it does not exist" in refused("folder:gone")
    assert "unknown dataset 'gone/x.npz'" in refused("gone/x.npz")
    assert "there is no file or folder gone.npz" in refused("arrays:gone.npz")


def test_one_class_alone():
    for number in range(3):
        Path("val/seven").mkdir(parents=True, exist_ok=True)
        (Path("val/seven") / f"{number}.png").write_bytes(png(number))
    assert "has one class alone, 'seven'" in refused("val")
    assert "all 20 images have the label 7" in refused(arrays(np.full(20, 7)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(20) % 12, "labels from 0 to 11, and model lenet has 10 classes"),
        (np.arange(20) % 10 + 1, "If they are counted from 1, store labels - 1"),
        (np.arange(20) % 10 - 1, "the label -1, which is no class"),
        (np.arange(20) % 10 + 0.5, "expected labels as whole numbers or one-hot rows, got floats such as 0.5"),
        (np.arange(20) / 1.0, "got floats such as 0"),
        (np.arange(19) % 10, "expected one label for each of 20 images, got shape (19,)"),
        (np.ones((20, 10)), "has several labels for each image, and the model has one class for each"),
        (np.full((20, 10), 2), "values that are not one-hot"),
    ],
)
def test_labels_that_cannot_be_used(labels, message):
    assert message in refused(arrays(labels), "--model", "lenet")


def test_a_map_of_classes_with_unknown_names():
    Path("map.json").write_text(json.dumps({"cat": 3}))
    assert "map.json maps 'cat', which is no class of data set folder" in refused(
        f"folder:{digits()},classes=map.json", "--model", "lenet"
    )
    Path("map.json").write_text(json.dumps({"0": "a dog"}))
    assert "makes 'a dog' of '0', which is no class of the model" in refused(
        "folder:val,classes=map.json", "--model", "lenet"
    )


class Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


def test_pickled_objects_are_never_loaded():
    objects = np.empty(20, object)
    objects[:] = [Evil() for _ in range(20)]
    np.savez("x.npz", x=np.zeros((20, 28, 28), np.uint8), y=objects)
    assert "holds pickled Python objects, which are never loaded" in refused("x.npz")
    assert not Path("pwned").exists()


def test_a_tar_with_paths_that_leave_it():
    with tarfile.open("val.tar", "w") as tar:
        for name in ("../../0.png", "../../0.cls"):
            entry = tarfile.TarInfo(name)
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"1"))
    assert "holds the path '../../0.png', which leaves it" in refused("val.tar")


def test_parquet_with_broken_images():
    rows = [{"bytes": b"no picture", "path": None}] * 2
    pq.write_table(pa.table({"image": rows, "label": [0, 1]}), "val.parquet")
    assert "none of 2 images can be read: cannot read" in refused("val.parquet", "--model", "lenet")
    rows[0] = {"bytes": png(), "path": None}
    pq.write_table(pa.table({"image": rows, "label": [7, 1]}), "val.parquet")
    result = run("datasets", "val.parquet", "--model", "lenet")
    assert result.exit_code == 0
    assert "unreadable  1: cannot read" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnist,spilt=x"], "unknown key 'spilt' in mnist,spilt=x"),
        (["--model", "lenet"], "--model, --weights and --out are for previewing one data set"),
        (["mnist", "--weights", "x.pt"], "--weights belongs to a model"),
        (["mnist", "--model", "efficientnet_lite0"], "model efficientnet_lite0 is for ImageNet-1k"),
        (["mnist", "--model", "lente"], "unknown model 'lente'"),
        (["mnist:here"], "data set 'mnist' takes no path"),
        (["folder"], "data set 'folder' needs a path"),
    ],
)
def test_other_mistakes(arguments, message):
    assert message in refused(*arguments)

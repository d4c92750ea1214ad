"""Data sets of the Hugging Face hub: tiny ones that lie in folders, and what is said where there is none."""

import io

import pytest
from encoded_images import encoded, same
from PIL import Image

from advbench.datasets import load_dataset
from advbench.datasets.images.files import PictureError
from advbench.errors import UserError

# A folder of tests is called datasets too, and would be found in place of the package.
pytest.importorskip("datasets.exceptions", reason="the package datasets is not installed")
datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore")
Y = [1, 0, 2, 1]


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


def table(start=0, **columns):
    features = datasets.Features(
        image=datasets.Image(), fine=datasets.ClassLabel(names=["cat", "dog", "emu"]), width=datasets.Value("int64")
    )
    images = [{"bytes": encoded(start + i), "path": None} for i in range(4)]
    return datasets.Dataset.from_dict({"image": images, "fine": Y, "width": [8] * 4} | columns, features=features)


def test_a_folder_of_save_to_disk(tmp_path):
    table().save_to_disk("saved")
    for name in ("hf/./saved", f"hf/{tmp_path}/saved"):
        dataset = load_dataset(name)
        assert (dataset.labels, dataset.classes) == (tuple(Y), ("cat", "dog", "emu"))
        assert all(same(dataset, number, number) for number in (3, 0))


def test_splits_of_save_to_disk():
    splits = {"train": table(), "test": table(10), "extra": table(20)}
    datasets.DatasetDict(splits).save_to_disk("saved")
    assert same(load_dataset("hf/./saved"), 1, 11)
    assert same(load_dataset("hf/./saved", split="extra"), 1, 21)
    with pytest.raises(UserError, match=r"saved has no split 'val'\nthere are: train, test, extra"):
        load_dataset("hf/./saved", split="val")


def test_what_the_package_writes_as_parquet_is_read_without_it(monkeypatch, tmp_path):
    (tmp_path / "shards").mkdir()
    table(10).to_parquet("shards/test-00000-of-00001.parquet")
    table().to_parquet("shards/train-00000-of-00001.parquet")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    for dataset in (load_dataset("hf/./shards"), load_dataset("parquet", "shards")):
        assert (dataset.labels, dataset.classes) == (tuple(Y), ("cat", "dog", "emu"))
        assert same(dataset, 2, 12)


def test_photographs_are_turned_upright():
    turned = Image.new("RGB", (4, 2))
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    turned.save(file, "JPEG", exif=exif)
    table(image=[{"bytes": file.getvalue(), "path": None}] * 4).save_to_disk("saved")
    assert load_dataset("hf/./saved").read(0).size == (2, 4)


def test_images_that_cannot_be_read_are_unknown(tmp_path, monkeypatch):
    (tmp_path / "there.png").write_bytes(encoded(7))
    images = [{"bytes": b"\x89PNG no", "path": None}, {"bytes": None, "path": "none.png"}]
    images += [{"bytes": None, "path": str(tmp_path / "there.png")}, None]
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: table(image=images))
    dataset = load_dataset("hf/pets")
    with pytest.raises(PictureError, match=r"cannot read 'row 0 of hf/pets': the PNG is damaged"):
        dataset.read(0)
    for number in (1, 3):
        with pytest.raises(PictureError, match="there are no bytes in this row"):
            dataset.read(number)
    assert same(dataset, 2, 7)


@pytest.mark.parametrize(
    ("columns", "source", "message"),
    [
        ({}, {"image_column": "img"}, "no column 'img' in hf/./saved\nthere are: image, fine, width"),
        ({}, {"image_column": "width"}, "column width of hf/./saved is of type Value"),
        ({"fine": [0, 1, -1, 2]}, {}, "image 2 has the label -1"),
        ({"fine": [0, 1, None, 2]}, {}, "image 2 has no label"),
        ({}, {"label_column": "width"}, "all 4 images have the label 8"),
    ],
)
def test_columns_and_labels_that_are_refused(columns, source, message):
    table(**columns).save_to_disk("saved")
    with pytest.raises(UserError, match=message):
        load_dataset("hf/./saved", **source)


def test_folders_that_hold_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.json").write_text("{")
    with pytest.raises(UserError, match=r"there are no .parquet files in empty"):
        load_dataset("hf/./empty")
    with pytest.raises(UserError, match="is not a data set saved by save_to_disk"):
        load_dataset("hf/./broken")
    with pytest.raises(UserError, match="there is no file"):
        load_dataset("hf/./none")


def test_offline_it_says_what_is_missing_how_to_get_it_and_what_to_do_meanwhile():
    with pytest.raises(UserError) as error:
        load_dataset("hf/user/pets", config="small", revision="v2")
    assert (
        error.value.message == "hf/user/pets is not in the cache of the Hugging Face hub, and the hub cannot be reached"
    )
    command = "datasets.load_dataset('user/pets', name='small', revision='v2')"
    assert command in error.value.hint
    assert "meanwhile: `parquet` reads files" in error.value.hint


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("x"),
            "there is no data set hf/pets, or you may not read it\n.*auth login",
        ),
        (
            RuntimeError("Dataset scripts are no longer supported, but found pets.py"),
            "untrusted scripts are never run",
        ),
        (ValueError("Config name is missing.\nPlease pick one"), "hf/pets cannot be loaded: Config name is missing"),
    ],
)
def test_errors_of_the_package_end_in_one_sentence(monkeypatch, error, message):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=message):
        load_dataset("hf/pets")


def test_what_the_hub_gives_is_opened(monkeypatch):
    asked = []

    def give(*args, **kwargs):
        asked.append((args, kwargs))
        return datasets.DatasetDict({"train": table(), "validation": table(10)})

    monkeypatch.setattr(datasets, "load_dataset", give)
    dataset = load_dataset("hf/pets", config="small")
    assert same(dataset, 0, 10)
    assert asked == [(("pets", "small"), {"split": None, "revision": None})]


def test_a_test_takes_tables_as_they_are_and_streams_in_a_sentence():
    from torch import nn

    from advbench import Classifier
    from advbench.testing import Bench

    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    model = Classifier(net, num_classes=3, classes=["emu", "cat", "dog"], mean=[0.5] * 3, input_size=8)
    frame = Bench("test_it", None)(model, table(), attack="fgsm", eps=0.1).frame
    assert frame[frame["attack"] == "fgsm"]["label"].tolist() == [(label + 1) % 3 for label in Y]
    with pytest.raises(ValueError, match="got a PIL image: make a tensor of it first"):
        Bench("test_it", None)(model, table().to_iterable_dataset(), attack="fgsm", eps=0.1)


def test_the_command_line_tells_of_a_data_set_that_does_not_exist():
    from command import run

    result = run("datasets", "hf/nobody/nothing,split=test")
    assert result.exit_code == 2
    assert "hf/nobody/nothing" in result.stderr
    assert len(result.stderr.splitlines()) <= 2

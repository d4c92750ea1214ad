"""Data sets that tests name, as the fixture `advbench` reads them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import advbench
from advbench.catalog.zoo import FOLDER
from advbench.datasets import load_dataset
from advbench.datasets.images.ids import sample_id
from advbench.datasets.trained_on import file_beside
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.preprocess import ResizeAndCrop
from advbench.pictures import handed_over
from advbench.pictures.handed_over import hand_over
from advbench.testing import Bench

DIGITS = load_dataset("mnist")
LENET = advbench.load_model("lenet")


@pytest.fixture
def val(tmp_path, monkeypatch):
    """A folder of digits, a subfolder for each."""
    monkeypatch.chdir(tmp_path)
    for number in range(40):
        place = Path("val") / str(DIGITS.labels[number])
        place.mkdir(parents=True, exist_ok=True)
        DIGITS.read(number).save(place / f"{number:03}.png")
    return Path("val")


def attacked(model, data, **options):
    return Bench("test_it", None)(model, data, **{"attack": "fgsm", "eps": 0.1} | options)


@pytest.mark.parametrize("word", ["folder:val/", "val", "folder,path=val,label=folder"])
def test_a_folder_by_its_word(val, word):
    frame = attacked(LENET, word).frame
    rows = frame[frame["attack"] == "fgsm"]
    assert set(rows["dataset"]) == {"folder"}
    assert len(rows) == 40
    assert all(name.split("/")[0] == str(label) for name, label in zip(rows["sample_name"], rows["label"], strict=True))


def test_part_of_a_set_by_name():
    result = attacked(LENET, "mnist,images=12")
    assert result.frame["sample_id"].nunique() == 12
    assert result.cell.clean.rate > 0.8


def test_a_dataset_as_an_object_and_a_plain_callable():
    rows = [number for number in range(1000) if DIGITS.labels[number] < 5][:20]
    some = advbench.Dataset(
        name="some",
        images=tuple(map(str, rows)),
        labels=tuple(DIGITS.labels[row] for row in rows),
        read=lambda number: DIGITS.read(rows[number]).convert("L"),
    )
    assert attacked(LENET, some).cell.clean == attacked(lambda x: LENET(x), some).cell.clean


def test_pictures_that_cannot_be_read_are_unknown(val):
    next(val.rglob("*.png")).write_bytes(b"nothing")
    result = attacked(LENET, "folder:val")
    assert (result.frame["status"] == "unknown").sum() == 2  # of the attack and of noise
    assert result.cell.robust.unknown == 1 or "unknown" in str(result)


def test_labels_that_do_not_fit_stop_an_assertion(val):
    images = torch.stack([LENET.preprocess(DIGITS.read(number)) for number in range(40)])
    labels = (torch.tensor(DIGITS.labels[:40]) + 1) % 10
    result = attacked(LENET, (images, labels))
    assert "D1" in {flag.id for flag in result.flags}
    with pytest.raises(AssertionError, match="D1"):
        result.assert_robust(min=0.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("flder:val", "unknown dataset 'flder'"),
        ("folder:gone", "cannot read the folder 'gone'"),
        ("imagenet-samples", "model lenet is for MNIST"),
        ("folder:val,spilt=x", "unknown key 'spilt'"),
        ("nothing", "unknown dataset 'nothing'"),
    ],
)
def test_mistakes_are_sentences(data, message, val):
    with pytest.raises(UserError, match=message):
        attacked(LENET, data)


def test_pictures_of_several_sizes_need_a_classifier(val):
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(val / "0" / "wide.png")
    with pytest.raises(ValueError, match=r"expected images of one size.*resize them"):
        attacked(lambda x: x.flatten(1)[:, :10], "folder:val")
    assert len(hand_over(LENET, "folder:val").names) == 41


def test_all_images_have_to_fit_into_memory(val, monkeypatch):
    monkeypatch.setattr(handed_over, "MOST_BYTES", 10_000)
    with pytest.raises(UserError, match=r"take more than 0 GB of memory\nattack some of them: add ,images=1000"):
        attacked(LENET, "folder:val")


def test_restricted_sets_need_a_classifier(val):
    names = tuple(str(digit) for digit in range(10) if (val / str(digit)).is_dir())
    some = load_dataset("folder", val)
    few = advbench.Dataset(
        name="few", images=some.images, labels=some.labels, read=some.read, classes=names, restricted=True
    )
    net = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 20)), num_classes=20, mean=[0.5], input_size=28)
    assert hand_over(net, few).model.num_classes == len(names)
    with pytest.raises(ValueError, match=r"expected an advbench.Classifier for few.*, got function"):
        hand_over(lambda x: torch.zeros(len(x), 20), few)


def test_copies_are_flagged():
    x = torch.stack([LENET.preprocess(DIGITS.read(number)) for number in range(20)])
    result = attacked(LENET, (torch.cat([x, x[:5]]), torch.tensor([*DIGITS.labels[:20], *DIGITS.labels[:5]])))
    assert {flag.id: flag.message for flag in result.flags}["D5"] == "5 of 25 images are duplicates (20.0%)"
    assert "D5" in {flag.id for flag in attacked(lambda x: LENET(x), torch.cat([x, x[:5]])).flags}


def test_pictures_that_were_cut_for_the_model_are_flagged():
    data = load_dataset("imagenet-samples")
    preprocess = ResizeAndCrop(size=24, resize=32)
    net = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 1000)), num_classes=1000, input_size=24,
                     preprocess=preprocess, name="net")  # fmt: skip
    cut = dataclasses.replace(data, read=lambda number: data.read(number).resize((24, 24)))
    assert "D4" in {flag.id for flag in attacked(net, cut).flags}
    assert "D4" not in {flag.id for flag in attacked(net, data).flags}


def test_images_of_the_training_are_flagged(tmp_path):
    untouched = attacked(LENET, "mnist,images=40")
    assert {flag.id for flag in untouched.flags}.isdisjoint({"D4", "D5", "D6"})
    shown = set(untouched.frame["sample_name"])
    numbers = [number for number, name in enumerate(DIGITS.images) if name in shown]
    ids = [sample_id(LENET.preprocess(DIGITS.read(number))) for number in numbers[:3]]
    weights = tmp_path / "net.safetensors"
    weights.write_bytes((FOLDER / "lenet.safetensors").read_bytes())
    file_beside(weights).write_text("\n".join(ids))
    model = advbench.load_model("lenet", weights=weights)
    found = {flag.id: flag.message for flag in attacked(model, "mnist,images=40").flags}
    assert found["D6"] == "the model was trained on 3 of the 40 images (7.5%)"

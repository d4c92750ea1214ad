"""Training a network with several labels for each image: its data, its measurements, its card and its file."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from encoded_images import idx

from advbench import load_model
from advbench.training.data import sets
from advbench.training.data.sets import load_split
from advbench.training.measure import confusion
from advbench.training.recipes import RECIPES
from advbench.training.run import train
from advbench.training.task import TrainConfig


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of MNIST's kind with ten digits, and few images to be composed from them."""
    monkeypatch.setattr(sets, "COMPOSED", {"train": 40, "test": 20})
    images = np.random.default_rng(0).integers(0, 256, (10, 28, 28))
    for stem in ("train", "t10k"):
        (tmp_path / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(10))))
    return tmp_path


def test_both_splits_are_composed_and_differ(digits: Path) -> None:
    learnt, tested = (load_split("eight-digits", digits, split) for split in ("train", "test"))
    assert (learnt.x.shape, learnt.y.shape, tested.x.shape) == ((40, 1, 48, 48), (40, 8), (20, 1, 48, 48))
    assert set(learnt.y.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(learnt.x[:20], tested.x)
    assert learnt.source == "composed from train-images-idx3-ubyte.gz"


def test_a_training_ends_with_a_model_of_labels(digits: Path) -> None:
    recipe = dataclasses.replace(RECIPES["eight_digits"], epochs=1)
    out = digits / "out"
    card = train(TrainConfig(recipe=recipe, command="advbench train", data_root=digits, out=out, attacked=4))
    assert (card["confusion"], list(card["classes"])) == ([], [*"01234567", "macro avg"])
    assert card["robust"]["n"] == 4
    assert "An image may have several of these labels" in (out / "README.md").read_text()
    model = load_model(str(out / "eight_digits.safetensors"))
    assert (model.thresholds, model.classes) == ((0.0,) * 8, tuple("01234567"))


def test_precision_and_recall_of_each_label() -> None:
    truth, found = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    counts, report = confusion(truth, found, ("cat", "dog"))
    assert counts.size == 0
    assert (report["cat"]["recall"], report["dog"]["precision"]) == (0.5, 0.5)

"""Folders of pictures to train on: classes, the part set aside, and flags that do not go together."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_folders import pixels_of, put, run, weights
from PIL import Image

from advbench import load_model
from advbench.errors import UserError
from advbench.training.data import folders
from advbench.training.data.folders import class_folders, load_data, load_folder
from advbench.training.run import train
from advbench.training.task import TrainConfig


def pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture.convert("L"))).float()[None] / 255


def test_a_recipe_of_the_zoo_learns_from_a_folder(tmp_path: Path) -> None:
    for digit, name in ((1, "sad"), (8, "glad")):
        put(tmp_path / "faces" / name, digit, slice(10))
    out = tmp_path / "out"
    done = run("train", "smile_cnn", "--epochs", 2, "--data-root", tmp_path / "faces", "--out", out, "--attacked", 0)
    assert done.exit_code == 0, done.output
    card = json.loads((out / "smile_cnn.json").read_text())
    assert (card["data"], card["images"]["licence"]) == ("faces", "the user's own")
    assert list(card["at_precision"]) == ["0.9", "0.95", "0.98", "0.99"]
    model = load_model(str(out / "smile_cnn.safetensors"))
    assert (model.classes, model.input_size, model.mean) == (("glad", "sad"), 64, (0.5,))


def test_another_number_of_classes(pictures: Path, tmp_path: Path) -> None:
    done = run("train", "lenet", "--data-root", pictures, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr == (
        f"error: {pictures} has 3 classes, but this network distinguishes 10\n"
        f"for any number of classes: advbench train transfer --data-root {pictures}\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_data_set_beside_pictures_is_preferred(pictures: Path, tmp_path: Path) -> None:
    for digit in (1, 7):
        put(tmp_path / str(digit), digit, slice(2))
    for half in ("train", "test"):
        np.savez(tmp_path / f"mnist-{half}.npz", images=np.zeros((4, 28, 28), np.uint8), labels=np.arange(4))
    assert len(load_data("mnist", tmp_path, 0)[1].y) == 4


# folders
@pytest.mark.parametrize("options", [{}, {"fine_tune": 1}], ids=["top", "tuned"])
def test_pictures_that_do_not_fit_into_memory_are_read_again(
    job: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    roomy, tight = job("roomy", **options), job("tight", **options)
    read: list[Path] = []
    whole = folders.read_picture

    def watched(file: Path) -> Image.Image:
        read.append(file)
        return whole(file)

    monkeypatch.setattr(folders, "read_picture", watched)
    train(roomy)
    assert len(read) == len(set(read)) == 60
    monkeypatch.setattr("advbench.datasets.images.cache.KEEP_BYTES", 10 * 28 * 28)
    train(tight)
    assert len(read) > 2 * 60
    first, second = weights(roomy), weights(tight)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_one_picture_in_five_is_set_aside_by_seed(pictures: Path) -> None:
    first, again, other = (load_folder(pictures, pixels, seed) for seed in (0, 0, 1))
    assert first.classes == ("digit 1", "digit 7", "digit 8")
    assert first.test.y.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert first.train.y.bincount().tolist() == [16] * 3
    assert torch.equal(pixels_of(first.test), pixels_of(again.test))
    assert not torch.equal(pixels_of(first.test), pixels_of(other.test))
    together = torch.cat([pixels_of(first.train), pixels_of(first.test)]).flatten(1)
    assert len(together.unique(dim=0)) == 60


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_folder_may_bring_its_own_test_part(tmp_path: Path, name: str) -> None:
    for part, rows in (("train", slice(0, 3)), (name, slice(3, 5))):
        for digit in (1, 7):
            put(tmp_path / part / str(digit), digit, rows)
    found = load_folder(tmp_path, pixels, seed=0)
    assert (found.train.y.tolist(), found.test.y.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    assert found.test.source == f"{tmp_path.name}/{name}"
    (tmp_path / name / "7").rename(tmp_path / name / "seven")
    with pytest.raises(UserError, match="have different classes: 7, seven"):
        load_folder(tmp_path, pixels, seed=0)


def test_folders_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder of pictures with a subfolder for each class"):
        load_folder(tmp_path / "nowhere", pixels, seed=0)
    put(tmp_path / "1", 1, slice(3))
    with pytest.raises(UserError, match="not a folder of pictures") as error:
        load_folder(tmp_path, pixels, seed=0)
    assert "/CLASS/*.jpg" in error.value.hint
    put(tmp_path / "2", 2, slice(1))
    with pytest.raises(UserError, match="has one picture"):
        load_folder(tmp_path, pixels, seed=0)
    (tmp_path / "2" / "scan.tiff").touch()
    with pytest.raises(UserError, match=r"1 picture is skipped, .*scan\.tiff"):
        load_folder(tmp_path, pixels, seed=0)
    (tmp_path / "2" / "scan.tiff").unlink()
    (tmp_path / "2" / "cut.png").write_bytes(next((tmp_path / "1").iterdir()).read_bytes()[:60])
    with pytest.raises(UserError, match=r"cut\.png.*damaged"):
        load_folder(tmp_path, pixels, seed=0)


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path / ".thumbnails", 1, slice(1))
    put(tmp_path / "1", 1, slice(1))
    (tmp_path / "notes").mkdir()
    assert class_folders(tmp_path) == [tmp_path / "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lenet", "--from", "vgg16"), "--from is for the recipe transfer, not for lenet"),
        (("gray_forest", "--fine-tune", "3"), "--fine-tune is for the recipe transfer"),
        (("transfer", "--from", "vgg61"), "unknown model 'vgg61'"),
        (("transfer", "--from", "cifar10_vgg1"), "model cifar10_vgg1 is not in the package"),
    ],
)
def test_flags_that_do_not_go_together(
    arguments: tuple[str, ...], message: str, pictures: Path, tmp_path: Path
) -> None:
    done = run("train", *arguments, "--data-root", pictures, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()

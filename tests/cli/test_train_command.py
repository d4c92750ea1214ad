"""`advbench train`: whole trainings on a few digits, interrupted, resumed, refused, and what they leave behind."""

import csv
import errno
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from waiting import until

from advbench import load_model
from advbench.catalog.zoo import FOLDER
from advbench.cli.main import main
from advbench.datasets.embedded import read_embedded
from advbench.errors import UserError
from advbench.training.checkpoint import read_progress
from advbench.training.recipes import RECIPES, Adversarial, Recipe
from advbench.training.run import train
from advbench.training.task import TrainConfig

TINY = Recipe(model="lenet", epochs=3, batch_size=32)
ROBUST = Recipe(
    model="mnist_convnet_robust", epochs=2, batch_size=64, adversarial=Adversarial(eps=0.1, warmup=0.3), augment="shift"
)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with 300 digits to learn and 100 to test on."""
    root, found = tmp_path_factory.mktemp("data"), read_embedded("mnist")
    for half, rows in (("train", slice(0, 300)), ("test", slice(300, 400))):
        np.savez(root / f"mnist-{half}.npz", images=found.images[rows], labels=found.labels[rows])
    return root


@pytest.fixture
def config(data_root: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A training of a small recipe into a folder of that name."""

    def make(folder: str, recipe: Recipe = TINY, seed: int = 0) -> TrainConfig:
        return TrainConfig(
            recipe=recipe, command="advbench train", data_root=data_root, out=tmp_path / folder, seed=seed, attacked=0
        )

    return make


class KilledError(Exception):
    """In place of a kill."""


def killed_at(step: int) -> Callable[[str, int, int], None]:
    def progress(what: str, done: int, total: int) -> None:
        if done >= step:
            raise KilledError

    return progress


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(config.out / "checkpoint.safetensors")
    return tensors


@pytest.mark.parametrize(
    ("recipe", "step"), [(TINY, 10), (TINY, 20), (ROBUST, 5)], ids=["early", "late", "adversarial"]
)
def test_resumed_after_a_kill_to_the_same_weights(
    config: Callable[..., TrainConfig], recipe: Recipe, step: int
) -> None:
    whole, broken = config("whole", recipe), config("broken", recipe)
    card = train(whole)
    with pytest.raises(KilledError):
        train(broken, killed_at(step))
    resumed = train(broken)
    first, second = weights(whole), weights(broken)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert resumed["weights_sha256"] == card["weights_sha256"]
    assert len(resumed["epochs"]) == recipe.epochs


def test_a_process_that_is_killed_leaves_a_checkpoint_that_goes_on(
    config: Callable[..., TrainConfig], data_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    arguments = [
        "train",
        "lenet",
        "--epochs",
        "20",
        "--data-root",
        str(data_root),
        "--out",
        str(out),
        "--attacked",
        "0",
    ]
    with subprocess.Popen([sys.executable, "-m", "advbench", *arguments, "--quiet"]) as process:
        until((out / "checkpoint.safetensors").exists, "an epoch is done", process)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    left = read_progress(out / "checkpoint.safetensors")["history"]
    assert 1 <= len(left) < 20
    assert run(*arguments[1:]).exit_code == 0
    whole = config("whole", replace(RECIPES["lenet"], epochs=20))
    train(whole)
    first, second = weights(whole), load_file(out / "checkpoint.safetensors")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_it_learns_and_leaves_what_it_should(config: Callable[..., TrainConfig]) -> None:
    done = config("done", Recipe(model="lenet", epochs=8, batch_size=32))
    card = train(done)
    assert card["clean"]["accuracy"] > 0.5
    assert card["clean"]["low"] < card["clean"]["accuracy"] < card["clean"]["high"]
    assert np.trace(card["confusion"]) == card["clean"]["accuracy"] * card["clean"]["n"]
    assert json.loads((done.out / "lenet.json").read_text()) == json.loads(json.dumps(card))
    assert (done.out / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((done.out / "curves.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 9))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert "test accuracy" in (done.out / "README.md").read_text()
    assert len((done.out / "lenet.trained-on.txt").read_text().split()) == card["images"]["train"]
    model = load_model("lenet", weights=done.out / "lenet.safetensors")
    assert model.weights_sha256 == card["weights_sha256"]


def test_other_seeds_give_other_weights(config: Callable[..., TrainConfig]) -> None:
    one = Recipe(model="lenet", epochs=1)
    first, second = config("first", one, seed=1), config("second", one, seed=2)
    assert train(first)["weights_sha256"] != train(second)["weights_sha256"]


def test_random_numbers_are_left_as_they_were(config: Callable[..., TrainConfig]) -> None:
    before = torch.random.get_rng_state()
    train(config("quiet", Recipe(model="lenet", epochs=1)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_checkpoint_of_another_training_is_refused(config: Callable[..., TrainConfig]) -> None:
    train(config("mine", Recipe(model="lenet", epochs=1)))
    with pytest.raises(UserError, match="belongs to another training: epochs 1 instead of 3"):
        train(config("mine"))
    with pytest.raises(UserError, match="seed 0 instead of 5"):
        train(config("mine", Recipe(model="lenet", epochs=1), seed=5))


@pytest.mark.parametrize("damage", ["cut", "noise", "other"])
def test_damaged_checkpoint_is_refused(config: Callable[..., TrainConfig], damage: str) -> None:
    job = config("damaged", Recipe(model="lenet", epochs=1))
    train(job)
    file = job.out / "checkpoint.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "noise":
        file.write_bytes(b"no checkpoint at all")
    else:
        file.write_bytes((job.out / "lenet.safetensors").read_bytes())
    with pytest.raises(UserError, match="cannot be read") as error:
        train(job)
    assert "choose another --out" in error.value.hint


def test_full_disk_leaves_the_checkpoint_before(
    config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = config("full")
    with pytest.raises(KilledError):
        train(job, killed_at(15))
    before = (job.out / "checkpoint.safetensors").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("advbench.records.storage.atomic.os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        train(job)
    monkeypatch.undo()
    assert (job.out / "checkpoint.safetensors").read_bytes() == before
    assert {file.name for file in job.out.iterdir()} == {"checkpoint.safetensors"}
    assert len(train(job)["epochs"]) == TINY.epochs


# the command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *arguments])


def test_the_command_prints_what_was_measured(data_root: Path, tmp_path: Path) -> None:
    arguments = ("lenet", "--epochs", "1", "--data-root", str(data_root), "--out", str(tmp_path), "--attacked", "10")
    done = run(*arguments, "--adversarial", "--eps", "0.1", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert "test accuracy" in done.stdout
    assert "under attack within linf 0.3" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100 or str(tmp_path) in done.stdout
    card = json.loads((tmp_path / "lenet.json").read_text())
    assert card["command"] == "advbench train lenet --epochs 1 --adversarial fast --eps 0.1 --seed 3"
    assert card["training"]["adversarial"]["eps"] == 0.1
    assert card["robust"]["n"] == 10
    assert run(*arguments).exit_code == 2  # the same folder, another training


def test_unknown_recipe() -> None:
    done = run("lennet")
    assert done.exit_code == 2
    assert done.stderr == (
        "error: unknown recipe 'lennet'\ndid you mean lenet? `advbench train --help` lists all names\n"
    )


def test_missing_data_say_how_to_get_them(tmp_path: Path) -> None:
    done = run("lenet", "--data-root", str(tmp_path), "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert f"error: data set mnist is not in {tmp_path}" in done.stderr
    assert "download=True" in done.stderr
    assert not (tmp_path / "out").exists()


def test_eps_without_adversarial_training(data_root: Path) -> None:
    done = run("lenet", "--eps", "0.1", "--data-root", str(data_root))
    assert done.exit_code == 2
    assert "--eps is for adversarial training" in done.stderr


def test_a_training_goes_on_from_given_weights(data_root: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    common = ("lenet", "--data-root", str(data_root), "--attacked", "0", "--quiet")
    assert run(*common, "--epochs", "8", "--out", str(first)).exit_code == 0
    flags = ("--epochs", "1", "--lr", "1e-9", "--adversarial", "trades", "--eps", "0.1", "--steps", "2")
    done = run(*common, *flags, "--weights", str(first / "lenet.safetensors"), "--out", str(second))
    assert done.exit_code == 0, done.output
    before, after = (json.loads((folder / "lenet.json").read_text()) for folder in (first, second))
    assert after["clean"] == before["clean"]
    assert after["training"]["start_sha256"] == before["weights_sha256"]
    assert {"method": "trades", "steps": 2, "warmup": 0.0}.items() <= after["training"]["adversarial"].items()
    assert "--lr 1e-09 --adversarial trades --eps 0.1 --steps 2 --weights" in after["command"]
    refused = run(*common, "--weights", str(FOLDER / "mlp_mnist.safetensors"), "--out", str(tmp_path / "third"))
    assert refused.exit_code == 2
    assert "does not fit lenet" in refused.stderr


def test_another_data_set_of_the_same_shape(tmp_path: Path) -> None:
    found = read_embedded("fashion-mnist")
    for half, rows in (("train", slice(0, 200)), ("test", slice(200, 300))):
        np.savez(tmp_path / f"fashion-mnist-{half}.npz", images=found.images[rows], labels=found.labels[rows])
    common = ("lenet", "--data-root", str(tmp_path), "--epochs", "4", "--attacked", "0", "--quiet")
    done = run(*common, "--data", "fashion-mnist", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "out" / "lenet.json").read_text())
    assert (card["data"], card["images"]["licence"]) == ("Fashion-MNIST", "MIT")
    assert card["command"] == "advbench train lenet --epochs 4 --data fashion-mnist"
    model = load_model(str(tmp_path / "out" / "lenet.safetensors"))
    assert (model.classes[9], model.mean) == ("ankle boot", load_model("lenet").mean)
    x = torch.from_numpy(found.images[200:300])[:, None].float() / 255
    right = (model(x).argmax(1).numpy() == found.labels[200:300]).mean()
    assert right == pytest.approx(card["clean"]["accuracy"])
    refused = run(*common, "--data", "cifar10")
    assert refused.exit_code == 2
    assert "CIFAR-10 has images of 32 x 32 pixels in 3 channels" in refused.stderr


def test_a_checkpoint_is_not_continued_on_other_images(
    config: Callable[..., TrainConfig], data_root: Path, tmp_path: Path
) -> None:
    job = config("mine", Recipe(model="lenet", epochs=1))
    train(job)
    for half in ("train", "test"):
        found = np.load(data_root / f"mnist-{half}.npz")
        np.savez(tmp_path / f"mnist-{half}.npz", images=found["images"], labels=(found["labels"] + 1) % 10)
    with pytest.raises(UserError, match=r"belongs to another training: labels [0-9a-f]{8} instead of [0-9a-f]{8}"):
        train(replace(job, data_root=tmp_path))


def test_help_lists_the_recipes() -> None:
    shown = run("--help").stdout
    assert all(name in shown for name in RECIPES)

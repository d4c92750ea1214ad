"""The zoo: every architecture has the size it should, and weights are loaded only if they are the published ones."""

import dataclasses
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from advbench import load_model
from advbench.catalog import MODELS, availability
from advbench.catalog.zoo import DATA, FOLDER, ZOO, read_card
from advbench.errors import UserError
from advbench.models.networks.architectures import Scramble, TwoLogits
from advbench.models.sources import zoo
from advbench.models.sources.zoo import architecture
from advbench.training.recipes import RECIPES

NETWORKS = [name for name, row in ZOO.items() if row.architecture]
SHIPPED = [name for name in ZOO if read_card(name).get("weights_sha256")]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("gray_mlp", 577_110), ("gray_cnn", 577_014), ("mnist_convnet", 1_199_882), ("lenet", 61_706)],
)
def test_parameter_counts(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in architecture(name).parameters()) == parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_its_images_and_gives_a_logit_for_each_class(name: str) -> None:
    data = DATA[ZOO[name].data]
    # The largest have 84 million parameters; a forest has to look at its pixels.
    with torch.device("cpu" if name == "gray_forest" else "meta"):
        module = architecture(ZOO[name].architecture).eval()
        logits = module(torch.zeros(2, len(data.mean), data.side, data.side))
    assert logits.shape == (2, len(data.classes))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_recipe(name: str) -> None:
    assert RECIPES[name].model == name


def test_scrambling_is_one_fixed_permutation() -> None:
    x = torch.rand(3, 2, 5, 5)
    once, again = Scramble(25)(x), Scramble(25)(x)
    assert torch.equal(once, again)
    assert not torch.equal(once, x)
    assert torch.equal(once.flatten(2).sort().values, x.flatten(2).sort().values)
    assert torch.equal(Scramble(25)(x[1:2]), once[1:2])


def test_an_mlp_does_not_care_about_the_order_of_the_pixels() -> None:
    scrambled = architecture("mlp_scrambled").double()
    plain = architecture("mlp_mnist").double()
    plain.load_state_dict(
        {str(int(key[0]) - 1) + key[1:]: v for key, v in scrambled.state_dict().items() if key[0] != "0"}
    )
    order = scrambled[0].order
    with torch.no_grad():
        plain[1].weight[:, order] = scrambled[2].weight
    x = torch.rand(4, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(scrambled(x), plain(x))


def test_one_logit_becomes_two_with_the_same_probability() -> None:
    z = torch.tensor([[-2.0], [0.5]])
    torch.testing.assert_close(TwoLogits()(z).softmax(1)[:, 1], z.sigmoid()[:, 0])


def test_dropout_can_be_left_out() -> None:
    rates = [m.p for m in architecture("mnist_convnet", dropout=False).modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.0, 0.0]


def test_weights_of_a_training_are_loaded_from_a_file(tmp_path: Path) -> None:
    module = architecture("cifar10_cnn")
    file = tmp_path / "mine.safetensors"
    save_file({key: value.half() for key, value in module.state_dict().items()}, file)
    model = load_model("cifar10_cnn", weights=file)
    x = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (DATA["cifar10"].mean, DATA["cifar10"].std))
    torch.testing.assert_close(model(x), module.half().float()((x - mean) / std), atol=1e-4, rtol=1e-4)
    assert model.classes[3] == "cat"


def test_weights_for_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    module = architecture("lenet")
    module[-1] = nn.Linear(84, 7)
    save_file(module.state_dict(), tmp_path / "seven.safetensors")
    with pytest.raises(UserError, match=r"does not fit lenet: 2 of another shape .*\(7, 84\) instead of \(10, 84\)"):
        load_model("lenet", weights=tmp_path / "seven.safetensors")


def test_a_model_without_weights_says_how_to_train_it() -> None:
    card = dataclasses.replace(MODELS["cifar10_vgg4"], weights_sha256="")
    assert availability(card).state == "train"
    with pytest.raises(UserError, match="not in the package") as error:
        zoo.load(card)
    assert "advbench train cifar10_vgg4" in error.value.hint


def test_changed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lenet.safetensors"
    save_file(architecture("lenet").state_dict(), file)
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="is not the published one"):
        zoo.load(dataclasses.replace(MODELS["lenet"], weights_sha256="0" * 64))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_load_and_are_small(name: str) -> None:
    model = load_model(name)
    data = DATA[ZOO[name].data]
    logits = model(torch.zeros(1, len(data.mean), data.side, data.side))
    assert logits.isfinite().all()
    assert model.weights_sha256 == read_card(name)["weights_sha256"]
    assert (FOLDER / f"{name}.safetensors").stat().st_size <= 5_000_000


@pytest.mark.slow
def test_all_shipped_weights_load_from_the_wheel_alone(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "source").mkdir()
    for part in ("advbench", "attacks", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (root / part).is_dir() else shutil.copy
        copy(root / part, tmp_path / "source" / part)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    options = {"check": True, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    built = subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "source", **options)
    wheel = tmp_path / built.stdout.splitlines()[-1]
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    load = f"import advbench; print(advbench.__file__); [advbench.load_model(name) for name in {SHIPPED}]"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run([sys.executable, "-c", load], cwd=tmp_path, env=environment, **options)
    assert done.stdout.startswith(str(tmp_path / "installed"))


def test_all_shipped_weights_together_are_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 25_000_000

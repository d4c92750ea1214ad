"""Models of RobustBench: its architectures with seeded weights, and what is said of the others."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn
from torchvision import transforms

import attacks
from advbench import load_model
from advbench.catalog.user_models import is_own, model_card, moved
from advbench.cli.main import main
from advbench.config.model_description import Description
from advbench.errors import UserError
from advbench.models.sources import robustbench

pytest.importorskip("geotorch", reason="the packages that robustbench needs are not installed")
pytest.importorskip("torchdiffeq", reason="the packages that robustbench needs are not installed")
pytestmark = pytest.mark.filterwarnings("ignore")
NAME = "robustbench/cifar10/Linf/Wong2020Fast"
FILE = Path("models", "cifar10", "Linf", "Wong2020Fast.pt")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded weights of one architecture, as its authors save them."""
    file = tmp_path_factory.mktemp("weights") / "seeded.pt"
    torch.save({f"module.{key}": value for key, value in theirs().state_dict().items()}, file)
    return file


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVBENCH_CACHE", str(tmp_path / "cache"))


def theirs() -> nn.Module:
    with robustbench._package(NAME) as tables:
        torch.manual_seed(0)
        network: nn.Module = robustbench._entry(tables, NAME)["model"]().eval()
        return network


def in_place(weights: Path, file: Path = FILE) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(weights, file)
    return file


@pytest.mark.parametrize("place", ["models", "cache", "weights"])
def test_answers_and_gradients_are_those_of_the_architecture(place: str, weights: Path) -> None:
    if place == "weights":
        ours = load_model(NAME, weights=weights)
    else:
        in_place(weights, FILE if place == "models" else Path("cache", "robustbench", *FILE.parts[1:]))
        ours = load_model(NAME)
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    answers, expected = ours(x), theirs()(x)
    assert (answers - expected).abs().max() < 1e-4
    slopes = [torch.autograd.grad(each[:, 0].sum() - each[:, 1].sum(), x)[0].flatten(1) for each in (answers, expected)]
    assert nn.functional.cosine_similarity(*slopes).min() > 0.9999
    assert (ours.classes[0], ours.num_classes, ours.input_size, ours.mean) == ("airplane", 10, 32, (0.0,))


def test_the_digest_of_the_first_use_is_the_one_that_is_meant(weights: Path, tmp_path: Path) -> None:
    file = in_place(weights)
    digest = load_model(NAME).weights_sha256
    pins = tmp_path / "cache" / "pins.json"
    assert json.loads(pins.read_text()) == {NAME: digest}
    load_model(NAME)
    torch.save({key: value + 1 for key, value in torch.load(file, weights_only=True).items()}, file)
    with pytest.raises(UserError, match=f"the weights of {NAME} differ from those first used") as error:
        load_model(NAME)
    assert str(pins) in error.value.hint
    pins.write_text("[]")
    with pytest.raises(UserError, match=r"the digests in .* cannot be read"):
        load_model(NAME)


def test_a_pickle_that_would_run_something_is_not_read(weights: Path) -> None:
    file = in_place(weights)
    torch.save({"state_dict": {"a": Trap()}}, file)
    with pytest.raises(UserError, match=f"{NAME} cannot be loaded: .*Weights only load failed"):
        load_model(NAME)
    assert not Path("ran").exists()


class Trap:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_weights_of_another_network(weights: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), in_place(weights))
    with pytest.raises(UserError, match=f"{NAME} cannot be loaded: Error"):
        load_model(NAME)


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("gdown.download", fail)
    Image.new("RGB", (8, 8)).save("picture.png")
    result = CliRunner().invoke(main, ["attack", "--model", NAME, "picture.png"])
    assert result.exit_code == 2
    assert f"{NAME} lacks its weights: there is no " in result.stderr
    assert "and they cannot be downloaded: ConnectionError: no network" in result.stderr
    assert "-O Wong2020Fast.pt" in result.stderr
    assert "meanwhile: cifar10_resnet_robust" in result.stderr


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("robustbench/cifar10/Linf/Wong2020Fats", "no model 'Wong2020Fats' for cifar10 and Linf", "Wong2020Fast"),
        ("robustbench/cifar10/L1/x", "RobustBench has no threat 'L1' for cifar10", "Linf, L2, corruptions"),
        ("robustbench/mnist/Linf/x", "expected robustbench/DATASET/THREAT/NAME with a data set of cifar10", ""),
        ("robustbench/cifar10/Linf", "expected robustbench/DATASET/THREAT/NAME", "advbench models robustbench"),
        ("robustbench/imagenet/Linf/Standard_R50", "are not published by RobustBench", "file.py:function"),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str, hint: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_model(name)
    assert hint in error.value.hint


def test_an_imagenet_model_has_its_preparation_of_pictures(tmp_path: Path) -> None:
    name = "robustbench/imagenet/Linf/Salman2020Do_R18"
    with robustbench._package(name) as tables:
        network = robustbench._entry(tables, name)["model"]().eval()
        expected = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    weights = {key.removeprefix("model."): value for key, value in network.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "net.pt")
    model = load_model(name, weights=tmp_path / "net.pt", about=Description(classes=[str(n) for n in range(1000)]))
    shown = Image.effect_noise((300, 280), 90).convert("RGB")
    assert torch.equal(model.preprocess(shown), expected(shown))
    assert model.input_size == 224
    x = torch.rand(1, 3, 224, 224)
    assert (model(x) - network(x)).abs().max() < 1e-4


def test_the_listing() -> None:
    found = CliRunner().invoke(main, ["models", "robustbench/cifar10/Linf"]).stdout.split()
    assert NAME in found
    assert all(each.startswith("robustbench/cifar10/Linf/") for each in found)
    everything = json.loads(CliRunner().invoke(main, ["models", "robustbench", "--json"]).stdout)
    assert set(found) < {row["name"] for row in everything}
    result = CliRunner().invoke(main, ["models", "robustbench/mnist"])
    assert result.exit_code == 2
    assert "RobustBench has no models 'robustbench/mnist'" in result.stderr


def test_names_are_told_apart() -> None:
    assert is_own(NAME)
    assert model_card(NAME).source == "robustbench"
    assert moved(NAME, lambda path: Path("up") / path) == NAME


def test_it_can_be_attacked(weights: Path) -> None:
    model, x = load_model(NAME, weights=weights), torch.rand(2, 3, 32, 32)
    goal = attacks.Untargeted(model(x).argmax(1))
    assert attacks.PGD(steps=3)(model, x, goal, eps=0.1).shape == x.shape

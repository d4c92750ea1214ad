"""Keras files on torch: a twin of lenet answers as lenet does, with gradients; code in a file is refused."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from fakes import digits
from PIL import Image

import attacks
from advbench import load_model
from advbench.catalog.user_models import origin
from advbench.cli.main import main
from advbench.errors import UserError
from advbench.evaluation.checks.model import check_model

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="the package keras is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")
layers = keras.layers


def twin(*end: Any, start: tuple[Any, ...] = ()) -> Any:
    """The network of lenet, with its weights, channels last."""
    network = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            *start,
            *(layers.Conv2D(6, 5, padding="same"), layers.MaxPooling2D(2), layers.ReLU()),
            *(layers.Conv2D(16, 5), layers.MaxPooling2D(2), layers.ReLU()),
            *(layers.Conv2D(120, 5, activation="relu"), layers.Flatten()),
            *(layers.Dense(84, activation="relu"), layers.Dense(10), *end),
        ]
    )
    ours = [part for part in load_model("lenet").module.modules() if hasattr(part, "weight")]
    theirs = [part for part in network.layers if isinstance(part, layers.Conv2D | layers.Dense)]
    for mine, other in zip(ours, theirs, strict=False):
        kernel = mine.weight.float()
        kernel = kernel.permute(2, 3, 1, 0) if kernel.ndim == 4 else kernel.t()
        other.set_weights([kernel.numpy(), mine.bias.float().numpy()])
    return network


def saved(network: Any, file: Path) -> str:
    network.save(str(file))
    return str(file)


def described() -> dict[str, Any]:
    ours = load_model("lenet")
    return {"mean": ours.mean, "std": ours.std}


def test_a_twin_of_lenet_answers_and_falls_as_lenet_does(tmp_path: Path) -> None:
    ours, model = load_model("lenet"), load_model(saved(twin(), tmp_path / "net.keras"), **described())
    x, labels = digits(16)
    assert (model.input_size, model.num_classes, model.mean) == (28, 10, ours.mean)
    torch.testing.assert_close(model(x), ours(x), atol=1e-4, rtol=1e-4)
    goal, fooled = attacks.Untargeted(labels), []
    for each in (ours, model):
        x_adv = attacks.PGD(steps=10)(each, x, goal, eps=0.2)
        fooled.append(ours(x_adv).argmax(1) != labels)
    assert torch.equal(*fooled)
    assert 0 < int(fooled[0].sum()) < len(x)
    assert check_model(model, x, labels, dataset="mnist") == []


@pytest.mark.parametrize("end", ["softmax", "activation"])
def test_a_softmax_at_the_end_is_left_out(tmp_path: Path, end: str) -> None:
    network = twin(*([layers.Activation("softmax")] if end == "activation" else []))
    if end == "softmax":
        network.layers[-1].activation = keras.activations.softmax
    model, (x, labels) = load_model(saved(network, tmp_path / "net.keras"), **described()), digits(16)
    torch.testing.assert_close(model(x), load_model("lenet")(x), atol=1e-4, rtol=1e-4)
    assert "ends in a softmax, which is removed" in " ".join(model.notes)
    assert check_model(model, x, labels, dataset="mnist") == []


def test_probabilities_of_a_softmax_layer_are_flagged(tmp_path: Path) -> None:
    model, (x, labels) = load_model(saved(twin(layers.Softmax()), tmp_path / "net.keras"), **described()), digits(16)
    torch.testing.assert_close(model(x).exp(), load_model("lenet")(x).softmax(1), atol=1e-4, rtol=1e-4)
    assert "M4" in {flag.id for flag in check_model(model, x, labels, dataset="mnist")}


def test_a_network_for_images_up_to_255_is_told_how(tmp_path: Path) -> None:
    name = saved(twin(start=(layers.Rescaling(1 / 255),)), tmp_path / "net.keras")
    assert "expect 0 to 255: std 0.003921569" in " ".join(load_model(name).notes)
    model, x = load_model(name, mean=0.0, std=0.003921569), torch.rand(3, 1, 28, 28)
    plain = load_model(saved(twin(), tmp_path / "plain.keras"))
    torch.testing.assert_close(model(x), plain(x), atol=1e-4, rtol=1e-4)
    assert not [note for note in model.notes if "255" in note]
    colour = keras.Sequential([layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(4, activation="softmax")])
    found = load_model(saved(colour, tmp_path / "colour.keras"), std=0.003921569)
    assert (found.std, found(torch.rand(2, 3, 8, 8)).shape) == ((0.003921569,) * 3, (2, 4))
    assert "ends in a softmax" in found.notes[-1]


def test_from_the_command_line(tmp_path: Path) -> None:
    name = saved(twin(), tmp_path / "net.keras")
    Image.new("L", (28, 28), 90).save(tmp_path / "a.png")
    options = ["--goal", "untargeted", "--attack", "pgd", "--eps", "0.3", "--out", tmp_path / "out", "--model", name]
    done = CliRunner().invoke(main, ["attack", str(tmp_path / "a.png"), *map(str, options)])
    assert done.exit_code == 0, done.output
    assert "images are passed unnormalised" in done.stderr
    assert "is run as code" not in done.stderr
    assert origin(name)["keras"] == keras.__version__


class Torch(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("layer", ["lambda", "torch"])
def test_a_file_with_code_is_refused_in_one_sentence(tmp_path: Path, layer: str) -> None:
    code = layers.Lambda(lambda x: 2 * x) if layer == "lambda" else layers.TorchModuleWrapper(Torch(), name="wrapped")
    network = keras.Sequential([layers.Input((4, 4, 1)), code, layers.Flatten(), layers.Dense(3)])
    name = saved(network, tmp_path / "net.keras")
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    done = CliRunner().invoke(main, ["attack", "--model", name, str(tmp_path / "a.png")])
    assert done.exit_code == 2
    assert "would run code from the file, which is refused" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("builtins", "exec"), ("torch", "load")])
def test_a_hostile_file_runs_nothing(tmp_path: Path, module: str, name: str) -> None:
    file, mark = Path(saved(twin(), tmp_path / "net.keras")), tmp_path / "mark"
    with zipfile.ZipFile(file) as archive:
        contents = {each: archive.read(each) for each in archive.namelist()}
    config = json.loads(contents["config.json"])
    order = f"touch {mark}" if module == "os" else f"open({str(mark)!r}, 'w')"
    config["config"]["layers"][1] = {"module": module, "class_name": name, "config": order, "registered_name": name}
    contents["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for each, content in contents.items():
            archive.writestr(each, content)
    with pytest.raises(UserError, match=r"cannot be loaded as a Keras file|would run code"):
        load_model(str(file))
    assert not mark.exists()


def test_files_that_will_not_do(tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_bytes(b"nothing that Keras could read")
    with pytest.raises(UserError, match="cannot be loaded as a Keras file"):
        load_model(str(tmp_path / "bad.keras"))
    with pytest.raises(UserError, match=r"model file .* cannot be read"):
        load_model(str(tmp_path / "gone.keras"))
    one, other = layers.Input((4, 4, 1)), layers.Input((4, 4, 1))
    flat = layers.Flatten()(layers.Add()([one, other]))
    with pytest.raises(UserError, match="does not take one batch of images"):
        load_model(saved(keras.Model([one, other], flat), tmp_path / "two.keras"))
    with pytest.raises(UserError, match="its description says 7"):
        load_model(saved(twin(), tmp_path / "net.keras"), num_classes=7)

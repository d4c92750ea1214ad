"""Models of the user's own: functions, TorchScript, exported programs, ONNX files, names of timm's."""

import logging
import socket
import sys
import warnings
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import attacks
from advbench import Classifier, load_model
from advbench.catalog.user_models import model_card
from advbench.cli.main import main
from advbench.errors import UserError

SIDE, CLASSES = 8, 5

SOURCE = """
import torch
from torch import nn
import advbench

def good(weights=None):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5))
    return advbench.Classifier(network, num_classes=5, mean=[0.5] * 3, std=[0.5] * 3, input_size=8)

def bare():
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 7), nn.Softmax(1))

def seven():
    return advbench.Classifier(nn.Flatten(), num_classes=7, mean=[0.5] * 3, input_size=8)

def number():
    return 7

def broken():
    raise RuntimeError("no GPU here")
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "nets.py"
    file.write_text(SOURCE)
    return file


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES)).eval()


def picture(folder: Path) -> Path:
    Image.new("RGB", (20, 12), (200, 120, 40)).save(folder / "picture.png")
    return folder / "picture.png"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["attack", *map(str, arguments)])


def script(network: nn.Module, file: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.trace(network, torch.rand(2, 3, SIDE, SIDE)).save(str(file))
    return file


def exported(network: nn.Module, file: Path, *, fixed: bool = False) -> Path:
    shapes = None if fixed else ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(network, (torch.rand(3, 3, SIDE, SIDE),), dynamic_shapes=shapes), file)
    return file


def onnx_file(network: nn.Module, file: Path, batch: int | str = "n") -> Path:
    from onnx import TensorProto, helper, numpy_helper, save

    linear = network[-1]
    weight = numpy_helper.from_array(linear.weight.detach().t().contiguous().numpy(), "w")
    bias = numpy_helper.from_array(linear.bias.detach().numpy(), "b")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, CLASSES])
    graph = helper.make_graph(nodes, "net", [x], [y], [weight, bias])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(file))
    return file


def test_names_are_told_apart() -> None:
    assert model_card("vgg16").source == "torchvision"
    assert model_card("a/b.py:make").runs == "a/b.py"
    assert (model_card("net.onnx").runs, model_card("net.pt2").runs) == ("", "net.pt2")
    with pytest.raises(UserError, match="unknown model 'vgg61'"):
        model_card("vgg61")


# functions


def test_a_function_makes_a_classifier(source: Path) -> None:
    model = load_model(f"{source}:good")
    assert (model.name, model.num_classes, model.input_size) == (f"{source}:good", CLASSES, SIDE)
    assert len(model.weights_sha256 or "") == 64


def test_too_few_classes_for_the_default_goal_are_noticed_once_the_model_is_loaded(
    source: Path, tmp_path: Path
) -> None:
    result = run("--model", f"{source}:good", "--eps", 0.5, "--out", tmp_path / "out", picture(tmp_path))
    assert result.exit_code == 0
    assert "goal untargeted: met" in result.output
    asked = run("--model", f"{source}:good", "--goal", "topk-exclusion:7", picture(tmp_path))
    assert asked.exit_code == 2
    assert "k is at most 2 for the 5 classes" in asked.output


def test_results_lie_in_a_folder_named_after_the_last_part_of_the_model(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("--model", f"{source}:good", "--attack", "noise", picture(tmp_path)).exit_code == 0
    assert [folder.name for folder in Path("reports").iterdir()] == ["picture-nets.py-good-noise"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("number", "returned int, not a network or another function of images"),
        ("broken", "failed: RuntimeError: no GPU here"),
        ("gone", "has no function 'gone'"),
    ],
)
def test_functions_that_will_not_do(source: Path, function: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model(f"{source}:{function}")


def test_a_bare_network_is_found_out_by_asking_it(source: Path) -> None:
    model = load_model(f"{source}:bare")
    assert (model.num_classes, model.input_size) == (7, 28)
    assert len(model.notes) == 3
    assert model(torch.rand(2, 1, 28, 28)).exp().sum(1).tolist() == pytest.approx([1, 1])
    described = load_model(f"{source}:bare", mean=0.5, std=0.5, input_size=28, classes=list("abcdefg"))
    assert (described.mean, described.classes[1], len(described.notes)) == ((0.5,), "b", 1)
    with pytest.raises(UserError, match="returns 7 classes, but its description says 10"):
        load_model(f"{source}:bare", num_classes=10)
    with pytest.raises(UserError, match=r"returns an advbench\.Classifier, which defines mean itself"):
        load_model(f"{source}:good", mean=0.5)


def test_a_network_without_a_gradient_borrows_that_of_a_twin(network: nn.Module, tmp_path: Path, source: Path) -> None:
    name = str(onnx_file(network, tmp_path / "net.onnx"))
    model, alone = load_model(name, gradients_from=f"{source}:good"), load_model(name)
    x = torch.rand(6, 3, SIDE, SIDE)
    assert torch.equal(model(x), alone(x))
    goal = attacks.Untargeted(model(x).argmax(1))
    assert (alone(attacks.PGD()(model, x, goal, eps=0.5)).argmax(1) != goal.labels).all()
    with pytest.raises(UserError, match="is not a twin of"):
        load_model(name, gradients_from=f"{source}:seven")


def test_a_file_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import nothing_of_that_name")
    with pytest.raises(UserError, match="cannot be imported: ModuleNotFoundError"):
        load_model(f"{tmp_path}/bad.py:make")
    with pytest.raises(UserError, match="there is no file"):
        load_model(f"{tmp_path}/gone.py:make")


def test_the_command_says_that_it_runs_code(source: Path, tmp_path: Path) -> None:
    done = run("--model", f"{source}:good", "--goal", "untargeted", "--out", tmp_path / "out", picture(tmp_path))
    assert done.exit_code == 0, done.output
    assert f"note: {source} is run as code" in done.stderr
    assert (tmp_path / "out" / "panel.png").exists()


# files with a network


@pytest.mark.parametrize("kind", ["pt2", "fixed.pt2", "onnx", "fixed.onnx"])
def test_networks_from_files_answer_as_they_did(network: nn.Module, tmp_path: Path, kind: str) -> None:
    make, fixed = (onnx_file if kind.endswith("onnx") else exported), kind.startswith("fixed")
    file = tmp_path / f"net.{kind}"
    if make is onnx_file:
        onnx_file(network, file, 1 if fixed else "n")
    else:
        exported(network, file, fixed=fixed)
    file.with_suffix(".toml").write_text(
        'mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nclasses = ["a", "b", "c", "d", "e"]'
    )
    model = load_model(str(file))
    x = torch.rand(7, 3, SIDE, SIDE)
    torch.testing.assert_close(model(x), network((x - 0.5) / 0.25), atol=1e-5, rtol=1e-5)
    assert (model.input_size, model.classes[1]) == (SIDE, "b")


def test_script_needs_the_size_of_its_input(network: nn.Module, tmp_path: Path) -> None:
    file = script(network, tmp_path / "net.pt")
    with pytest.raises(UserError, match="does not state its input size") as error:
        load_model(str(file))
    assert "net.toml" in error.value.hint
    (tmp_path / "net.toml").write_text("input_size = 8")
    x = torch.rand(2, 3, SIDE, SIDE)
    torch.testing.assert_close(load_model(str(file))(x), network(x))


def test_exported_programs_have_gradients(network: nn.Module, tmp_path: Path) -> None:
    model = load_model(str(exported(network, tmp_path / "net.pt2")))
    x = torch.rand(6, 3, SIDE, SIDE)
    goal = attacks.Untargeted(model(x).argmax(1))
    assert (model(attacks.PGD()(model, x, goal, eps=0.5)).argmax(1) != goal.labels).all()


def test_onnx_is_a_black_box(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advbench.models.sources.onnx_twin.CONVERTERS", ())
    model = load_model(str(onnx_file(network, tmp_path / "net.onnx")))
    x = torch.rand(6, 3, SIDE, SIDE)
    goal = attacks.Untargeted(model(x).argmax(1))
    with pytest.raises(ValueError, match="use an attack that needs none"):
        attacks.PGD()(model, x, goal, eps=0.5)
    x_adv = attacks.Square(steps=300)(model, x, goal, eps=0.5)
    assert (model(x_adv).argmax(1) != goal.labels).all()


def test_onnx_from_the_command_line(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advbench.models.sources.onnx_twin.CONVERTERS", ())
    file = onnx_file(network, tmp_path / "net.onnx")
    arguments = ("--model", file, "--goal", "untargeted", "--out", tmp_path / "out", picture(tmp_path))
    done = run(*arguments, "--attack", "square", "--eps", "0.5")
    assert done.exit_code == 0, done.output
    assert "is run as code" not in done.stderr
    done = run(*arguments, "--attack", "pgd")
    assert done.exit_code == 3
    assert "without a gradient" in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("net.onnx", "as an ONNX file"),
        ("net.pt2", "not a torch.export program"),
        ("net.pt", "not a TorchScript archive"),
    ],
)
def test_damaged_files(
    tmp_path: Path, name: str, message: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("torch.export"), "handlers", [caplog.handler])
    (tmp_path / name).write_bytes(b"PK\x03\x04 nothing that anybody could read")
    with pytest.raises(UserError, match=message) as refused:
        load_model(str(tmp_path / name))
    assert "miniz" not in refused.value.message
    assert not caplog.records  # torch logs a traceback beside its error
    with pytest.raises(UserError, match=f"^model file .*gone{name} cannot be read: No such file or directory"):
        load_model(str(tmp_path / f"gone{name}"))


def test_a_weights_file_is_no_archive(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UserError, match="not a TorchScript archive") as error:
        load_model(str(tmp_path / "weights.pt"))
    assert "--weights FILE" in error.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sizes = 8", r"sizes: unknown key; there are num_classes, input_size, "),
        ("input_sizes = 8", r"input_sizes: unknown key; did you mean input_size\?"),
        ("num_classes = 6", "returns 5 classes, but its description says 6"),
        ("templates = ['a {}']", "templates: a network in a file has no prompts"),
        ("input_size = 0", "input_size: expected input_size >= 1"),
        ("input_size = [8]", r"expected input_size >= 1, or \(height, width\)"),
        ("mean = []", "mean: .* should have at least 1 item"),
        ("std = [0.0, 1.0, 1.0]", "is wrong: expected std > 0"),
        ("mean = [0.5, 0.5]\nstd = [1.0, 1.0, 1.0]", "is wrong: expected as many values in mean as in std"),
        ("input_size", "cannot be read"),
        ("mean = [0.5, 0.5]\nstd = [0.5]", "fails on an image of 8 x 8"),
        ('classes = ["a"]', "has 5 classes, but its description names 1"),
    ],
)
def test_descriptions_that_will_not_do(network: nn.Module, tmp_path: Path, text: str, message: str) -> None:
    exported(network, tmp_path / "net.pt2")
    (tmp_path / "net.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_model(str(tmp_path / "net.pt2"))


def test_one_value_stands_for_all_channels(network: nn.Module, tmp_path: Path, source: Path) -> None:
    colour, grey = (
        load_model(str(exported(network, tmp_path / "net.pt2")), std=0.5),
        load_model(f"{source}:bare", std=2),
    )
    assert (colour.mean, colour.std, grey.std) == ((0.0,) * 3, (0.5,) * 3, (2.0,))
    (tmp_path / "rgb.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten())\n"
    )
    assert load_model(f"{tmp_path / 'rgb.py'}:net", mean=0.5, input_size=8).mean == (0.5,) * 3


def test_weights_and_a_file_that_has_its_own(network: nn.Module, tmp_path: Path) -> None:
    for file in (exported(network, tmp_path / "net.pt2"), onnx_file(network, tmp_path / "net.onnx")):
        with pytest.raises(UserError, match="holds its own weights"):
            load_model(str(file), weights=tmp_path / "other.pt")


def test_keras_files_without_the_package_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    (tmp_path / "net.keras").write_bytes(b"a network")
    with pytest.raises(UserError, match=r"net\.keras needs the package keras, which is not installed") as error:
        load_model(str(tmp_path / "net.keras"))
    assert error.value.hint == 'pip install "advbench[keras]"'


# timm


def test_timm_names_with_a_weights_file(tmp_path: Path) -> None:
    import timm

    module = timm.create_model("test_vit.r160_in1k", pretrained=False).eval()
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    model = load_model("timm/test_vit.r160_in1k", weights=tmp_path / "weights.safetensors")
    x = torch.rand(1, 3, model.input_size, model.input_size)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.mean, model.std))
    torch.testing.assert_close(model(x), module((x - mean) / std), atol=1e-4, rtol=1e-4)
    assert model.classes[292] == "tiger"
    assert model.preprocess(Image.new("RGB", (300, 200))).shape[1:] == (model.input_size, model.input_size)


def test_timm_names_that_do_not_exist() -> None:
    with pytest.raises(UserError, match="timm has no model 'resnet81'"):
        load_model("timm/resnet81")


def test_timm_without_a_network_says_at_once_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waits: list[float] = []
    with socket.socket() as closed:  # nobody listens at its port
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("time.sleep", waits.append)
        with pytest.raises(UserError, match=r"cannot be downloaded: .*refused") as error:
            load_model("timm/resnet18.a1_in1k")
    assert "hf download timm/resnet18.a1_in1k model.safetensors" in error.value.hint
    assert not waits


def test_plain_callables_are_classifiers_too() -> None:
    model = Classifier(lambda x: x.flatten(1)[:, :2], num_classes=2)
    x = torch.rand(3, 1, 2, 2)
    x_adv = attacks.PGD()(model, x, attacks.Untargeted(model(x).argmax(1)), eps=0.9)
    assert x_adv.shape == x.shape

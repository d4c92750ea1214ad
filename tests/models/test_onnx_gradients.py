"""ONNX files as white boxes: onnxruntime answers, and a converted network gives the gradients where the two agree."""

import logging
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save
from torch import nn

import attacks
from advbench import Classifier, load_model
from advbench.catalog import MODELS
from advbench.catalog.registry import resolve
from advbench.catalog.zoo import DATA, ZOO
from advbench.datasets import load_dataset
from advbench.datasets.images.files import read_picture
from advbench.evaluation.checks.model import check_model
from advbench.models.sources import onnx_twin
from advbench.models.sources.onnx_graph import read_graph, rounding, without_copies
from attacks import PGD, Untargeted
from attacks.queries.derivatives import NoGradientError

pytest.importorskip("onnx2torch", reason="needs onnx2torch, of the extra onnx")

SIDE, CLASSES = 8, 5


def exported(network: nn.Module, x: torch.Tensor, file: Path) -> str:
    """A file written by torch's older exporter, for batches of any size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in favour of the newer one, which needs a package of its own
        torch.onnx.export(
            network, (x,), str(file), dynamo=False, opset_version=17, input_names=["x"], dynamic_axes={"x": {0: "n"}}
        )
    return str(file)


def small(*end: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, CLASSES), *end).eval()


def graph(file: Path, *nodes: Any, outputs: int = CLASSES) -> str:
    """A file of nodes from x to y, with a matrix w."""
    weight = np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, CLASSES)).astype(np.float32)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])
    made = helper.make_graph(nodes, "net", [x], [y], [numpy_helper.from_array(weight, "w")])
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(file))
    return str(file)


def remark(model: Classifier) -> str:
    return next(note for note in model.notes if "gradients" in note)


# without gray_forest, a forest of trees, which has no gradient
LARGE = {"cifar10_vgg1", "cifar10_vgg2", "cifar10_vgg3", "cifar10_vgg4"}
NETS = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in ZOO if name != "gray_forest"]


@pytest.mark.parametrize("name", NETS)
def test_the_same_images_are_fooled_as_by_the_original(name: str, tmp_path: Path) -> None:
    card, about = MODELS[name], DATA[ZOO[name].data]
    torch.manual_seed(0)
    original: Classifier = load_model(name) if card.weights_sha256 else resolve(card.builder)(card)
    data = load_dataset("mnist-samples" if card.data == "MNIST" else "cifar10-samples")
    pictures = [data.read(number) for number in range(8)]
    x = torch.stack([each if isinstance(each, torch.Tensor) else original.preprocess(each) for each in pictures])
    shipped = load_model(exported(original, x[:2], tmp_path / "net.onnx"))
    goal = Untargeted(original(x).argmax(1))
    assert (shipped(x) - original(x)).abs().max() < 1e-4
    eps = float(Fraction(about.eps))
    fooled = [PGD(steps=3 if name in LARGE else 10)(model, x, goal, eps=eps) for model in (original, shipped)]
    verdicts = [original(each).argmax(1) != original(x).argmax(1) for each in fooled]
    assert torch.equal(*verdicts)
    # not all: the sign of a gradient that is nearly zero may differ
    assert (fooled[0] - fooled[1]).abs().mean() < 0.01 * eps


def test_answers_are_those_of_onnxruntime_bit_for_bit(tmp_path: Path) -> None:
    model = load_model(exported(small(), torch.rand(2, 3, SIDE, SIDE), tmp_path / "net.onnx"))
    x = torch.rand(3, 3, SIDE, SIDE)
    with torch.no_grad():
        alone = model(x)
    felt = model(x.clone().requires_grad_())
    assert torch.equal(alone, felt.detach())
    assert felt.requires_grad


def test_gradients_are_those_of_the_network(tmp_path: Path) -> None:
    network = small()
    model = load_model(exported(network, torch.rand(2, 3, SIDE, SIDE), tmp_path / "net.onnx"))
    x = torch.rand(3, 3, SIDE, SIDE, requires_grad=True)
    (ours,), (theirs,) = (torch.autograd.grad(each(x)[:, 1].sum(), x) for each in (model, network))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_file_is_no_defence(tmp_path: Path) -> None:
    model = load_model(exported(small(), torch.rand(1, 3, SIDE, SIDE), tmp_path / "net.onnx"))
    x = torch.rand(8, 3, SIDE, SIDE)
    assert attacks.inside(model, x).findings == ()
    assert not {"M6", "M7", "M8"} & {flag.id for flag in check_model(model, x, dataset="toy")}


def test_it_says_where_its_gradients_come_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="advbench.models"):
        model = load_model(exported(small(), torch.rand(2, 3, SIDE, SIDE), tmp_path / "net.onnx"))
    assert remark(model).endswith("net.onnx: gradients come from a network that onnx2torch made of it")
    assert remark(model) in caplog.messages


@pytest.mark.parametrize("end", [nn.Softmax(dim=1), nn.LogSoftmax(dim=1)], ids=["softmax", "log-softmax"])
def test_a_final_softmax_is_left_out(end: nn.Module, tmp_path: Path) -> None:
    model = load_model(exported(small(end), torch.rand(2, 3, SIDE, SIDE), tmp_path / "net.onnx"))
    x = torch.rand(3, 3, SIDE, SIDE)
    torch.testing.assert_close(model(x), small()(x), atol=1e-5, rtol=1e-5)
    assert "the Softmax at its end is left out" in remark(model)


def test_one_that_rounds_stays_a_black_box(tmp_path: Path) -> None:
    nodes = (
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Round", ["f"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    )
    model = load_model(graph(tmp_path / "net.onnx", *nodes))
    assert "it has no gradients, because it rounds (Round)" in remark(model)
    x = torch.rand(2, 3, SIDE, SIDE)
    with pytest.raises(NoGradientError, match="gradient"):
        PGD(steps=2)(model, x, Untargeted(model(x).argmax(1)), eps=0.1)
    attacks.Square(steps=5)(model, x, Untargeted(model(x).argmax(1)), eps=0.1)


def test_one_that_no_package_converts_stays_a_black_box(tmp_path: Path) -> None:
    nodes = (
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Mish", ["m"], ["h"], domain=""),
        helper.make_node("Hardmax", ["h"], ["y"]),
    )
    model_file = tmp_path / "net.onnx"
    graph(model_file, *nodes)
    loaded = read_graph(model_file)
    assert loaded is not None
    loaded.opset_import[0].version = 18
    save(loaded, str(model_file))
    told = remark(load_model(str(model_file)))
    assert "it has no gradients, because onnx2torch: " in told


def test_a_network_that_answers_differently_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def converters() -> Any:
        yield "wrong", lambda _: small()
        yield "deaf", lambda _: nn.Sequential(nn.Flatten(), nn.Linear(3, 3))

    monkeypatch.setattr(onnx_twin, "_converters", converters)
    torch.manual_seed(1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES))
    told = remark(load_model(exported(other, torch.rand(2, 3, SIDE, SIDE), tmp_path / "net.onnx")))
    assert "wrong: its answers differ from onnxruntime's by up to " in told
    assert "; deaf: mat1 and mat2 shapes cannot be multiplied" in told


def test_without_a_package_that_converts_it_is_a_black_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_twin, "CONVERTERS", ("no_such_package",))
    told = remark(load_model(exported(small(), torch.rand(2, 3, SIDE, SIDE), tmp_path / "net.onnx")))
    assert told.endswith('no package that converts it is installed: pip install "advbench[onnx]"')


def test_weights_that_are_copied_because_they_are_equal(tmp_path: Path) -> None:
    nodes = (
        helper.make_node("Identity", ["w"], ["copy"]),
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "copy"], ["y"]),
    )
    file = tmp_path / "net.onnx"
    model = load_model(graph(file, *nodes))
    assert model(torch.rand(2, 3, SIDE, SIDE, requires_grad=True)).requires_grad
    before = read_graph(file)
    assert before is not None
    assert [node.op_type for node in without_copies(before).graph.node] == ["Flatten", "MatMul"]
    assert len(before.graph.node) == 3
    assert rounding(before) == ""


def test_the_batch_may_be_fixed(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(small(), (torch.rand(2, 3, SIDE, SIDE),), str(file), dynamo=False, opset_version=17)
    x = torch.rand(3, 3, SIDE, SIDE, requires_grad=True)
    model = load_model(str(file))
    torch.testing.assert_close(model(x), small()(x), atol=1e-5, rtol=1e-5)
    assert model(x).requires_grad


def test_photographs_are_what_the_two_are_compared_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def reading(path: Path) -> Any:
        read.append(path)
        return read_picture(path)

    monkeypatch.setattr("advbench.models.sources.onnx.read_picture", reading)
    load_model(exported(small(), torch.rand(2, 3, SIDE, SIDE), tmp_path / "net.onnx"))
    assert [path.stem.rpartition("_")[0] for path in read] == ["imagenet_00", "imagenet_01", "imagenet_02"]


def test_one_that_fails_on_several_images_says_so(tmp_path: Path) -> None:
    nodes = (
        helper.make_node("Reshape", ["x", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    )
    file = tmp_path / "net.onnx"
    weight = np.zeros((3 * SIDE * SIDE, CLASSES), np.float32)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES])
    held = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1, 3 * SIDE * SIDE]), "shape")]
    made = helper.make_graph(nodes, "net", [x], [y], held)
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(file))
    model = load_model(str(file))
    assert "it has no gradients, because it fails on photographs: " in remark(model)
    assert model(torch.rand(1, 3, SIDE, SIDE)).shape == (1, CLASSES)

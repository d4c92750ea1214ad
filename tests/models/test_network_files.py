"""What networks in files take and give: several outputs, other types and orders of images, sizes that are no square."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save
from torch import Tensor, nn

from advbench import Classifier, load_model
from advbench.config.model_description import Description
from advbench.errors import UserError

SIDE, CLASSES = 4, 5
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
WEIGHT = np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, CLASSES)).astype(np.float32)


def expected(x: Tensor) -> Tensor:
    return x.flatten(1) @ torch.from_numpy(WEIGHT)


def onnx(
    file: Path,
    outputs: Sequence[tuple[str, int, Sequence[Any]]],
    *,
    shape: Sequence[Any] = ("n", 3, SIDE, SIDE),
    kind: int = FLOAT,
    weight: np.ndarray = WEIGHT,
    more: Sequence[Any] = (),
) -> str:
    """An ONNX file that flattens its images and multiplies them with a matrix; ``outputs`` are what it shows."""
    nodes = [helper.make_node("Flatten", ["x"], ["features"]), helper.make_node("MatMul", ["features", "w"], ["y"])]
    graph = helper.make_graph(
        [*nodes, *more],
        "net",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(weight, "w")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(file))
    return str(file)


FEATURES, Y = ("features", FLOAT, ["n", 48]), ("y", FLOAT, ["n", CLASSES])


def renamed(name: str) -> tuple[Any, Any]:
    """A node that gives the answer under another name, and that output."""
    return helper.make_node("Identity", ["y"], [name]), (name, FLOAT, ["n", CLASSES])


def same(model: Classifier, x: Tensor | None = None) -> None:
    x = torch.rand(3, 3, SIDE, SIDE) if x is None else x
    torch.testing.assert_close(model(x), expected(x), atol=1e-2, rtol=1e-2)


# several outputs


def test_of_several_outputs_none_is_guessed(tmp_path: Path) -> None:
    name = onnx(tmp_path / "net.onnx", [FEATURES, Y])
    with pytest.raises(UserError, match=r"net.onnx has 2 outputs.*: features \(1, 48\), y \(1, 5\)") as error:
        load_model(name)
    assert error.value.hint == f'name it with --output, or in {tmp_path / "net.toml"}, such as: output = "y"'


def test_the_description_names_one(tmp_path: Path) -> None:
    name = onnx(tmp_path / "net.onnx", [FEATURES, Y])
    (tmp_path / "net.toml").write_text('output = "y"')
    same(load_model(name))
    (tmp_path / "net.toml").write_text('output = "z"')
    with pytest.raises(UserError, match=r"net.onnx has no output 'z'") as error:
        load_model(name)
    assert error.value.hint == "it has: features (1, 48), y (1, 5)"


def test_what_is_said_in_python_goes_before_the_file(tmp_path: Path) -> None:
    name = onnx(tmp_path / "net.onnx", [FEATURES, Y])
    (tmp_path / "net.toml").write_text('output = "features"')
    same(load_model(name, about=Description(output="y")))


@pytest.mark.parametrize("name", ["lenet", "trained.safetensors", "timm/resnet18.a1_in1k"])
def test_other_models_take_no_description(name: str) -> None:
    with pytest.raises(UserError, match="already defines its input and its classes"):
        load_model(name, about=Description(mean=(0.5,)))


def test_one_that_is_called_logits_is_taken(tmp_path: Path) -> None:
    node, output = renamed("logits")
    same(load_model(onnx(tmp_path / "net.onnx", [FEATURES, output], more=[node])))


def test_labels_are_no_logits(tmp_path: Path) -> None:
    node = helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0)
    label = ("label", INT64, ["n"])
    with pytest.raises(UserError, match=r"label \(1,\) int64, y \(1, 5\)"):
        load_model(onnx(tmp_path / "both.onnx", [label, Y], more=[node]))
    with pytest.raises(UserError, match=r"output label of .*label.onnx holds no logits: expected logits") as error:
        load_model(onnx(tmp_path / "label.onnx", [label], more=[node]))
    assert "export the network up to its logits" in error.value.hint
    (tmp_path / "both.toml").write_text('output = "label"')
    with pytest.raises(UserError, match=r"output label of .*both.onnx holds no logits") as error:
        load_model(str(tmp_path / "both.onnx"))
    assert 'output = "y"' in error.value.hint


def test_one_logit_is_made_into_two(tmp_path: Path) -> None:
    name = onnx(tmp_path / "net.onnx", [("y", FLOAT, ["n", 1])], weight=WEIGHT[:, :1].copy())
    model, x = load_model(name), torch.rand(3, 3, SIDE, SIDE)
    assert model.num_classes == 2
    torch.testing.assert_close(model(x)[:, 0], torch.zeros(3))
    torch.testing.assert_close(model(x)[:, 1], expected(x)[:, 0], atol=1e-2, rtol=1e-2)


class Pair(NamedTuple):
    features: Tensor
    logits: Tensor


class Several(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.from_numpy(WEIGHT))

    def forward(self, x: Tensor) -> Any:
        features = x.flatten(1)
        logits = features @ self.weight
        match self.kind:
            case "logits":
                return {"features": features, "logits": logits}
            case "names":
                return {"features": features, "answer": logits}
            case "one":
                return (logits,)
            case "pair":
                return Pair(features, logits)
        return features, logits


def program(file: Path, kind: str) -> str:
    network, x = Several(kind).eval(), torch.rand(2, 3, SIDE, SIDE)
    if file.suffix == ".pt2":
        torch.export.save(torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("n")},)), file)
        return str(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.trace(network, x, strict=False).save(str(file))
    return str(file)


@pytest.mark.parametrize("ending", ["pt", "pt2"])
@pytest.mark.parametrize(
    ("kind", "output", "listed"),
    [
        ("several", 1, "0 (1, 48), 1 (1, 5)"),
        ("names", '"answer"', "features (1, 48), answer (1, 5)"),
        ("logits", None, ""),
        ("one", None, ""),
    ],
)
def test_programs_with_several_outputs(tmp_path: Path, ending: str, kind: str, output: Any, listed: str) -> None:
    name, description = program(tmp_path / f"net.{ending}", kind), tmp_path / "net.toml"
    description.write_text(f"input_size = {SIDE}\n")
    if listed:
        with pytest.raises(UserError, match="it is unclear which holds the logits") as error:
            load_model(name)
        assert error.value.message.endswith(f": {listed}")
        assert error.value.hint.endswith(f"such as: output = {output}")
        description.write_text(f"input_size = {SIDE}\noutput = {output}")
    same(load_model(name))


def test_a_program_with_several_inputs(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x.flatten(1) + y.flatten(1)

    x = torch.rand(2, 3, SIDE, SIDE)
    torch.export.save(torch.export.export(Two(), (x, x)), tmp_path / "net.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Two(), (x, x)).save(str(tmp_path / "net.pt"))
    for ending in ("pt", "pt2"):
        with pytest.raises(UserError, match="does not take one batch of images") as error:
            load_model(str(tmp_path / f"net.{ending}"))
        assert "file.py:function" in error.value.hint


# what they take


@pytest.mark.parametrize(("kind", "dtype"), [(TensorProto.FLOAT16, np.float16), (TensorProto.DOUBLE, np.float64)])
def test_floats_of_other_lengths_are_turned_into_them(tmp_path: Path, kind: int, dtype: type) -> None:
    name = onnx(tmp_path / "net.onnx", [("y", kind, ["n", CLASSES])], kind=kind, weight=WEIGHT.astype(dtype))
    model = load_model(name)
    assert model(torch.rand(2, 3, SIDE, SIDE)).dtype == torch.float32
    same(model)


def test_whole_numbers_have_no_small_changes(tmp_path: Path) -> None:
    name = onnx(
        tmp_path / "net.onnx", [("y", INT64, ["n", CLASSES])], kind=INT64, weight=WEIGHT.astype(np.int64)
    )  # fmt: skip
    with pytest.raises(UserError, match="takes images of type int64, which has no values between 0 and 1") as error:
        load_model(name)
    assert "takes floats" in error.value.hint


def test_a_program_of_doubles(tmp_path: Path) -> None:
    network = Several("one").double().eval()
    exported = torch.export.export(network, (torch.rand(2, 3, SIDE, SIDE).double(),))
    torch.export.save(exported, tmp_path / "net.pt2")
    same(load_model(str(tmp_path / "net.pt2")))


@pytest.mark.parametrize("size", [SIDE, "h"])
def test_channels_that_come_last(tmp_path: Path, size: Any) -> None:
    name = onnx(tmp_path / "net.onnx", [Y], shape=["n", size, size, 3])
    (tmp_path / "net.toml").write_text(f"input_size = {SIDE}")
    x = torch.rand(3, 3, SIDE, SIDE)
    torch.testing.assert_close(load_model(name)(x), expected(x.permute(0, 2, 3, 1)), atol=1e-5, rtol=1e-5)


def test_a_network_for_grey_images_needs_no_description(tmp_path: Path) -> None:
    name = onnx(tmp_path / "net.onnx", [Y], shape=["n", 1, SIDE, SIDE], weight=WEIGHT[: SIDE * SIDE].copy())
    model = load_model(name)
    assert model(torch.rand(2, 1, SIDE, SIDE)).shape == (2, CLASSES)
    assert model.mean == (0.0,)


def test_an_input_that_is_no_square(tmp_path: Path) -> None:
    name = onnx(tmp_path / "net.onnx", [Y], shape=["n", 3, 2, 8])
    model = load_model(name)
    assert model.input_size == (2, 8)
    same(model, torch.rand(2, 3, 2, 8))
    file = Path(program(tmp_path / "other.pt", "one"))
    (tmp_path / "other.toml").write_text("input_size = [2, 8]")
    assert load_model(str(file)).input_size == (2, 8)


def test_a_vector_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not take one batch of images \(N, C, H, W\): x \['n', 48\]"):
        load_model(onnx(tmp_path / "net.onnx", [Y], shape=["n", 48]))

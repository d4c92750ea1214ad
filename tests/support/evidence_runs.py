"""Small runs that keep their images, a network of which there is also an ONNX file, and archives tampered with."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

import advbench
from advbench.datasets.dataset import Dataset
from advbench.evidence.standalone import MARK
from advbench.models.classifier import Classifier
from advbench.records.storage.checksum import BLANK, sealed

CLASSES, SHAPE, HIDDEN = 6, (3, 5, 5), 16
GOALS = ("untargeted", "targeted:2", "topk-exclusion:2", "label-out-of-topk:2", "ordered-topk:1,3")
ATTACKS = [
    {"name": "pgd", "params": {"steps": 10}, "norms": "linf"},
    {"name": "fmn", "params": {"steps": 40}, "norms": ["l2", "l1"]},
    {"name": "sigma_zero", "params": {"steps": 60}, "norms": "l0"},
]
EPS = {"linf": ["12/255", "30/255"], "l2": [0.6, 1.5], "l1": [6.0, 12.0], "l0": [8, 20]}
NETS = """
import torch
from evidence_runs import network

def net():
    return network()

def other():
    return network(seed=1)
"""


def network(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> nn.Sequential:
    """A perceptron with seeded weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, last = nn.Linear(shape[0] * shape[1] * shape[2], HIDDEN), nn.Linear(HIDDEN, CLASSES)
    for each in (first, last):
        each.weight.data.mul_(4)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)


def classifier(net: nn.Module | None = None) -> Classifier:
    """The network as a run takes it, and as it is loaded from a file of code."""
    net = network() if net is None else net
    channels = 1 if net[1].in_features == 36 else 3
    return Classifier(net, num_classes=CLASSES, mean=[0.0] * channels, std=[1.0] * channels, name="net")


def as_onnx(
    net: nn.Sequential, shape: tuple[int, int, int] = SHAPE, *, softmax: bool = False, batch: Any = "n"
) -> bytes:
    """The same network as an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {f"w{i}": net[i].weight for i in (1, 3)} | {f"b{i}": net[i].bias for i in (1, 3)}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w3", "b3"], ["z" if softmax else "y"], transB=1),
        *([helper.make_node("Softmax", ["z"], ["y"], axis=1)] if softmax else []),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(value.detach().numpy(), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return model.SerializeToString()


def images(count: int = 12, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """Random images of 8 bits."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), generator=generator).to(torch.float32) / 255


def dataset(model: Classifier, x: Tensor, *, labelled: bool = True) -> Dataset:
    """Images with the model's own answers for labels; but the label of the first image is another."""
    labels = model(x).argmax(1).tolist()
    labels[0] = (labels[0] + 1) % CLASSES
    return Dataset(
        name="d", images=tuple(map(str, range(len(x)))), labels=tuple(labels) if labelled else None, read=x.__getitem__
    )


class Noisy(nn.Module):
    """A network whose answers are random."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return logits + torch.randn(logits.shape) / 10


def run(
    folder: Path, *, x: Tensor | None = None, labelled: bool = True, model: Classifier | None = None, **suite: Any
) -> Path:
    """A run with every goal and every norm that keeps its images; keywords change the suite."""
    x = images() if x is None else x
    model = classifier(network(tuple(x.shape[1:]))) if model is None else model
    asked = {"name": "evidence", "models": "net", "datasets": "d", "save": "all", "noise": False} | {
        "attacks": ATTACKS, "goals": list(GOALS), "norms": list(EPS), "eps": EPS,
    }  # fmt: skip
    models = dict.fromkeys(["net", *suite.get("models", [])], model)
    advbench.run(asked | suite, out=folder, models=models, datasets={"d": dataset(model, x, labelled=labelled)})
    return folder


def members(content: bytes) -> dict[str, bytes]:
    """The files of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(files: dict[str, bytes], *, seal: bool = True) -> bytes:
    """An archive of these files, with a digest that is right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
        file.comment = BLANK.encode() if seal else MARK + b"0" * 64
    return sealed(buffer.getvalue()) if seal else buffer.getvalue()


def edited(content: bytes, change: Any) -> bytes:
    """An archive whose claims somebody has edited, and everything else made to fit."""
    files = members(content)
    claims = json.loads(files["claims.json"])
    change(claims)
    files["claims.json"] = json.dumps(claims, sort_keys=True, separators=(",", ":")).encode()
    return packed(files)


def png(values: Any) -> bytes:
    """A picture as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def opened(content: bytes) -> Any:
    """The picture in a PNG."""
    return Image.open(io.BytesIO(content))

"""Write a network that was read as an ONNX file. Needs the package onnx (extra `onnx`)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advbench.errors import not_installed
from advbench.proofs.network.arrangements import Cat, Constant, Mixing, Reshape, Sum
from advbench.proofs.network.graph import Network, Node
from advbench.proofs.network.operations import Conv, Dense, Scale
from advbench.proofs.network.relaxations import Activation

OPSET, IR = 13, 8
"""Versions that every verifier in the competitions supports."""
MOST_ENTRIES = 2**24
"""Maximum number of entries of the matrix that a pooling is written as."""


def as_onnx(network: Network) -> bytes:
    """Convert the network to ONNX in float32, for one image: input `X` (1, *shape), output `Y` (1, classes).

    Args:
        network: Network as read, in float64.

    Raises:
        UserError: The package onnx is not installed.
        ValueError: A pooling or a slice is too large to be written as a matrix.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        raise not_installed("writing ONNX files", "onnx", "onnx") from error
    file = _File(network)
    for i, node in enumerate(network.nodes):
        file.add(i, node)
    shape = (1, *network.nodes[0].shape)
    graph = helper.make_graph(
        [*file.nodes, helper.make_node("Identity", [_name(len(network.nodes) - 1)], ["Y"])],
        "network",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (1, *network.nodes[-1].shape))],
        file.values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    content: bytes = model.SerializeToString()
    return content


def _name(i: int) -> str:
    return f"v{i}" if i else "X"


class _File:
    """The nodes and the constants of an ONNX graph."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes: list[Any] = []
        self.values: list[Any] = []

    def add(self, i: int, node: Node) -> None:
        """Write one node to the graph."""
        operation, inputs, out = node.operation, [_name(j) for j in node.inputs], _name(i)
        if isinstance(operation, Dense):
            constants = [self._value(operation.weight), self._value(operation.bias)]
            self._node("Gemm", [*inputs, *constants], out, transB=1)
        elif isinstance(operation, Conv):
            self._conv(operation, inputs, out)
        elif isinstance(operation, Scale):
            self._node("Mul", [*inputs, self._value(operation.factor)], f"{out}_scaled")
            self._node("Add", [f"{out}_scaled", self._value(operation.shift)], out)
        elif isinstance(operation, Reshape):
            self._node("Reshape", [*inputs, self._shape(operation.after)], out)
        elif isinstance(operation, Sum):
            self._sum(operation, inputs, out)
        elif isinstance(operation, Cat):
            self._node("Concat", inputs, out, axis=operation.dim)
        elif isinstance(operation, Constant):
            self._node("Identity", [self._value(operation.value.expand(1, *node.shape))], out)
        elif isinstance(operation, Mixing):
            self._mixing(operation, node.shape, inputs, out)
        elif isinstance(operation, Activation):
            self._activation(operation, inputs, out)

    def _conv(self, conv: Conv, inputs: Sequence[str], out: str) -> None:
        attributes = {
            "strides": conv.stride, "pads": (*conv.padding, *conv.padding), "dilations": conv.dilation,
            "group": conv.groups,
        }  # fmt: skip
        self._node("Conv", [*inputs, self._value(conv.weight), self._value(conv.bias)], out, **attributes)

    def _sum(self, operation: Sum, inputs: Sequence[str], out: str) -> None:
        before = inputs[0]
        if operation.signs[0] < 0:
            self._node("Neg", [before], f"{out}_0")
            before = f"{out}_0"
        for place, (sign, each) in enumerate(zip(operation.signs[1:], inputs[1:], strict=True), 1):
            after = out if place == len(inputs) - 1 else f"{out}_{place}"
            self._node("Add" if sign > 0 else "Sub", [before, each], after)
            before = after
        if len(inputs) == 1:
            self._node("Identity", [before], out)

    def _mixing(self, operation: Mixing, shape: tuple[int, ...], inputs: Sequence[str], out: str) -> None:
        size, width = math.prod(operation.shape), math.prod(shape)
        if size * width > MOST_ENTRIES:
            raise ValueError(f"expected a pooling or slice of at most {MOST_ENTRIES} entries, got {size} x {width}")
        matrix = operation.function(torch.eye(size, dtype=torch.float64).view(size, *operation.shape)).reshape(size, -1)
        self._node("Reshape", [*inputs, self._shape((size,))], f"{out}_flat")
        self._node("MatMul", [f"{out}_flat", self._value(matrix)], f"{out}_mixed")
        self._node("Reshape", [f"{out}_mixed", self._shape(shape)], out)

    def _activation(self, operation: Activation, inputs: Sequence[str], out: str) -> None:
        if operation.name == "relu" and operation.leak:
            self._node("LeakyRelu", inputs, out, alpha=operation.leak)
        else:
            self._node({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[operation.name], inputs, out)

    def _node(self, kind: str, inputs: Sequence[str], out: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))

    def _value(self, value: Tensor) -> str:
        return self._constant(value.detach().cpu().numpy().astype(np.float32))

    def _shape(self, shape: Sequence[int]) -> str:
        return self._constant(np.array([1, *shape], np.int64))

    def _constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.values)}"
        self.values.append(numpy_helper.from_array(value, name))
        return name

"""Edit the graph of an ONNX file before it is run or converted. Needs the package onnx."""

from pathlib import Path
from typing import Any

_PASSED_ON = ("Identity", "Cast", "Flatten", "Reshape", "Squeeze")
"""Operations that pass on the values of their first input."""
_ROUNDING = (
    *("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
    *("Round", "Sign"),
)
"""Operations whose gradient is 0 almost everywhere: with a skip connection around one, the rest of the gradient
misleads."""
_DEFAULT_DOMAIN = ("", "ai.onnx")


def read_graph(file: Path) -> Any | None:
    """The content of an ONNX file, including weights in separate files next to it.

    Args:
        file: File that onnxruntime has read without errors.

    Returns:
        An `onnx.ModelProto`; None if the package onnx is not installed, or cannot read the file.
    """
    try:
        import onnx
    except ImportError:
        return None
    try:
        return onnx.load(str(file))
    except Exception:  # protobuf's and onnx's errors have no common class
        return None


def without_softmax(model: Any) -> bool:
    """Make the output return the logits that go into a final Softmax.

    Args:
        model: `onnx.ModelProto` with one output; it is changed.

    Returns:
        Whether there was such a Softmax, over the last axis or the classes (N, C).
    """
    if len(model.graph.output) != 1:
        return False
    made_by = {name: node for node in model.graph.node for name in node.output}
    node = made_by.get(model.graph.output[0].name)
    while node is not None and node.op_type in _PASSED_ON:
        node = made_by.get(node.input[0])
    if node is None or node.op_type not in ("Softmax", "LogSoftmax") or _axis(node) not in (1, -1):
        return False
    # An Identity in its place keeps the names and the order of the nodes unchanged.
    node.op_type = "Identity"
    del node.attribute[:]
    return True


def without_copies(model: Any) -> Any:
    """The same graph, without Identity nodes that copy weights, which converters do not expect.

    Exporters write such copies for weights that are equal.

    Args:
        model: `onnx.ModelProto`, left unchanged.

    Returns:
        A new graph, or the same object if there are no such copies.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    if not any(node.op_type == "Identity" and node.input[0] in weights for node in model.graph.node):
        return model
    changed = type(model)()
    changed.CopyFrom(model)
    shown = {output.name for output in changed.graph.output}
    origin: dict[str, str] = {}
    kept = []
    for node in changed.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = origin.get(name, name)
        copied = node.op_type == "Identity" and node.input[0] in weights and node.output[0] not in shown
        if copied:
            origin[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del changed.graph.node[:]
    changed.graph.node.extend(kept)
    return changed


def rounding(model: Any) -> str:
    """The first operation of a graph that rounds and so blocks the gradient; empty if there is none.

    Args:
        model: Graph as an `onnx.ModelProto`.
    """
    found = [node.op_type for node in model.graph.node if node.op_type in _ROUNDING and node.domain in _DEFAULT_DOMAIN]
    return found[0] if found else ""


def _axis(node: Any) -> int:
    """Axis of a Softmax; the old default, 1, flattens what follows, which makes no difference for (N, C)."""
    return next((int(each.i) for each in node.attribute if each.name == "axis"), -1)

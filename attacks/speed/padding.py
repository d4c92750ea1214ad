"""Zero padding before convolutions, moved into the convolutions themselves."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import fx, nn
from torch.nn import functional

from attacks.speed.calls import arguments, called_convolution, convolution
from attacks.speed.tracing import drop

_PAD = ("input", "pad", "mode", "value")


def absorb_padding(traced: fx.GraphModule) -> None:
    """Let convolutions do the padding done by a step before them or by their own code, as in ports from TensorFlow.

    Making the padded copy takes about as long as a depthwise convolution of it. A depthwise convolution with asymmetric
    padding gets a larger kernel with zeros on one side, which costs almost nothing; others stay unchanged.

    Args:
        traced: Network in eval mode, modified in place.

    Example:
        >>> traced = fx.symbolic_trace(nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3)))
        >>> absorb_padding(traced)
        >>> [layer.padding for layer in traced.modules() if isinstance(layer, nn.Conv2d)]
        [(1, 1)]
    """
    graph = traced.graph
    used = Counter(node.target for node in graph.nodes)
    for node in list(graph.nodes):
        layer = _convolution(traced, node) if node.op != "call_module" or used[node.target] == 1 else None
        if layer is None:
            continue
        source = node.all_input_nodes[0]
        border = _border(traced, source) if len(source.users) == 1 else None
        wider = _wider(layer, border) if border else None
        if wider is None and node.op == "call_module":
            continue
        name = f"padding_{node.name}"
        traced.add_submodule(name, wider or layer)
        with graph.inserting_before(node):
            new = graph.call_module(name, (source.all_input_nodes[0] if wider else source,))
        node.replace_all_uses_with(new)
        drop(node)
        if wider:
            drop(source)
    graph.lint()
    traced.delete_all_unused_submodules()
    traced.recompile()


def _convolution(traced: fx.GraphModule, node: fx.Node) -> nn.Conv2d | None:
    """The step as a plain torch convolution; None if it is something else."""
    if node.op == "call_function":
        return called_convolution(traced, node)
    layer = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
    # Derived layers are traced into where possible, and may do anything where not.
    if not isinstance(layer, nn.Conv2d) or type(layer) is not nn.Conv2d or len(node.all_input_nodes) != 1:
        return None
    return layer


def _border(traced: fx.GraphModule, node: fx.Node) -> Sequence[int] | None:
    """Number of zeros a step adds to images on the left, right, top and bottom; None if it does something else."""
    layer = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
    sides: Any = None
    if type(layer) is nn.ZeroPad2d or (type(layer) is nn.ConstantPad2d and layer.value == 0):
        sides = layer.padding
    elif node.op == "call_function" and node.target is functional.pad:
        given = arguments(node, _PAD, mode="constant", value=None)
        sides = given["pad"] if given["mode"] == "constant" and given["value"] in (None, 0) else None
    if not isinstance(sides, Sequence) or len(sides) != 4 or not all(isinstance(each, int) for each in sides):
        return None
    return sides if min(sides) >= 0 else None


def _wider(layer: nn.Conv2d, border: Sequence[int]) -> nn.Conv2d | None:
    """A convolution that first adds a border of zeros to its images; None if that would take longer."""
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    high, wide = layer.padding
    left, right, top, bottom = (side + own for side, own in zip(border, (wide, wide, high, high), strict=True))
    padding = max(top, bottom), max(left, right)
    # A window that begins further out, with zeros in its kernel there, gives the same result.
    zeros = padding[1] - left, padding[1] - right, padding[0] - top, padding[0] - bottom
    depthwise = 1 < layer.groups == layer.in_channels and layer.dilation == (1, 1)
    if any(zeros) and not depthwise:
        return None
    weight = functional.pad(layer.weight, zeros) if any(zeros) else layer.weight
    settings = {name: getattr(layer, name) for name in ("stride", "dilation", "groups")}
    return convolution(weight, layer.bias, padding=padding, **settings)

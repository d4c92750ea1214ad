"""Calls of torch's functions with a network's own weights, read as equivalent layers."""

from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional

_CONV2D = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def arguments(node: fx.Node, names: tuple[str, ...], **defaults: Any) -> dict[str, Any]:
    """The arguments of a call, by name.

    Args:
        node: Node that calls a function.
        names: Names of the function's parameters, in order.
        defaults: Default values of optional parameters.
    """
    return defaults | dict(zip(names, node.args, strict=False)) | node.kwargs


def called_convolution(traced: fx.GraphModule, node: fx.Node) -> nn.Conv2d | None:
    """The layer equivalent to a call of :func:`torch.nn.functional.conv2d`; None if the step does something else."""
    if node.op != "call_function" or node.target is not functional.conv2d:
        return None
    given = arguments(node, _CONV2D, bias=None, stride=1, padding=0, dilation=1, groups=1)
    weights = _weights(traced, node, given, _CONV2D[1:3])
    if weights is None or weights["weight"] is None:
        return None
    return convolution(weights["weight"], weights["bias"], **given)


def convolution(weight: Tensor, bias: Tensor | None, **settings: Any) -> nn.Conv2d:
    """A convolution with these weights.

    Args:
        weight: (out, in / groups, H, W).
        bias: (out,) or None.
        settings: The other arguments of :func:`torch.nn.functional.conv2d`.

    Example:
        >>> import torch
        >>> convolution(torch.zeros(4, 1, 3, 3), None, groups=2)
        Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), groups=2, bias=False)
    """
    outputs, inputs, height, width = weight.shape
    inputs *= settings.get("groups", 1)
    layer = nn.Conv2d(inputs, outputs, (height, width), bias=bias is not None, device="meta", **settings)
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
    return layer.eval()


def called_norm(traced: fx.GraphModule, node: fx.Node) -> nn.BatchNorm2d | None:
    """The layer equivalent to a call of :func:`torch.nn.functional.batch_norm` in eval mode; None for anything else.

    It is a two-dimensional one, whatever the step normalises.
    """
    if node.op != "call_function" or node.target is not functional.batch_norm:
        return None
    given = arguments(node, _NORM, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5)
    weights = _weights(traced, node, given, _NORM[1:5])
    if weights is None or weights["running_mean"] is None or given["training"] is not False:
        return None
    layer = nn.BatchNorm2d(len(weights["running_mean"]), eps=given["eps"], device="meta")
    for name in ("running_mean", "running_var"):
        layer.register_buffer(name, weights[name])
    for name in ("weight", "bias"):
        value = weights[name]
        layer.register_parameter(name, None if value is None else nn.Parameter(value.detach(), requires_grad=False))
    return layer.eval()


def _weights(
    traced: fx.GraphModule, node: fx.Node, given: dict[str, Any], names: tuple[str, ...]
) -> dict[str, Tensor | None] | None:
    """The tensors passed to a call under these names; None if any of them, or another argument, is computed.

    They and the image are removed from ``given``.
    """
    image, nodes = given.pop("input", None), {name: given.pop(name) for name in names}
    if image is not node.all_input_nodes[0] or any(isinstance(each, fx.Node) for each in given.values()):
        return None
    if not all(each is None or (isinstance(each, fx.Node) and each.op == "get_attr") for each in nodes.values()):
        return None
    return {name: None if each is None else attrgetter(each.target)(traced) for name, each in nodes.items()}

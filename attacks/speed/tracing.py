"""Networks traced by torch.fx."""

import operator
from contextlib import suppress
from typing import Any, TypeGuard

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

_CHECKS = (torch._assert, getattr, operator.eq)
"""Operations that make up checks of shapes."""


_DERIVED = ((nn.Conv2d, _BatchNorm), (_BatchNorm,), ())
"""Layers whose derived classes are traced into, from the most to the fewest. Most of those do something else as well:
such convolutions pad, as in ports from TensorFlow, and timm's batch norms apply the activation."""


class _Tracer(fx.Tracer):
    """Treats every layer with weights as one step.

    Args:
        opens: Classes of layers whose derived classes with custom code are traced into.
    """

    def __init__(self, opens: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self._opens = opens

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, self._opens) and not (type(m) is nn.Conv2d or normalises(m)):
            return False
        return isinstance(m, _ConvNd | nn.Linear | _BatchNorm) or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Refuse code that switches gradients off or half precision on, which cannot be traced."""
        if not torch.is_grad_enabled() or any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
            raise ValueError("expected a network that does not switch modes, got one that does")
        return super().create_node(*args, **kwargs)


def normalises(layer: nn.Module | None) -> TypeGuard[_BatchNorm]:
    """Whether a layer is a batch norm and nothing else.

    Example:
        >>> normalises(nn.BatchNorm2d(3)), normalises(nn.ReLU())
        (True, False)
    """
    return isinstance(layer, _BatchNorm) and type(layer).forward is _BatchNorm.forward


def trace(module: nn.Module) -> fx.GraphModule:
    """The steps of a module's code; layers with weights are one step each, except the module itself.

    Raises:
        Exception: Of any type, if its code cannot be traced because it looks at values or shapes, or switches modes.

    Example:
        >>> [node.op for node in trace(nn.Sequential(nn.Flatten(), nn.Linear(12, 5))).graph.nodes]
        ['placeholder', 'call_module', 'call_module', 'output']
    """
    # The forward of the class is traced.
    if type(module).__call__ is not nn.Module.__call__ and not isinstance(module, fx.GraphModule):
        raise ValueError("expected a network with torch's own call, got another")
    with torch.enable_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        graph = _traced(module)
    # A value used by a check has an additional use, and could not be folded.
    graph.eliminate_dead_code(is_impure_node=lambda node: node.target not in _CHECKS)
    return fx.GraphModule(module, graph)


def _traced(module: nn.Module) -> fx.Graph:
    """The steps of a module's code, with the code of as many derived layers as can be traced."""
    *most, none = _DERIVED
    for opens in most:
        with suppress(Exception):  # the cause may be one of those layers
            return _Tracer(opens).trace(module)
    return _Tracer(none).trace(module)


def drop(node: fx.Node) -> None:
    """Erase a step whose result is no longer used, and the weights that only it used.

    Example:
        >>> graph = trace(nn.Sequential(nn.Flatten(), nn.Linear(12, 5))).graph
        >>> _, flatten, linear, output = graph.nodes
        >>> output.replace_input_with(linear, flatten)
        >>> drop(linear)
        >>> len(graph.nodes)
        3
    """
    given = node.all_input_nodes
    node.graph.erase_node(node)
    for each in given:
        if each.op == "get_attr" and not each.users:
            each.graph.erase_node(each)

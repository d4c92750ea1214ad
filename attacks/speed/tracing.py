"""Networks followed by torch.fx."""

import operator
from typing import Any, TypeGuard

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

_CHECKS = (torch._assert, getattr, operator.eq)
"""What checks of shapes are made of."""


class _Tracer(fx.Tracer):
    """Layers with weights are one step each, also those that somebody has derived from torch's.

    Args:
        opens: Whether batch norms with code of their own are followed: most do something else as well, as those of timm
            that apply the activation, too.
    """

    def __init__(self, *, opens: bool) -> None:
        super().__init__()
        self._opens = opens

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if self._opens and isinstance(m, _BatchNorm) and not normalises(m):
            return False
        return isinstance(m, _ConvNd | nn.Linear | _BatchNorm) or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Not where the code switches gradients off, or half precision on: that is not followed."""
        if not torch.is_grad_enabled() or any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
            raise ValueError("expected a network without modes of its own, got one that switches them")
        return super().create_node(*args, **kwargs)


def normalises(layer: nn.Module | None) -> TypeGuard[_BatchNorm]:
    """Whether a layer is a batch norm and nothing else.

    Example:
        >>> normalises(nn.BatchNorm2d(3)), normalises(nn.ReLU())
        (True, False)
    """
    return isinstance(layer, _BatchNorm) and type(layer).forward is _BatchNorm.forward


def trace(module: nn.Module) -> fx.GraphModule:
    """The steps that the code of a module takes; layers with weights are one step each, but for the module itself.

    Raises:
        Exception: Of any kind, if its code cannot be followed: it looks at values or shapes, or switches modes.

    Example:
        >>> [node.op for node in trace(nn.Sequential(nn.Flatten(), nn.Linear(12, 5))).graph.nodes]
        ['placeholder', 'call_module', 'call_module', 'output']
    """
    # What is followed is the forward of the class.
    if type(module).__call__ is not nn.Module.__call__ and not isinstance(module, fx.GraphModule):
        raise ValueError("expected a network that is called as torch's are, got another")
    with torch.enable_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        try:
            graph = _Tracer(opens=True).trace(module)
        except Exception:  # perhaps it was one of those batch norms
            graph = _Tracer(opens=False).trace(module)
    # What a check looks at has a use more, and could not be folded.
    graph.eliminate_dead_code(is_impure_node=lambda node: node.target not in _CHECKS)
    return fx.GraphModule(module, graph)


def drop(node: fx.Node) -> None:
    """Erase a step whose result nobody uses any more, and the weights that it alone was given.

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

"""Networks followed by torch.fx."""

from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Also layers that somebody has derived from torch's, such as padded convolutions."""
        return isinstance(m, _ConvNd | nn.Linear | _BatchNorm) or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Not where the code switches gradients off, or half precision on: that is not followed."""
        if not torch.is_grad_enabled() or any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
            raise ValueError("expected a network without modes of its own, got one that switches them")
        return super().create_node(*args, **kwargs)


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
        return fx.GraphModule(module, _Tracer().trace(module))

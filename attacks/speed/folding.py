"""Networks rewritten to give the same answers faster: folded layers, another memory layout, another precision."""

import copy
from collections import Counter
from contextlib import suppress
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from attacks.queries.answers import read_logits
from attacks.speed.calls import called_norm
from attacks.speed.padding import absorb_padding
from attacks.speed.tracing import drop, normalises, trace
from attacks.speed.watch import reach

FORMS = ("plain", "folded", "channels_last", "bfloat16")
"""Forms from the unchanged network to the most changed one; each adds one change to the previous one."""
EXACT = "channels_last"
"""The most changed form whose answers differ from the network's only by float32 rounding."""


def milder(form: str, other: str) -> str:
    """The less changed of two of :data:`FORMS`.

    Example:
        >>> milder("bfloat16", EXACT), milder("plain", EXACT)
        ('channels_last', 'plain')
    """
    return min(form, other, key=FORMS.index)


def rewritten(module: nn.Module, form: str) -> nn.Module | None:
    """A copy of a network in another form; None if no part of it can be traced.

    The network is traced by :mod:`torch.fx`. If that fails (its code looks at values or shapes), its parts are traced
    one by one, and those that cannot be traced stay unchanged. Code that depends on more than the images may be traced
    wrongly, which :func:`attacks.speed.agreement.stands_in` detects.

    Args:
        module: Network in eval mode, which is left unchanged.
        form: One of :data:`FORMS`, but not the first.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten()).eval()
        >>> lean, x = rewritten(net, "folded"), torch.rand(2, 3, 4, 4)
        >>> any(isinstance(part, nn.BatchNorm2d) for part in lean.modules())
        False
        >>> bool((lean(x) - net(x)).abs().max() < 1e-5)
        True
    """
    # A network's code may do anything when it is copied, or not given tensors.
    with suppress(Exception), torch.inference_mode(False):
        return _rewritten(_copy(module).requires_grad_(False), form)
    return None


def _copy(module: nn.Module) -> nn.Module:
    """A copy that shares no module and no tensor with the original.

    Raises:
        ValueError: If it shares one after all: a wrapper may forward the copying to the network inside.
    """
    found = copy.deepcopy(module)
    same = type(found) is type(module) or isinstance(module, fx.GraphModule)  # each GraphModule has its own class
    if not same or not _pieces(found).isdisjoint(_pieces(module)):
        raise ValueError("expected a network whose copy shares nothing with it, got another")
    return found


def _pieces(module: nn.Module) -> set[int]:
    """Ids of the modules and tensors of a network, registered or not."""
    named = chain(module.modules(), module.parameters(), module.buffers(), reach(module))
    return {id(each) for each in named if isinstance(each, nn.Module | Tensor)}


def _rewritten(module: nn.Module, form: str) -> nn.Module | None:
    """The network in another form, made from the module itself; None if no part of it can be traced."""
    if next(module.parameters(), None) is None:
        return None
    try:
        traced = trace(copy.deepcopy(module))  # tracing may leave something behind in it
    except Exception:
        return _by_parts(module, form)
    absorb_padding(traced)
    _fold(traced)
    return traced if form == "folded" else _Lean(traced, torch.bfloat16 if form == "bfloat16" else torch.float32)


def _by_parts(module: nn.Module, form: str) -> nn.Module | None:
    """The network with its parts rewritten."""
    parts = {name: _rewritten(part, form) for name, part in module.named_children()}
    module._modules.update({name: part for name, part in parts.items() if part is not None})
    return module if any(parts.values()) else None


def _fold(traced: fx.GraphModule) -> None:
    """Fold every batch norm into the layer before it, if nothing else uses that layer."""
    used = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    used.update(str(node.target).rpartition(".")[0] for node in traced.graph.nodes if node.op == "get_attr")
    for node in list(traced.graph.nodes):
        norm, before = _norm(traced, node), next(iter(node.all_input_nodes), None)
        if norm is None or before is None or before.op != "call_module" or len(before.users) > 1:
            continue
        layer = traced.get_submodule(str(before.target))
        if norm.running_mean is None or used[before.target] > 1:
            continue
        if layer.training or is_parametrized(layer) or is_parametrized(norm):
            continue
        if isinstance(layer, _ConvNd) and not layer.transposed:
            fused: nn.Module = fuse_conv_bn_eval(layer, norm)
        elif isinstance(layer, nn.Linear):
            fused = fuse_linear_bn_eval(layer, norm)
        else:
            continue
        traced.set_submodule(str(before.target), fused.requires_grad_(False))
        node.replace_all_uses_with(before)
        drop(node)
    traced.graph.lint()
    traced.delete_all_unused_submodules()
    traced.recompile()


def _norm(traced: fx.GraphModule, node: fx.Node) -> _BatchNorm | None:
    """The batch norm of a step; None if the step is something else, or more than that."""
    if node.op == "call_function":
        return called_norm(traced, node)
    layer = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
    return layer if normalises(layer) else None


class _Lean(nn.Module):
    """A network, or a part of one, whose images have channels last in memory, and possibly half precision."""

    def __init__(self, traced: fx.GraphModule, dtype: torch.dtype) -> None:
        super().__init__()
        self.body, self._dtype = traced.to(dtype).to(memory_format=torch.channels_last), dtype
        if dtype != torch.float32:
            _keep_exact(self.body)

    def forward(self, x: Tensor, *others: Any, **options: Any) -> Tensor:
        """Call the network in its own dtype."""
        found = self.body(*map(self._laid_out, (x, *others)), **options)
        return (found if isinstance(found, Tensor) else read_logits(found, len(x))).to(x.dtype)

    def _laid_out(self, given: Any) -> Any:
        if not isinstance(given, Tensor) or not given.is_floating_point():
            return given
        return given.to(self._dtype, memory_format=torch.channels_last if given.ndim == 4 else torch.preserve_format)


def _keep_exact(traced: fx.GraphModule) -> None:
    """Keep some layers of a half-precision network in float32.

    These are a last linear layer, because rounded logits would tie, and depthwise convolutions with a stride, whose
    gradients take five to twenty times as long in bfloat16.
    """
    graph, last = traced.graph, traced.graph.output_node().args[0]
    for node in list(graph.nodes):
        layer = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        final = node is last and isinstance(layer, nn.Linear)
        if layer is None or not (final or _is_strided_depthwise(layer)):
            continue
        layer.float()
        with graph.inserting_before(node):
            node.args = (graph.call_method("float", node.args),)
        if not final:
            with graph.inserting_after(node):
                rounded = graph.call_method("bfloat16", (node,))
            node.replace_all_uses_with(rounded, delete_user_cb=lambda user, rounded=rounded: user is not rounded)
    traced.recompile()


def _is_strided_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, _ConvNd) and 1 < layer.groups == layer.in_channels and max(layer.stride) > 1

"""Read a model as a :class:`Network`: torch.fx traces its code, and each step becomes one or more nodes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from advbench.models.classifier import Classifier
from advbench.proofs.errors import UnprovableError
from advbench.proofs.network.graph import Network, Node
from advbench.proofs.network.operations import Scale
from advbench.proofs.reading.builder import Builder
from advbench.proofs.reading.layers import FUNCTIONS, METHODS, MODULES

_ABOUT_SHAPES = ("size", "dim", "ndim", "shape", "dtype", "device", "ndimension", "get_device")
_AGREEMENT = 1e-3
"""Maximum difference between logits of the read network and of the model, relative to the largest logit."""


def read_network(model: Any, x: Tensor) -> Network:
    """Read a model as a network in float64.

    Args:
        model: A torch module in eval mode, of float32 or float64; a :class:`Classifier` is read with its normalisation.
        x: Images (N, ...) in [0, 1]; the first determines the shapes, and on all of them the read network must return
            the same as the model.

    Raises:
        UnprovableError: It has a layer, or code, that cannot be bounded.

    Example:
        >>> network = read_network(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval(), torch.rand(1, 1, 2, 2))
        >>> network.logits(torch.rand(3, 1, 2, 2, dtype=torch.float64)).shape
        torch.Size([3, 2])
    """
    if not isinstance(model, nn.Module):
        raise UnprovableError(f"{type(model).__name__} is not a torch module")
    builder = Builder(tuple(x.shape[1:]), x.device)
    inner: Any = model
    place = 0
    while isinstance(inner, Classifier):
        place = builder.add(_normalisation(inner), place)
        inner = inner.module
    answer = _Reader(_traced(inner), builder, place).read(x[:1])
    network = Network(_with_last(builder.nodes, answer))
    _compare(network, model, x)
    return network


def _normalisation(classifier: Classifier) -> Scale:
    """The normalisation of the classifier."""
    return Scale(classifier._scale.double(), classifier._shift.double())


def _with_last(nodes: Sequence[Node], answer: int) -> tuple[Node, ...]:
    """The nodes up to the logits, which must come last."""
    if len(nodes[answer].shape) != 1:
        raise UnprovableError(f"expected logits of one dimension, got shape {nodes[answer].shape}")
    return tuple(nodes[: answer + 1])


class _Tracer(fx.Tracer):
    """A tracer that goes into every module that is not in the table of layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)


def _traced(module: nn.Module) -> fx.GraphModule:
    try:
        return fx.GraphModule(module, _Tracer().trace(module))
    except Exception as error:  # the model's own code may raise anything when it is traced
        why = "its code depends on values or shapes, which cannot be traced"
        raise UnprovableError(f"{type(module).__name__}: {why} ({type(error).__name__})") from error


class _Reader(fx.Interpreter):
    """An interpreter that runs the traced code on one image, and adds a node for each value that depends on it."""

    def __init__(self, traced: fx.GraphModule, builder: Builder, place: int) -> None:
        super().__init__(traced)
        self.builder, self.first = builder, place
        self.places: dict[fx.Node, int] = {}
        self.answer: int | None = None

    def read(self, x: Tensor) -> int:
        """Position of the logits."""
        try:
            with torch.no_grad():
                self.run(self.builder.value_of(self.first, x))
        except UnprovableError as error:  # torch.fx has added the location to its message
            raise UnprovableError(error.obstacle) from None
        except Exception as error:  # a step that fails with another number of images, or anything else
            raise UnprovableError(f"a step that cannot be traced ({type(error).__name__})") from error
        if self.answer is None:
            raise UnprovableError("its output is not one tensor that depends on the image")
        return self.answer

    def run_node(self, n: fx.Node) -> Any:
        """The value of a step, with its node added."""
        if n.op == "output":
            answer = n.args[0]
            answer = answer[0] if isinstance(answer, tuple | list) and answer else answer
            self.answer = self.places.get(answer) if isinstance(answer, fx.Node) else None
            return super().run_node(n)
        value = super().run_node(n)
        if n.op == "placeholder":
            self.places[n] = self.first
        elif any(source in self.places for source in n.all_input_nodes) and not _is_constant(n):
            if isinstance(value, Tensor):
                self.places[n] = self._node(n, value)
            elif not _asks_shape(n):
                raise UnprovableError(f"step {n.name}, whose result is not a tensor")
        return value

    def _node(self, n: fx.Node, value: Tensor) -> int:
        args = fx.node.map_arg(n.args, self._place_or_value)
        kwargs = fx.node.map_arg(n.kwargs, self._place_or_value)
        self.builder.value = value
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            build = MODULES.get(type(module))
            if build is None:
                raise UnprovableError(f"layer {type(module).__name__}")
            return build(self.builder, module, args[0])
        table: dict[Any, Callable[..., int]] = METHODS if n.op == "call_method" else FUNCTIONS
        build = table.get(n.target)
        if build is None:
            raise UnprovableError(f"layer {getattr(n.target, '__name__', n.target)}")
        return build(self.builder, *args, **kwargs)

    def _place_or_value(self, node: fx.Node) -> Any:
        return self.builder.place(self.places[node]) if node in self.places else self.env[node]


def _is_constant(n: fx.Node) -> bool:
    """Whether the result does not depend on the values of the image, only on its shape."""
    return n.target in (torch.zeros_like, torch.ones_like, "new_zeros", "new_ones")


def _asks_shape(n: fx.Node) -> bool:
    return n.target in _ABOUT_SHAPES or (n.target is getattr and n.args[1] in _ABOUT_SHAPES)


def _compare(network: Network, model: nn.Module, x: Tensor) -> None:
    """Compare both on the images and on noise, which reveals what torch.fx does not see, such as hooks."""
    noise = torch.rand(3, *x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x)
    points = torch.cat([x[:8], noise])
    with torch.no_grad():
        found, expected = network.logits(points.double()), model(points)
    expected = expected[0] if isinstance(expected, tuple | list) else expected
    if found.shape != expected.shape:
        raise UnprovableError(f"expected logits {tuple(expected.shape)}, read {tuple(found.shape)}")
    if not bool((found - expected).abs().max() <= _AGREEMENT * expected.abs().max().clamp_min(1)):
        raise UnprovableError("the network that was read does not return the model's logits")

"""The layers that can be bounded, and the nodes that each of them becomes."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from advbench.proofs.errors import UnprovableError
from advbench.proofs.network.arrangements import Cat, Constant, Sum
from advbench.proofs.network.operations import Conv, Dense, Scale
from advbench.proofs.network.relaxations import Activation
from advbench.proofs.reading.builder import Builder, Place


def _linear(build: Builder, module: nn.Linear, place: int) -> int:
    return _dense(build, place, module.weight, module.bias)


def _dense(build: Builder, place: int, weight: Tensor, bias: Tensor | None = None) -> int:
    if len(build.nodes[place].shape) != 1:
        raise UnprovableError("layer Linear on more than one dimension")
    return build.add(Dense(weight.detach().double(), _bias(weight, bias)), place)


def _matmul(build: Builder, a: Any, b: Any) -> int:
    if not isinstance(a, Place) or not isinstance(b, Tensor) or b.ndim != 2:
        raise UnprovableError("a matrix product other than of the image's values with a constant matrix")
    return _dense(build, a, b.T)


def _conv(build: Builder, module: nn.Conv2d, place: int) -> int:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise UnprovableError(f"layer Conv2d with padding {module.padding} of mode {module.padding_mode}")
    return _convolve(
        build, place, module.weight, module.bias, module.stride, module.padding, module.dilation, module.groups
    )


class _ConvOptions(NamedTuple):
    """The arguments of torch's conv2d after the weights."""

    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1


def _convolve(
    build: Builder, place: int, weight: Tensor, bias: Tensor | None = None, *options: Any, **named: Any
) -> int:
    shape, given = build.nodes[place].shape, _ConvOptions(*options, **named)
    if len(shape) != 3 or isinstance(given.padding, str):
        raise UnprovableError("layer conv2d on such an input or padding")
    pairs = (_pair(given.stride), _pair(given.padding), _pair(given.dilation))
    size = (shape[1], shape[2])
    return build.add(Conv(weight.detach().double(), _bias(weight, bias), size, *pairs, given.groups), place)


def _bias(weight: Tensor, bias: Tensor | None) -> Tensor:
    return (weight.new_zeros(len(weight)) if bias is None else bias).detach().double()


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _batch_norm(build: Builder, module: nn.BatchNorm1d | nn.BatchNorm2d, place: int) -> int:
    if module.running_mean is None or module.running_var is None:
        raise UnprovableError(f"layer {type(module).__name__} without running statistics")
    view = (1, -1, *([1] * (len(build.nodes[place].shape) - 1)))
    factor = (module.running_var.double() + module.eps).rsqrt()
    factor = factor * module.weight.detach().double() if module.weight is not None else factor
    shift = -module.running_mean.double() * factor
    shift = shift + module.bias.detach().double() if module.bias is not None else shift
    return build.add(Scale(factor.view(view), shift.view(view)), place)


def _same(build: Builder, module: nn.Module, place: int) -> int:
    return place


def _activation(name: str) -> Callable[..., int]:
    return lambda build, module, place: build.add(Activation(name), place)


def _leaky(build: Builder, module: nn.LeakyReLU, place: int) -> int:
    return _leaky_relu(build, place, module.negative_slope)


def _leaky_relu(build: Builder, place: int, negative_slope: float = 0.01, inplace: bool = False) -> int:
    if not 0 <= negative_slope <= 1:
        raise UnprovableError(f"layer LeakyReLU with slope {negative_slope}, not from 0 to 1")
    return build.add(Activation("relu", negative_slope), place)


def _mixed(build: Builder, module: nn.Module, place: int) -> int:
    return build.mix(module.forward, place, type(module).__name__)


def _max_pool(build: Builder, module: nn.MaxPool2d, place: int) -> int:
    return _pool(
        build, place, module.kernel_size, module.stride, module.padding, module.dilation, ceil_mode=module.ceil_mode
    )


class _PoolOptions(NamedTuple):
    """The arguments of torch's max_pool2d after the image."""

    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    ceil_mode: bool = False
    return_indices: bool = False


def _pool(build: Builder, place: int, *options: Any, **named: Any) -> int:
    """The maximum of a window, two values at a time: max(a, b) = a + ReLU(b - a)."""
    given = _PoolOptions(*options, **named)
    kernel = _pair(given.kernel_size)
    step = _pair(given.stride or given.kernel_size)
    if kernel[0] != kernel[1]:
        raise UnprovableError(f"layer MaxPool2d with windows of unequal sides, {kernel[0]} x {kernel[1]}")
    plain = _pair(given.padding) == (0, 0) and _pair(given.dilation) == (1, 1) and not given.ceil_mode
    if not plain or len(build.nodes[place].shape) != 3:
        raise UnprovableError("layer MaxPool2d with padding, dilation or windows of unequal sizes at the edge")
    height, width = ((build.nodes[place].shape[1 + d] - kernel[d]) // step[d] + 1 for d in (0, 1))
    corners = [
        build.mix(_every(i, j, step, (height, width)), place, "MaxPool2d")
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    while len(corners) > 1:
        pairs = zip(corners[::2], corners[1::2], strict=False)
        corners = [_larger(build, a, b) for a, b in pairs] + corners[len(corners) // 2 * 2 :]
    return corners[0]


def _every(i: int, j: int, step: tuple[int, int], size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """One corner of every window."""
    rows = slice(i, i + step[0] * (size[0] - 1) + 1, step[0])
    columns = slice(j, j + step[1] * (size[1] - 1) + 1, step[1])
    return lambda x: x[:, :, rows, columns]


def _larger(build: Builder, a: int, b: int) -> int:
    excess = build.add(Activation("relu"), build.add(Sum((1, -1)), b, a))
    return build.add(Sum((1, 1)), a, excess, largest_of=(a, b))


def _add(build: Builder, a: Any, b: Any, alpha: float = 1) -> int:
    return _weighted(build, a, b, alpha)


def _sub(build: Builder, a: Any, b: Any, alpha: float = 1) -> int:
    return _weighted(build, a, b, -alpha)


def _weighted(build: Builder, a: Any, b: Any, weight: float) -> int:
    """The sum of a and a number times b, at most one of which is not a node."""
    if isinstance(a, Place) and isinstance(b, Place):
        if build.nodes[a].shape != build.nodes[b].shape:
            raise UnprovableError("a sum of two shapes")
        if abs(weight) != 1:
            return _weighted(build, a, build.place(_mul(build, b, weight)), 1)
        return build.add(Sum((1, int(weight))), a, b)
    if isinstance(a, Place):
        return build.add(Scale(build.constant(1.0, a), weight * build.constant(b, a)), a)
    return build.add(Scale(build.constant(float(weight), b), build.constant(a, b)), b)


def _mul(build: Builder, a: Any, b: Any) -> int:
    if isinstance(a, Place) and isinstance(b, Place):
        raise UnprovableError("a product of two values that depend on the image")
    place, factor = (a, b) if isinstance(a, Place) else (b, a)
    return build.add(Scale(build.constant(factor, place), build.constant(0.0, place)), place)


def _div(build: Builder, a: Any, b: Any) -> int:
    if isinstance(b, Place):
        raise UnprovableError("a quotient by a value that depends on the image")
    return _mul(build, a, 1 / torch.as_tensor(b, dtype=torch.float64))


def _cat(build: Builder, tensors: Sequence[Any], dim: int = 0) -> int:
    known = next(build.nodes[each].shape for each in tensors if isinstance(each, Place))
    dim = dim % (len(known) + 1)
    if dim == 0:
        raise UnprovableError("a concatenation of images")
    places = [each if isinstance(each, Place) else build.add(Constant(each.double())) for each in tensors]
    return build.add(Cat(dim, tuple(build.nodes[each].shape[dim - 1] for each in places)), *places)


def _reshaped(build: Builder, place: int, *args: Any, **kwargs: Any) -> int:
    return build.reshape(place)


def _by(function: Callable[..., Tensor], name: str) -> Callable[..., int]:
    """A linear torch function, with its original arguments."""
    return lambda build, place, *args, **kwargs: build.mix(lambda x: function(x, *args, **kwargs), place, name)


def _elementwise(name: str) -> Callable[..., int]:
    return lambda build, place, *args, **kwargs: build.add(Activation(name), place)


def _dropped(build: Builder, place: int, p: float = 0.5, training: bool = True, inplace: bool = False) -> int:
    if training:
        raise UnprovableError("dropout that is on")
    return place


MODULES: dict[type[nn.Module], Callable[..., int]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.ReLU: _activation("relu"),
    nn.LeakyReLU: _leaky,
    nn.Sigmoid: _activation("sigmoid"),
    nn.Tanh: _activation("tanh"),
    nn.Identity: _same,
    nn.Dropout: _same,
    nn.Dropout1d: _same,
    nn.Dropout2d: _same,
    nn.Flatten: lambda build, module, place: build.reshape(place),
    nn.Unflatten: lambda build, module, place: build.reshape(place),
    nn.AvgPool2d: _mixed,
    nn.AdaptiveAvgPool2d: _mixed,
    nn.ZeroPad2d: _mixed,
}
"""Type of a layer -> function that adds its nodes, called with the builder, the layer and its input's position."""

FUNCTIONS: dict[Any, Callable[..., int]] = {
    functional.linear: _dense,
    functional.conv2d: _convolve,
    torch.conv2d: _convolve,
    functional.relu: _elementwise("relu"),
    torch.relu: _elementwise("relu"),
    functional.leaky_relu: _leaky_relu,
    torch.sigmoid: _elementwise("sigmoid"),
    functional.sigmoid: _elementwise("sigmoid"),
    torch.tanh: _elementwise("tanh"),
    functional.tanh: _elementwise("tanh"),
    functional.dropout: _dropped,
    functional.max_pool2d: _pool,
    functional.avg_pool2d: _by(functional.avg_pool2d, "avg_pool2d"),
    functional.adaptive_avg_pool2d: _by(functional.adaptive_avg_pool2d, "adaptive_avg_pool2d"),
    functional.pad: _by(functional.pad, "pad"),
    torch.mean: _by(torch.mean, "mean"),
    torch.sum: _by(torch.sum, "sum"),
    torch.permute: _by(torch.permute, "permute"),
    torch.transpose: _by(torch.transpose, "transpose"),
    operator.getitem: _by(operator.getitem, "indexing"),
    torch.flatten: _reshaped,
    torch.reshape: _reshaped,
    torch.squeeze: _reshaped,
    torch.unsqueeze: _reshaped,
    torch.cat: _cat,
    torch.concat: _cat,
    operator.matmul: _matmul,
    torch.matmul: _matmul,
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    operator.sub: _sub,
    torch.sub: _sub,
    operator.mul: _mul,
    torch.mul: _mul,
    operator.truediv: _div,
    torch.div: _div,
    operator.neg: lambda build, place: _mul(build, place, -1.0),
}
"""Function -> function that adds its nodes, called with the builder and its arguments, nodes as :class:`Place`."""

METHODS: dict[str, Callable[..., int]] = {
    "relu": _elementwise("relu"),
    "sigmoid": _elementwise("sigmoid"),
    "tanh": _elementwise("tanh"),
    "flatten": _reshaped,
    "view": _reshaped,
    "reshape": _reshaped,
    "squeeze": _reshaped,
    "unsqueeze": _reshaped,
    "contiguous": lambda build, place, *args, **kwargs: place,
    "mean": _by(Tensor.mean, "mean"),
    "sum": _by(Tensor.sum, "sum"),
    "permute": _by(Tensor.permute, "permute"),
    "transpose": _by(Tensor.transpose, "transpose"),
    "matmul": _matmul,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
}
"""Name of a tensor's method -> function that adds its nodes, as in :data:`FUNCTIONS`."""

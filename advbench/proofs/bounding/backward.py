"""Backward bounds: linear functions of a node are replaced by linear functions of the image that lie below them.

This is CROWN (Zhang, Weng, Chen, Hsieh and Daniel, 2018, equations 3 to 9). An activation with a positive coefficient
is replaced by its lower line, one with a negative coefficient by its upper line. Split constraints are added as in
beta-CROWN (Wang et al., 2021, theorem 3.1): a multiplier of at least zero for each is added to the coefficient.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.network.graph import Network
from advbench.proofs.network.relaxations import Activation, Lines


class Bound(NamedTuple):
    """Lower bounds of K functions.

    Attributes:
        value: The bounds (K,).
        coefficients: Coefficients of the image in the linear functions below them (K, *shape).
        constant: Constants of those linear functions (K,).
        passed: Position of an activation -> coefficients of its output (K, *shape), for those requested.
    """

    value: Tensor
    coefficients: Tensor
    constant: Tensor
    passed: dict[int, Tensor]


class Functions(NamedTuple):
    """K linear functions of values of the network.

    Attributes:
        coefficients: Position of a node -> coefficients of its value in the functions (K, *shape).
        constant: Added to the functions (K,).
    """

    coefficients: Mapping[int, Tensor]
    constant: Tensor

    @classmethod
    def of(cls, node: int, coefficients: Tensor) -> "Functions":
        """Functions of the value of one node."""
        return cls({node: coefficients}, coefficients.new_zeros(len(coefficients)))

    def to(self, dtype: torch.dtype) -> "Functions":
        """The same functions in another dtype."""
        return Functions({i: each.to(dtype) for i, each in self.coefficients.items()}, self.constant.to(dtype))


class Bends(NamedTuple):
    """Lines of the U values of an activation that bend inside their bounds, separate for each function.

    All lower lines go through zero. The activation's other values have one line, both below and above.

    Attributes:
        places: Positions in the flattened value, int64 (U,).
        lower_slope: Slopes of the lines below (1 or K, U).
        upper_slope: Slopes of the lines above (1 or K, U).
        upper_offset: Values of the lines above at zero (1 or K, U).
        force: Terms that split constraints add to the coefficients of the input (K, U), if there are any.
    """

    places: Tensor
    lower_slope: Tensor
    upper_slope: Tensor
    upper_offset: Tensor
    force: Tensor | None = None


class Relaxed(NamedTuple):
    """A relaxed network, with lines below and above each activation.

    Attributes:
        network: The network that is relaxed.
        ball: The possible input images.
        lines: Position of an activation -> its lines (1, *shape).
        bends: Position of an activation -> lines that replace these where it bends.
    """

    network: Network
    ball: BallInBox
    lines: Mapping[int, Lines]
    bends: Mapping[int, Bends] = MappingProxyType({})


def lower_bound(relaxed: Relaxed, functions: Functions, *, keep: bool = False) -> Bound:
    """Lower bounds of linear functions on the ball.

    Args:
        relaxed: The relaxed network; lines of the activations that the functions depend on are needed.
        functions: The functions to bound.
        keep: Whether to return the coefficients of the activations' outputs.

    Example:
        >>> from torch import nn
        >>> from advbench.proofs.reading.reader import read_network
        >>> from attacks import Linf
        >>> x = torch.zeros(1, 2)
        >>> network = read_network(nn.Sequential(nn.Linear(2, 2)).eval(), x)
        >>> relaxed = Relaxed(network, BallInBox.around(x.double(), Linf(), 0.1), {})
        >>> lower_bound(relaxed, Functions.of(1, torch.eye(2, dtype=torch.float64))).value.shape
        torch.Size([2])
    """
    nodes = relaxed.network.nodes
    waiting, value = dict(functions.coefficients), functions.constant
    passed: dict[int, Tensor] = {}
    for i in range(max(waiting), 0, -1):
        found = waiting.pop(i, None)
        if found is None:
            continue
        operation = nodes[i].operation
        parts: list[Tensor] = []
        if isinstance(operation, Activation):
            if keep:
                passed[i] = found
            bends = relaxed.bends.get(i)
            through = _through(found, relaxed.lines[i]) if bends is None else _bent(found, relaxed.lines[i], bends)
            parts, value = [through[0]], value + through[1]
        elif operation is not None:
            if operation.offset is not None:
                value = value + _inner(found, operation.offset)
            parts = operation.transpose(found)
        for source, part in zip(nodes[i].inputs, parts, strict=True):
            waiting[source] = waiting[source] + part if source in waiting else part
    last = waiting.pop(0, None)
    if last is None:
        last = value.new_zeros(len(value), *nodes[0].shape)
    return Bound(value + relaxed.ball.minimum(last), last, value, passed)


def _through(coefficients: Tensor, lines: Lines) -> tuple[Tensor, Tensor]:
    """Coefficients of an activation's input, and the contribution of the lines' offsets."""
    positive = coefficients.clamp(min=0)
    negative = coefficients - positive
    below = torch.addcmul(coefficients * lines.upper_slope, positive, lines.lower_slope - lines.upper_slope)
    constant = negative.flatten(1) @ lines.upper_offset.flatten()
    if bool(lines.lower_offset.any()):
        constant = constant + positive.flatten(1) @ lines.lower_offset.flatten()
    return below, constant


def _bent(coefficients: Tensor, lines: Lines, bends: Bends) -> tuple[Tensor, Tensor]:
    """The same for values that bend, which have separate lines."""
    flat = coefficients.flatten(1)
    found = flat.index_select(1, bends.places)
    positive = found.clamp(min=0)
    negative = found - positive
    below = positive * bends.lower_slope + negative * bends.upper_slope
    if bends.force is not None:
        below = below + bends.force
    straight = flat * lines.upper_slope.flatten(1)
    joined = straight.index_copy(1, bends.places, below)
    return joined.view_as(coefficients), (negative * bends.upper_offset).sum(1)


def _inner(coefficients: Tensor, offset: Tensor) -> Tensor:
    """Inner product of each row with a constant that is broadcast to it."""
    dims = [d for d in range(1, coefficients.ndim) if offset.shape[d] == 1]
    rows = coefficients.sum(dims, keepdim=True) if dims else coefficients
    return (rows * offset).flatten(1).sum(1)

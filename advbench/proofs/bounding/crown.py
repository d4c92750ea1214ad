"""Bounds of the inputs of activations: intervals first, CROWN where those leave zero inside."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.proofs.bounding.backward import Functions, Relaxed, lower_bound
from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.intervals import Interval, interval_of
from advbench.proofs.network.arrangements import Reshape, Sum
from advbench.proofs.network.graph import Network
from advbench.proofs.network.operations import Conv, Dense, Scale
from advbench.proofs.network.relaxations import Activation, Lines

CHUNK = 128
"""Functions that are bounded at once."""

Bounder = Callable[[Relaxed, Mapping[int, Interval], Functions], Tensor]
"""Lower bounds (K,) of K functions, by lines and the bounds that they were made for."""


def lines_of(network: Network, known: Mapping[int, Interval]) -> dict[int, Lines]:
    """Lines of every activation whose input is bounded."""
    found: dict[int, Lines] = {}
    for i in network.activations:
        operation, source = network.nodes[i].operation, network.nodes[i].inputs[0]
        if isinstance(operation, Activation) and source in known:
            found[i] = operation.lines(*known[source])
    return found


def plain(relaxed: Relaxed, known: Mapping[int, Interval], functions: Functions) -> Tensor:
    """CROWN's bounds with the slopes that the lines have."""
    return lower_bound(relaxed, functions).value


def tightened(
    network: Network, ball: BallInBox, known: Mapping[int, Interval], bounder: Bounder = plain
) -> dict[int, Interval]:
    """Bounds of every node, those of activations' inputs by going backward where zero is inside.

    Args:
        network: Network in float64.
        ball: The images, in float64.
        known: Bounds of every node that hold already.
        bounder: How functions of a node are bounded.

    Returns:
        Bounds of every node that lie within those known.
    """
    better: dict[int, Interval] = {}
    lines: dict[int, Lines] = {}
    exact = _exact_by_intervals(network) if ball.is_box else set()
    inputs = {network.nodes[i].inputs[0] for i in network.activations}
    at_x = network.values(ball.x)
    for i, node in enumerate(network.nodes):
        better[i] = interval_of(node, better, ball).meet(known[i])
        if isinstance(node.operation, Activation):
            lines[i] = node.operation.lines(*better[node.inputs[0]])
        if i in inputs and i not in exact:
            better[i] = _refined(Relaxed(network, ball, lines), better, _Wanted.of(network, i, at_x[i]), bounder)
    return better


def _exact_by_intervals(network: Network) -> set[int]:
    """Nodes that are affine functions of the image by one operation, of which intervals say all on a box."""
    first = {0}
    for i, node in enumerate(network.nodes):
        if len(node.inputs) == 1 and node.inputs[0] in first and not isinstance(node.operation, Activation):
            from_image = node.inputs[0] == 0 or _is_scaling(network, node.inputs[0])
            if from_image:
                first.add(i)
    return first


def _is_scaling(network: Network, i: int) -> bool:
    """Whether each value of a node depends on one pixel alone."""
    node = network.nodes[i]
    return i == 0 or (isinstance(node.operation, Scale | Reshape) and _is_scaling(network, node.inputs[0]))


class _Wanted(NamedTuple):
    """What is asked of the bounds of a node.

    Attributes:
        node: Position of the node.
        positive: Where its value is positive at the image itself, bool (n,).
        both: Whether both bounds matter even where zero is outside.
    """

    node: int
    positive: Tensor
    both: bool

    @classmethod
    def of(cls, network: Network, node: int, at_x: Tensor) -> "_Wanted":
        """What the activations that a node feeds ask of it."""
        fed = [each.operation for each in network.nodes if node in each.inputs]
        both = any(isinstance(each, Activation) and not each.bends_at_zero for each in fed)
        return cls(node, at_x.flatten() > 0, both)


def _refined(relaxed: Relaxed, better: Mapping[int, Interval], wanted: _Wanted, bounder: Bounder) -> Interval:
    """Bounds of a node by going backward, first the one on the side of zero where the image is not.

    Most values that intervals leave open turn out to have one sign only, which is that at the image: their other bound
    then decides nothing.
    """
    known = better[wanted.node]
    lower, upper = known.lower.flatten().clone(), known.upper.flatten().clone()
    todo = torch.ones_like(wanted.positive) if wanted.both else (lower < 0) & (upper > 0)
    for below in (wanted.positive, ~wanted.positive):
        places = todo.nonzero().squeeze(1)
        for chosen in places.split(CHUNK):
            signs = torch.where(below[chosen], 1.0, -1.0).double()
            found = signs * bounder(relaxed, better, signed_values(relaxed.network, wanted.node, chosen, signs))
            lower[chosen] = torch.where(below[chosen], found, lower[chosen])
            upper[chosen] = torch.where(below[chosen], upper[chosen], found)
        todo = todo & (wanted.both | (lower < 0) & (upper > 0))
    return Interval(lower.view_as(known.lower), upper.view_as(known.upper)).widened().meet(known)


def signed_values(network: Network, node: int, chosen: Tensor, signs: Tensor) -> Functions:
    """Some values of a node, each times a sign, as functions of the nodes that they are sums over.

    A value that a convolution gives depends on a few values before it: its coefficients are picked from a matrix that
    is made once, which is most of the work for early layers.

    Args:
        network: Network in float64.
        node: Position of the node.
        chosen: Positions in its flattened value, int64 (K,).
        signs: 1 or -1 for each, float64 (K,).

    Returns:
        K functions.
    """
    found = _picked(network, node, chosen, 1)
    signed = {i: each * signs.view(-1, *[1] * (each.ndim - 1)) for i, each in found.coefficients.items()}
    return Functions(signed, found.constant * signs)


def _picked(network: Network, i: int, chosen: Tensor, sign: int) -> Functions:
    node = network.nodes[i]
    if isinstance(node.operation, Sum):
        terms = [_picked(network, j, chosen, sign * s) for j, s in zip(node.inputs, node.operation.signs, strict=True)]
        coefficients: dict[int, Tensor] = {}
        for term in terms:
            for j, each in term.coefficients.items():
                coefficients[j] = coefficients[j] + each if j in coefficients else each
        return Functions(coefficients, torch.stack([term.constant for term in terms]).sum(0))
    if isinstance(node.operation, Conv) and (matrix := node.operation.matrix) is not None:
        bias = node.operation.offset.expand(1, *node.shape).flatten()[chosen]
        return Functions({node.inputs[0]: sign * matrix[chosen]}, sign * bias)
    if isinstance(node.operation, Dense):
        rows = node.operation.weight[chosen]
        return Functions({node.inputs[0]: sign * rows}, sign * node.operation.bias[chosen])
    rows = torch.zeros(len(chosen), math.prod(node.shape), dtype=torch.float64, device=chosen.device)
    rows[torch.arange(len(chosen)), chosen] = sign
    return Functions.of(i, rows.view(-1, *node.shape))

"""Bounds of the inputs of activations: intervals first, then CROWN where those contain zero."""

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
"""Number of functions that are bounded at once."""
MOST_COEFFICIENTS = 50_000_000
"""Maximum number of coefficients for the bounds of one node, which takes some seconds."""

Bounder = Callable[[Relaxed, Mapping[int, Interval], Functions], Tensor]
"""Lower bounds (K,) of K functions, from lines and the bounds that these are valid for."""


def lines_of(network: Network, known: Mapping[int, Interval]) -> dict[int, Lines]:
    """Lines of every activation whose input is bounded."""
    found: dict[int, Lines] = {}
    for i in network.activations:
        operation, source = network.nodes[i].operation, network.nodes[i].inputs[0]
        if isinstance(operation, Activation) and source in known:
            found[i] = operation.lines(*known[source])
    return found


def plain(relaxed: Relaxed, known: Mapping[int, Interval], functions: Functions) -> Tensor:
    """CROWN's bounds, with the current slopes of the lines."""
    return lower_bound(relaxed, functions).value


def tightened(
    network: Network,
    ball: BallInBox,
    known: Mapping[int, Interval],
    bounder: Bounder = plain,
    most: int = MOST_COEFFICIENTS,
) -> dict[int, Interval]:
    """Bounds of every node; inputs of activations whose bounds contain zero are bounded backward.

    Args:
        network: Network in float64.
        ball: The images, in float64.
        known: Bounds of every node that are already proved.
        bounder: How functions of a node are bounded.
        most: Maximum number of coefficients for the bounds of one node; beyond it, only the widest are bounded.

    Returns:
        Bounds of every node that lie within those known.
    """
    better: dict[int, Interval] = {}
    lines: dict[int, Lines] = {}
    exact = _exact_by_intervals(network) if ball.is_box else set()
    inputs = {network.nodes[i].inputs[0] for i in network.activations}
    at_x, counting = network.values(ball.x), _counting(network, ball, known)
    for i, node in enumerate(network.nodes):
        better[i] = interval_of(node, better, ball).meet(known[i])
        if isinstance(node.operation, Activation):
            lines[i] = node.operation.lines(*better[node.inputs[0]])
        if i in inputs and i not in exact:
            wanted = _wanted(network, i, at_x[i], counting, most)
            better[i] = _refined(Relaxed(network, ball, lines), better, wanted, bounder)
    return better


def _exact_by_intervals(network: Network) -> set[int]:
    """Nodes that are one affine operation on the image, for which intervals are exact on a box."""
    first = {0}
    for i, node in enumerate(network.nodes):
        if len(node.inputs) == 1 and node.inputs[0] in first and not isinstance(node.operation, Activation):
            from_image = node.inputs[0] == 0 or _is_scaling(network, node.inputs[0])
            if from_image:
                first.add(i)
    return first


def _is_scaling(network: Network, i: int) -> bool:
    """Whether each value of a node depends on a single pixel."""
    node = network.nodes[i]
    return i == 0 or (isinstance(node.operation, Scale | Reshape) and _is_scaling(network, node.inputs[0]))


def _counting(network: Network, ball: BallInBox, known: Mapping[int, Interval]) -> dict[int, Tensor]:
    """Which inputs of each activation the logits depend on, bool (n,): a ReLU that gives zero hides those before it.

    Tested with random slopes and coefficients, whose sums are zero only where nothing is added.
    """
    generator = torch.Generator().manual_seed(0)
    lines = {}
    for i in network.activations:
        operation, source = network.nodes[i].operation, known[network.nodes[i].inputs[0]]
        flat = isinstance(operation, Activation) and operation.bends_at_zero and operation.leak == 0
        slope = torch.rand(source.upper.shape, dtype=torch.float64, generator=generator)
        slope = torch.where((source.upper > 0) | (not flat), slope, 0.0)
        lines[i] = Lines(slope, torch.zeros_like(slope), slope, torch.zeros_like(slope))
    last = torch.rand(1, *network.nodes[-1].shape, dtype=torch.float64, generator=generator)
    passed = lower_bound(Relaxed(network, ball, lines), Functions.of(len(network.nodes) - 1, last), keep=True).passed
    return {i: ((found != 0) & (lines[i].lower_slope > 0)).flatten() for i, found in passed.items()}


class _Wanted(NamedTuple):
    """The bounds of a node that are needed.

    Attributes:
        node: Position of the node.
        positive: Where its value is positive at the image itself, bool (n,).
        counts: Where its value matters, bool (n,).
        both: Whether both bounds matter even if they exclude zero.
        most: Maximum number of values to bound; those with the widest bounds are chosen.
    """

    node: int
    positive: Tensor
    counts: Tensor
    both: bool
    most: int

    def open(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Positions where bounds (n,) are not yet sufficient, int64 (K,)."""
        found = (self.counts & (self.both | (lower < 0) & (upper > 0))).nonzero().squeeze(1)
        return found if len(found) <= self.most else found[(upper - lower)[found].topk(self.most).indices]


def _wanted(network: Network, node: int, at_x: Tensor, counting: Mapping[int, Tensor], most: int) -> _Wanted:
    """The bounds that the activations fed by a node need."""
    fed = [i for i in network.activations if node in network.nodes[i].inputs]
    both = any(not network.nodes[i].operation.bends_at_zero for i in fed)  # type: ignore[union-attr]
    none = torch.zeros_like(at_x.flatten(), dtype=torch.bool)
    counts = torch.stack([counting.get(i, none) for i in fed]).any(0)
    entries = sum(math.prod(each.shape) for each in network.nodes[:node])
    return _Wanted(node, at_x.flatten() > 0, counts, both, max(1, most // entries))


def _refined(relaxed: Relaxed, better: Mapping[int, Interval], wanted: _Wanted, bounder: Bounder) -> Interval:
    """Backward bounds of a node, first on the side of zero opposite to the image.

    Most values that intervals leave open turn out to have only one sign, that at the image: their other bound then does
    not matter.
    """
    known = better[wanted.node]
    lower, upper = known.lower.flatten().clone(), known.upper.flatten().clone()
    for below in (wanted.positive, ~wanted.positive):
        places = wanted.open(lower, upper)
        for at in range(0, len(places), CHUNK):
            chosen = places[at : at + CHUNK]
            signs = torch.where(below[chosen], 1.0, -1.0).double()
            found = signs * bounder(relaxed, better, signed_values(relaxed.network, wanted.node, chosen, signs))
            lower[chosen] = torch.where(below[chosen], found, lower[chosen])
            upper[chosen] = torch.where(below[chosen], upper[chosen], found)
    return Interval(lower.view_as(known.lower), upper.view_as(known.upper)).widened().meet(known)


def signed_values(network: Network, node: int, chosen: Tensor, signs: Tensor) -> Functions:
    """Some values of a node, each times a sign, as functions of the nodes that they are sums of.

    An output of a convolution depends on few inputs: its coefficients are picked from a matrix that is built once,
    which is most of the work for early layers.

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

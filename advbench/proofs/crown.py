"""Bounds of the inputs of activations: intervals first, CROWN where those leave zero inside."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from advbench.proofs.backward import Relaxed, lower_bound
from advbench.proofs.balls import BallInBox
from advbench.proofs.intervals import Interval, interval_of
from advbench.proofs.network import Network
from advbench.proofs.relaxations import Activation, Lines

CHUNK = 256
"""Functions that are bounded at once."""

Bounder = Callable[[Relaxed, int, Tensor], Tensor]
"""Lower bounds (K,) of functions of a node with coefficients (K, *shape)."""


def lines_of(network: Network, known: Mapping[int, Interval]) -> dict[int, Lines]:
    """Lines of every activation whose input is bounded."""
    found: dict[int, Lines] = {}
    for i in network.activations:
        operation, source = network.nodes[i].operation, network.nodes[i].inputs[0]
        if isinstance(operation, Activation) and source in known:
            found[i] = operation.lines(*known[source])
    return found


def plain(relaxed: Relaxed, start: int, coefficients: Tensor) -> Tensor:
    """CROWN's bounds with the slopes that the lines have."""
    return lower_bound(relaxed, start, coefficients).value


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
    for i, node in enumerate(network.nodes):
        better[i] = interval_of(node, better, ball).meet(known[i])
        if isinstance(node.operation, Activation):
            lines[i] = node.operation.lines(*better[node.inputs[0]])
        if i in inputs and i not in exact:
            wanted = _wanted(network, i, better[i])
            better[i] = _refined(Relaxed(network, ball, lines), i, better[i], wanted, bounder)
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
    from advbench.proofs.arrangements import Reshape
    from advbench.proofs.operations import Scale

    node = network.nodes[i]
    return i == 0 or (isinstance(node.operation, Scale | Reshape) and _is_scaling(network, node.inputs[0]))


def _wanted(network: Network, source: int, known: Interval) -> Tensor:
    """Positions in the flattened value of a node whose bounds are worth the work."""
    smooth = any(
        isinstance(node.operation, Activation) and not node.operation.bends_at_zero
        for node in network.nodes
        if source in node.inputs
    )
    chosen = torch.ones_like(known.lower, dtype=torch.bool) if smooth else known.crosses_zero
    return chosen.flatten().nonzero().squeeze(1)


def _refined(relaxed: Relaxed, start: int, known: Interval, wanted: Tensor, bounder: Bounder) -> Interval:
    """Bounds of a node, those at the wanted positions by going backward."""
    lower, upper = known.lower.flatten().clone(), known.upper.flatten().clone()
    shape = relaxed.network.nodes[start].shape
    for at in range(0, len(wanted), CHUNK // 2):
        chosen = wanted[at : at + CHUNK // 2]
        rows = torch.zeros(len(chosen), len(lower), dtype=lower.dtype, device=lower.device)
        rows[torch.arange(len(chosen)), chosen] = 1
        below = bounder(relaxed, start, torch.cat([rows, -rows]).view(-1, *shape))
        lower[chosen], upper[chosen] = below[: len(chosen)], -below[len(chosen) :]
    found = Interval(lower.view_as(known.lower), upper.view_as(known.upper)).widened()
    return found.meet(known)

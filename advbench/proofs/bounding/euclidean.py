"""Bounds of the first layer on an L2 ball: the value at the centre, plus or minus radius times norm of each row."""

import torch
from torch import Tensor

from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.network.arrangements import Reshape
from advbench.proofs.network.graph import Network
from advbench.proofs.network.operations import Conv, Dense, Scale


def first_layer(network: Network, ball: BallInBox) -> dict[int, tuple[Tensor, Tensor]]:
    """Bounds of the first layers, from the dual norm of their weights.

    Args:
        network: Network in float64.
        ball: An L2 ball in float64.

    Returns:
        Position of a node -> its bounds, each (1, *shape).

    Example:
        >>> from torch import nn
        >>> from advbench.proofs.reading.reader import read_network
        >>> from attacks import L2
        >>> x = torch.full((1, 2), 0.5)
        >>> network = read_network(nn.Sequential(nn.Linear(2, 3)).eval(), x)
        >>> low, high = first_layer(network, BallInBox.around(x.double(), L2(), 0.1))[1]
        >>> bool((low < high).all())
        True
    """
    squares = {0: torch.ones_like(ball.x)}
    found: dict[int, tuple[Tensor, Tensor]] = {}
    values = network.values(ball.x)
    for i, node in enumerate(network.nodes):
        if len(node.inputs) != 1 or node.inputs[0] not in squares:
            continue
        operation, before = node.operation, squares[node.inputs[0]]
        if isinstance(operation, Scale):
            squares[i] = before * operation.factor.square()
        elif isinstance(operation, Reshape):
            squares[i] = operation.apply(before)
        elif isinstance(operation, Conv | Dense):
            reach = ball.radius * operation.squared().spread(before).sqrt()
            found[i] = (values[i] - reach, values[i] + reach)
    return found

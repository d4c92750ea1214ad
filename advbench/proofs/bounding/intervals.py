"""Interval bounds: a lower and an upper bound for each value, layer by layer (Gowal et al., 2018)."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.euclidean import first_layer
from advbench.proofs.network.graph import Network, Node
from advbench.proofs.network.relaxations import Activation

_ROUNDING = 1e-9
"""Relative amount by which float64 bounds are widened, far more than their rounding errors."""


class Interval(NamedTuple):
    """Bounds of a node's value (1, *shape).

    Attributes:
        lower: Smallest value that it takes.
        upper: Largest value that it takes.
    """

    lower: Tensor
    upper: Tensor

    def meet(self, other: "Interval") -> "Interval":
        """The intersection of both."""
        return Interval(torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper))

    def widened(self) -> "Interval":
        """The interval, widened to allow for rounding errors."""
        room = _ROUNDING * (1 + self.lower.abs() + self.upper.abs())
        return Interval(self.lower - room, self.upper + room)

    @property
    def crosses_zero(self) -> Tensor:
        """Where the bounds contain zero, bool (1, *shape)."""
        return (self.lower < 0) & (self.upper > 0)


def interval_of(node: Node, known: Mapping[int, Interval], ball: BallInBox) -> Interval:
    """Bounds of one node from those of its inputs; the image's are the box around the ball."""
    if node.operation is None:
        return Interval(ball.lower, ball.upper)
    inputs = [known[i] for i in node.inputs]
    if isinstance(node.operation, Activation):
        # these functions are non-decreasing
        return Interval(node.operation.apply(inputs[0].lower), node.operation.apply(inputs[0].upper)).widened()
    centre = node.operation.apply(*((each.lower + each.upper) / 2 for each in inputs))
    radius = node.operation.spread(*((each.upper - each.lower) / 2 for each in inputs))
    found = Interval(centre - radius, centre + radius)
    if node.largest_of:
        largest = [known[i] for i in node.largest_of]
        lower = torch.stack([each.lower for each in largest]).amax(0)
        found = found.meet(Interval(lower, torch.stack([each.upper for each in largest]).amax(0)))
    found = found.widened()
    shape = (1, *node.shape)
    return Interval(found.lower.expand(shape), found.upper.expand(shape))


def intervals(network: Network, ball: BallInBox) -> dict[int, Interval]:
    """Bounds of every node.

    Args:
        network: Network in float64.
        ball: The possible input images, in float64.

    Example:
        >>> from torch import nn
        >>> from advbench.proofs.reading.reader import read_network
        >>> from attacks import Linf
        >>> x = torch.zeros(1, 2)
        >>> network = read_network(nn.Sequential(nn.Linear(2, 3), nn.ReLU()).eval(), x)
        >>> found = intervals(network, BallInBox.around(x.double(), Linf(), 0.1))
        >>> bool((found[1].lower <= found[1].upper).all())
        True
    """
    known: dict[int, Interval] = {}
    first = first_layer(network, ball) if ball.norm == "l2" else {}
    for i, node in enumerate(network.nodes):
        known[i] = interval_of(node, known, ball)
        if i in first:
            known[i] = known[i].meet(Interval(*first[i]).widened())
    return known

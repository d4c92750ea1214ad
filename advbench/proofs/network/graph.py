"""A network as a list of affine operations and activations, in topological order."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from advbench.proofs.network.operations import Affine
from advbench.proofs.network.relaxations import Activation


@dataclass(frozen=True, kw_only=True)
class Node:
    """One value of the network.

    Attributes:
        inputs: Positions of the nodes that it is computed from; empty for the image and for constants.
        operation: Affine operation, activation, or None for the image.
        shape: Shape of the value for one image.
        largest_of: Positions of nodes of which this value is the elementwise maximum, for tighter intervals.
    """

    inputs: tuple[int, ...]
    operation: Affine | Activation | None
    shape: tuple[int, ...]
    largest_of: tuple[int, ...] = ()


@dataclass(frozen=True)
class Network:
    """A network that can be bounded. Node 0 is the image, the last one the logits.

    Attributes:
        nodes: The nodes, each after its inputs.

    Example:
        >>> from torch import nn
        >>> from advbench.proofs.reading.reader import read_network
        >>> network = read_network(nn.Sequential(nn.Linear(2, 3), nn.ReLU()).eval(), torch.rand(1, 2))
        >>> [type(node.operation).__name__ for node in network.nodes], network.activations
        (['NoneType', 'Dense', 'Activation'], (2,))
    """

    nodes: tuple[Node, ...]

    @property
    def activations(self) -> tuple[int, ...]:
        """Positions of the activations."""
        return tuple(i for i, node in enumerate(self.nodes) if isinstance(node.operation, Activation))

    def to(self, where: torch.dtype | torch.device) -> "Network":
        """The same network in another dtype, or on another device."""
        return Network(
            tuple(
                node if node.operation is None else replace(node, operation=node.operation.to(where))
                for node in self.nodes
            )
        )

    def values(self, x: Tensor) -> list[Tensor]:
        """The value of every node for images (N, ...)."""
        values: list[Tensor] = []
        for node in self.nodes:
            inputs = [values[i] for i in node.inputs]
            value = x if node.operation is None else node.operation.apply(*inputs)
            values.append(value.expand(len(x), *node.shape))
        return values

    def logits(self, x: Tensor) -> Tensor:
        """The logits (N, C) of images (N, ...)."""
        return self.values(x)[-1]

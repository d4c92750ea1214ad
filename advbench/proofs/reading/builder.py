"""Collect the nodes of a network while it is read."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from advbench.proofs.errors import UnprovableError
from advbench.proofs.network.arrangements import Mixing, Reshape, is_mixing
from advbench.proofs.network.graph import Network, Node
from advbench.proofs.network.operations import Affine
from advbench.proofs.network.relaxations import Activation


class Place(int):
    """Position of a node, as opposed to a plain number."""


class Builder:
    """A collector of the nodes of a network.

    Attributes:
        nodes: The nodes so far; the first is the image.
        device: Device of the values.
        value: Result for one image of the step that is being read.

    Example:
        >>> builder = Builder((2,), torch.device("cpu"))
        >>> builder.add(Activation("relu"), 0), builder.nodes[1].shape
        (1, (2,))
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.nodes = [Node(inputs=(), operation=None, shape=shape)]
        self.device = device
        self.value = torch.zeros(1)

    def place(self, position: int) -> Place:
        """The position, wrapped as such."""
        return Place(position)

    def add(self, operation: Affine | Activation, *inputs: int, largest_of: tuple[int, ...] = ()) -> int:
        """Add a node and return its position."""
        zeros = [torch.zeros(1, *self.nodes[i].shape, dtype=torch.float64, device=self.device) for i in inputs]
        shape = tuple(operation.apply(*zeros).shape[1:])
        self.nodes.append(Node(inputs=inputs, operation=operation, shape=shape, largest_of=largest_of))
        return len(self.nodes) - 1

    def mix(self, function: Callable[[Tensor], Tensor], place: int, name: str) -> int:
        """Add a linear function without negative weights."""
        shape = self.nodes[place].shape
        if not is_mixing(function, shape, self.value):
            raise UnprovableError(f"layer {name}")
        return self.add(Mixing(function, shape), place)

    def reshape(self, place: int) -> int:
        """Add a node with the shape of the value being read, if that does not mix images."""
        if len(self.value) != 1:
            raise UnprovableError("a reshape that mixes images")
        return self.add(Reshape(self.nodes[place].shape, tuple(self.value.shape[1:])), place)

    def value_of(self, place: int, x: Tensor) -> Tensor:
        """The value of a node for images, in their dtype."""
        return Network(tuple(self.nodes[: place + 1])).logits(x.double()).to(x)

    def constant(self, value: Any, place: int) -> Tensor:
        """A number or tensor that is combined with the values of a node, float64."""
        found = torch.as_tensor(value, dtype=torch.float64, device=self.device)
        like = torch.zeros(1, *self.nodes[place].shape, dtype=torch.float64, device=self.device)
        if (found + like).shape != like.shape:
            raise UnprovableError("a constant that changes the shape of the value it is combined with")
        return found if found.ndim == like.ndim else found.expand_as(like)

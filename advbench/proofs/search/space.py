"""What can be chosen in a relaxed network: lower slopes, sides of zero, and multipliers of the sides.

All activations that bend inside their bounds are one vector of U entries. A row of it stands for one function that is
bounded, or one domain of branch and bound.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.proofs.bounding.backward import Bends, Relaxed
from advbench.proofs.network.relaxations import Activation, Lines


class Choice(NamedTuple):
    """A point of the space, one row for each function.

    Attributes:
        slopes: Slopes of the lower lines, float32 (K, U).
        signs: Side of zero that a domain is confined to, 1, -1, or 0 for both, int8 (K, U).
        multipliers: Multiplier of each such constraint, at least 0, float32 (K, U).
    """

    slopes: Tensor
    signs: Tensor
    multipliers: Tensor

    def rows(self, index: Tensor) -> "Choice":
        """Some of the rows."""
        return Choice(*(each[index] for each in self))


@dataclass(frozen=True)
class Space:
    """A relaxed network with its choices open.

    Attributes:
        relaxed: The network between lines.
        free: Position of an activation -> which of its values bend inside their bounds, int64 (U of it,).
    """

    relaxed: Relaxed
    free: Mapping[int, Tensor]

    @classmethod
    def of(cls, relaxed: Relaxed) -> "Space":
        """The choices that the activations between lines leave."""
        free: dict[int, Tensor] = {}
        for i, lines in relaxed.lines.items():
            operation = relaxed.network.nodes[i].operation
            bends = isinstance(operation, Activation) and operation.bends_at_zero
            if bends and len(found := (lines.upper_offset.flatten() > 0).nonzero().squeeze(1)):
                free[i] = found
        return cls(relaxed, free)

    @property
    def last(self) -> int:
        """Position of the logits."""
        return len(self.relaxed.network.nodes) - 1

    @property
    def size(self) -> int:
        """Number of values that bend, U."""
        return sum(len(each) for each in self.free.values())

    def to(self, dtype: torch.dtype) -> "Space":
        """The same space with the network's numbers in another type."""
        network, ball, lines, _ = self.relaxed
        typed = {i: each.to(dtype) for i, each in lines.items()}
        return Space(Relaxed(network.to(dtype), ball.to(dtype), typed), self.free)

    def parts(self) -> Iterator[tuple[int, Tensor, slice]]:
        """Position of each activation, its values that bend, and where they stand in the vector."""
        before = 0
        for i, found in self.free.items():
            yield i, found, slice(before, before + len(found))
            before += len(found)

    def plain(self, rows: int) -> Choice:
        """The slopes that the lines have, and no split."""
        slopes = [self._at(i, found, self.relaxed.lines[i].lower_slope) for i, found, _ in self.parts()]
        like = self.relaxed.ball.x
        joined = torch.cat(slopes, 1) if slopes else like.new_zeros(1, 0)
        joined = joined.float().expand(rows, -1).clone()
        return Choice(joined, torch.zeros_like(joined, dtype=torch.int8), torch.zeros_like(joined))

    def chosen(self, choice: Choice) -> Relaxed:
        """The relaxed network with the choices made."""
        bends = {}
        split = bool(choice.signs.any())
        for i, found, place in self.parts():
            base, signs = self.relaxed.lines[i], choice.signs[:, place]
            slopes = choice.slopes[:, place].to(base.upper_slope.dtype)
            upper, offset = self._at(i, found, base.upper_slope), self._at(i, found, base.upper_offset)
            push = None
            if split:
                free = signs == 0
                side = torch.where(signs > 0, 1.0, self.leak(i)).to(slopes.dtype)
                slopes, upper = (torch.where(free, each, side) for each in (slopes, upper))
                offset = offset * free
                push = choice.multipliers[:, place].to(slopes.dtype) * -signs.to(slopes.dtype)
            bends[i] = Bends(found, slopes, upper, offset, push)
        return self.relaxed._replace(bends=bends)

    def leak(self, i: int) -> float:
        """Slope below zero of an activation."""
        operation = self.relaxed.network.nodes[i].operation
        return operation.leak if isinstance(operation, Activation) else 0.0

    def least_slopes(self) -> Tensor:
        """The smallest slope that each lower line may have, float32 (U,)."""
        leaks = [torch.full((len(found),), self.leak(i)) for i, found, _ in self.parts()]
        return torch.cat(leaks).to(self.relaxed.ball.x.device) if leaks else torch.zeros(0)

    def _at(self, i: int, found: Tensor, values: Tensor) -> Tensor:
        return values.flatten(1)[:, found]

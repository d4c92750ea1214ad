"""The free choices in a relaxed network: lower slopes, signs of activations, and multipliers of the sign constraints.

All activations that bend inside their bounds form one vector of U entries. A row of it belongs to one function that is
bounded, or one domain of branch and bound.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from advbench.proofs.bounding.backward import Bends, Relaxed
from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.intervals import Interval
from advbench.proofs.network.relaxations import Activation, Lines


class Choice(NamedTuple):
    """A point of the space, one row for each function.

    Attributes:
        slopes: Slopes of the lower lines, float32 (K, U).
        signs: Side of zero that a domain is confined to, 1, -1, or 0 for both, int8 (K, U).
        multipliers: Multiplier of each such constraint, at least 0, float32 (K, U).
        lower: Lower bounds of the activations' inputs, float64 (K, U).
        upper: Upper bounds of them, float64 (K, U).
    """

    slopes: Tensor
    signs: Tensor
    multipliers: Tensor
    lower: Tensor
    upper: Tensor

    def rows(self, index: Tensor) -> "Choice":
        """Some of the rows."""
        return Choice(*(each[index] for each in self))

    @property
    def bent(self) -> Tensor:
        """Where an activation bends inside its bounds, bool (K, U)."""
        return (self.lower < 0) & (self.upper > 0)

    def halves(self, at: Tensor) -> "Choice":
        """Both sides of one activation of each domain: (K,) positions -> 2 K rows, all positive ones first."""
        rows = torch.arange(len(at), device=at.device)
        found = []
        for side in (1, -1):
            signs, lower, upper = self.signs.clone(), self.lower.clone(), self.upper.clone()
            signs[rows, at] = side
            if side > 0:
                lower[rows, at] = lower[rows, at].clamp(min=0)
            else:
                upper[rows, at] = upper[rows, at].clamp(max=0)
            found.append(Choice(self.slopes, signs, self.multipliers, lower, upper))
        return joined(*found)


def joined(*choices: Choice) -> Choice:
    """The rows of both, concatenated."""
    return Choice(*(torch.cat(each) for each in zip(*choices, strict=True)))


@dataclass(frozen=True)
class Space:
    """A relaxed network with free choices.

    Attributes:
        relaxed: The relaxed network.
        free: Position of an activation -> which of its values bend inside their bounds, int64 (U of it,).
        ends: Bounds of the inputs of these values, two rows, float64 (2, U).
    """

    relaxed: Relaxed
    free: Mapping[int, Tensor]
    ends: Tensor

    @classmethod
    def of(cls, relaxed: Relaxed, known: Mapping[int, Interval]) -> Self:
        """The choices left by the relaxed activations, whose inputs have these bounds."""
        free: dict[int, Tensor] = {}
        ends = [relaxed.ball.x.new_zeros(2, 0, dtype=torch.float64)]
        for i in relaxed.lines:
            node = relaxed.network.nodes[i]
            source = known[node.inputs[0]]
            bends = isinstance(node.operation, Activation) and node.operation.bends_at_zero
            if bends and len(found := source.crosses_zero.flatten().nonzero().squeeze(1)):
                free[i] = found
                ends.append(torch.stack([each.flatten()[found] for each in source]))
        return cls(relaxed, free, torch.cat(ends, 1))

    @property
    def last(self) -> int:
        """Position of the logits."""
        return len(self.relaxed.network.nodes) - 1

    @property
    def size(self) -> int:
        """Number of values that bend, U."""
        return self.ends.shape[1]

    def to(self, dtype: torch.dtype) -> "Space":
        """The same space with the network in another dtype."""
        network, ball, lines, _ = self.relaxed
        typed = {i: each.to(dtype) for i, each in lines.items()}
        return Space(Relaxed(network.to(dtype), ball.to(dtype), typed), self.free, self.ends)

    def parts(self) -> Iterator[tuple[int, Tensor, slice]]:
        """Position of each activation, its values that bend, and their position in the vector."""
        before = 0
        for i, found in self.free.items():
            yield i, found, slice(before, before + len(found))
            before += len(found)

    def plain(self, rows: int) -> Choice:
        """The current slopes of the lines, without splits."""
        return self._start("lower_slope", rows)

    def parallel(self, rows: int) -> Choice:
        """The slopes of the upper lines, from which a few steps reach either end, without splits."""
        return self._start("upper_slope", rows)

    def _start(self, which: str, rows: int) -> Choice:
        lines = self.relaxed.lines
        slopes = [getattr(lines[i], which).flatten(1)[:, found] for i, found, _ in self.parts()]
        start = torch.cat(slopes, 1) if slopes else self.ends[:1]
        start = start.float().expand(rows, -1).clone()
        lower, upper = (each.expand(rows, -1).clone() for each in self.ends)
        return Choice(start, torch.zeros_like(start, dtype=torch.int8), torch.zeros_like(start), lower, upper)

    def lines(self, choice: Choice) -> dict[int, Lines]:
        """Lines of the values that bend, for the bounds of each domain (K, U of an activation)."""
        found, dtype = {}, self.relaxed.ball.x.dtype
        for i, _, place in self.parts():
            operation = self.relaxed.network.nodes[i].operation
            ends = choice.lower[:, place].to(dtype), choice.upper[:, place].to(dtype)
            found[i] = operation.lines(*ends)  # type: ignore[union-attr]
        return found

    def chosen(self, choice: Choice, lines: Mapping[int, Lines] | None = None) -> Relaxed:
        """The relaxed network with the choices made.

        Args:
            choice: Slopes, sides and multipliers (K, U).
            lines: Result of :meth:`lines` for the same bounds, to save time.
        """
        bends, dtype = {}, self.relaxed.ball.x.dtype
        lines = self.lines(choice) if lines is None else lines
        split, bent = bool(choice.signs.any()), choice.bent
        for i, found, place in self.parts():
            slopes = torch.where(bent[:, place], choice.slopes[:, place].to(dtype), lines[i].lower_slope)
            signs = choice.signs[:, place].to(dtype)
            push = choice.multipliers[:, place].to(dtype) * -signs if split else None
            bends[i] = Bends(found, slopes, lines[i].upper_slope, lines[i].upper_offset, push)
        return self.relaxed._replace(bends=bends)

    def within(self, ball: BallInBox) -> "Space":
        """The same space for another ball, on which the bounds must also be valid."""
        return Space(self.relaxed._replace(ball=ball), self.free, self.ends)

    def leak(self, i: int) -> float:
        """Slope below zero of an activation."""
        operation = self.relaxed.network.nodes[i].operation
        return operation.leak if isinstance(operation, Activation) else 0.0

    def least_slopes(self) -> Tensor:
        """The smallest slope that each lower line may have, float32 (U,)."""
        leaks = [torch.full((len(found),), self.leak(i)) for i, found, _ in self.parts()]
        return torch.cat(leaks).to(self.relaxed.ball.x.device) if leaks else torch.zeros(0)

"""Proof results for each image, from the rows of a run. Does not import torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from advbench.analysis.arrays import Block, Bools, Columns
from advbench.records.record import PROOF


@dataclass(frozen=True, kw_only=True, eq=False)
class Proofs:
    """The proofs tried at one eps; arrays have a value for each image of the data set."""

    proved: Bools
    """Whether it is proved that nothing within eps meets the goal."""
    obstacles: tuple[str, ...]
    """Reasons why the network cannot be proved, if any."""


def proofs_in(blocks: Sequence[Block], columns: Columns) -> dict[float, Proofs]:
    """The proofs of one threat, by eps."""
    found = {}
    for block in blocks:
        if block.attack == PROOF and block.eps is not None:
            proved = np.zeros(columns.count, bool)
            proved[columns.images[block.rows[columns.proved[block.rows]]]] = True
            obstacles = columns.frame["error"].iloc[block.rows[columns.tried[block.rows]]].dropna().unique()
            found[block.eps] = Proofs(proved=proved, obstacles=tuple(map(str, obstacles)))
    return found


def with_counterexamples(blocks: Sequence[Block], columns: Columns) -> list[Block]:
    """The attacks of one threat, and the proofs as another attack if they found images that meet the goal."""
    attacks = [block for block in blocks if block.attack != PROOF]
    proofs = [block._replace(rows=block.rows[columns.tried[block.rows]]) for block in blocks if block.attack == PROOF]
    return attacks + [block for block in proofs if columns.met[block.rows].any()]


def proved_at(proofs: Mapping[float, Proofs], eps: float | None) -> Bools | None:
    """Whether each image is proved at an eps (N,): a proof at a larger eps also holds at a smaller one.

    Args:
        proofs: eps -> proofs at that eps.
        eps: Budget, image units; None: no bound.

    Returns:
        None if no proof was tried at this eps or a larger one.

    Example:
        >>> proofs = {0.1: Proofs(proved=np.array([True, False]), obstacles=())}
        >>> proved_at(proofs, 0.05), proved_at(proofs, 0.2)
        (array([ True, False]), None)
    """
    speaking = [each.proved for level, each in proofs.items() if eps is not None and level >= eps]
    found: Bools | None = np.any(speaking, axis=0) if speaking else None
    return found

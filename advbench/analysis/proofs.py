"""What the rows of proofs show about each image. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from advbench.analysis.arrays import Block, Bools, Columns
from advbench.records.record import PROOF


@dataclass(frozen=True, kw_only=True, eq=False)
class Proofs:
    """What was tried to prove at one eps; arrays have a value for each image of the data set."""

    proved: Bools
    """Whether it is proved that nothing within eps meets the goal."""
    obstacles: tuple[str, ...]
    """Why the network cannot be proved, if it cannot."""


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
    """The attacks of one threat, and the proofs as one more where they came upon images that meet the goal."""
    attacks = [block for block in blocks if block.attack != PROOF]
    proofs = [block._replace(rows=block.rows[columns.tried[block.rows]]) for block in blocks if block.attack == PROOF]
    return attacks + [block for block in proofs if columns.met[block.rows].any()]


def proved_at(proofs: Mapping[float, Proofs], eps: float | None) -> Bools | None:
    """Whether each image is proved at an eps (N,): what is proved at a larger one is proved at a smaller one.

    Args:
        proofs: eps -> what was proved there.
        eps: Budget, image units; None: no bound.

    Returns:
        None if nothing was tried that says anything of this eps.

    Example:
        >>> proofs = {0.1: Proofs(proved=np.array([True, False]), obstacles=())}
        >>> proved_at(proofs, 0.05), proved_at(proofs, 0.2)
        (array([ True, False]), None)
    """
    speaking = [each.proved for level, each in proofs.items() if eps is not None and level >= eps]
    found: Bools | None = np.any(speaking, axis=0) if speaking else None
    return found

"""Write a proof task for one image as a VNN-LIB property: the images in a box whose logits meet the goal."""

import math
from collections.abc import Iterator
from itertools import combinations, product

from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.specifications import Specification

MOST_CASES = 4096
"""Maximum number of ways to meet a goal that a property may list."""


def as_vnnlib(ball: BallInBox, wanted: Specification, classes: int) -> str:
    """A property that holds (`unsat`) if and only if no image of the box meets the goal.

    Args:
        ball: The images; their box is written, which in Linf is the whole ball.
        wanted: The differences that have to be bounded.
        classes: Number of classes.

    Raises:
        ValueError: The ball is not a box, or there are too many ways to meet the goal.

    Example:
        >>> import torch
        >>> from advbench.proofs.bounding.specifications import specification
        >>> from attacks import Linf, Untargeted
        >>> ball = BallInBox.around(torch.tensor([[0.5]], dtype=torch.float64), Linf(), 0.1)
        >>> print(as_vnnlib(ball, specification(Untargeted(torch.tensor([1])), 2), 2).splitlines()[-1])
        (assert (or (and (<= Y_1 Y_0))))
    """
    if not ball.is_box:
        raise ValueError(f"expected a ball of linf, which is a box, got one of {ball.norm}")
    lower, upper = ball.lower.flatten().tolist(), ball.upper.flatten().tolist()
    lines = [f"(declare-const X_{i} Real)" for i in range(len(lower))]
    lines += [f"(declare-const Y_{i} Real)" for i in range(classes)]
    for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
        lines += [f"(assert (>= X_{i} {low:.17f}))", f"(assert (<= X_{i} {high:.17f}))"]
    cases = (" ".join(f"(<= Y_{a} Y_{b})" for a, b in case) for case in _cases(wanted))
    lines.append(f"(assert (or {' '.join(f'(and {case})' for case in cases)}))")
    return "\n".join(lines) + "\n"


def _cases(wanted: Specification) -> Iterator[list[tuple[int, int]]]:
    """The ways to meet a goal: pairs of classes of which the first must not be above the second."""
    pairs = list(zip(wanted.above.tolist(), wanted.below.tolist(), strict=True))
    rows = [pairs[at : at + wanted.columns] for at in range(0, len(pairs), wanted.columns)]
    count = math.comb(wanted.columns, wanted.k) ** len(rows)
    if count > MOST_CASES:
        raise ValueError(f"expected at most {MOST_CASES} ways to meet the goal, got {count}")
    for chosen in product(*(combinations(row, wanted.k) for row in rows)):
        yield [pair for row in chosen for pair in row]

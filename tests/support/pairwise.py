"""Which cases of a test are quick: enough of them that all values meet that should, not every combination."""

import heapq
from collections.abc import Hashable, Sequence
from itertools import combinations

import pytest

Case = tuple[Hashable, ...]
"""A value for each parameter, in the order of the parameters."""


def covering(cases: Sequence[Case]) -> set[int]:
    """The indices of few of ``cases`` in which every two values stand together that do so in one of all cases.

    Each time the case with most pairs that are still missing, the first of those with as many.
    """
    pairs = [frozenset(combinations(enumerate(case), 2)) for case in cases]
    missing = frozenset[object]().union(*pairs)
    queue = [(-len(found), index) for index, found in enumerate(pairs)]
    heapq.heapify(queue)
    chosen = set[int]()
    while missing:
        _, index = heapq.heappop(queue)
        gain = len(pairs[index] & missing)
        if queue and (-gain, index) > queue[0]:  # others have more to add by now
            heapq.heappush(queue, (-gain, index))
            continue
        chosen.add(index)
        missing -= pairs[index]
    return chosen


def each_once(names: str, first: Sequence[str], others: Sequence[object]) -> pytest.MarkDecorator:
    """Parametrises a test with all of ``first`` and all of ``others``; quick are enough cases to have each once.

    For what is one piece of code that all of ``first`` go through. Each of ``others`` is a value, or a ``pytest.param``
    of several; ``names`` are those of both, with commas.
    """
    cases = [
        pytest.param(one, *other.values, id=f"{one}-{other.id or i}", marks=() if _meet(j, i, first, others) else SLOW)
        for i, other in enumerate(map(_param, others))
        for j, one in enumerate(first)
    ]
    return pytest.mark.parametrize(names, cases)


SLOW = pytest.mark.slow


def _param(value):
    return value if hasattr(value, "values") and hasattr(value, "marks") else pytest.param(value, id=str(value))


def _meet(row: int, column: int, rows: Sequence[object], columns: Sequence[object]) -> bool:
    """Whether a place is on the diagonal of a table, which begins anew at the shorter side's end."""
    return row % len(columns) == column if len(rows) >= len(columns) else column % len(rows) == row

"""Goals of every kind, what each of them means, and logits for them. A new goal is added in this file alone."""

from collections.abc import Iterator
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import strategies as st

from attacks import Goal, LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted

KINDS = ["untargeted", "targeted", "topk-exclusion", "label-out-of-topk", "ordered-topk"]
WANTING = ("targeted", "ordered-topk")
"""Kinds that want the classes they name; the others want them to fall."""
Pairs = list[tuple[int, int]]
"""Classes (above, below): the first must have the larger logit."""
each_kind = pytest.mark.parametrize("kind", KINDS)


def build(kind, classes, k, **ids):
    """The goal of this kind whose label, target or classes are the first of each row of ``classes`` (N, C)."""
    match kind:
        case "untargeted":
            return Untargeted(classes[:, 0], **ids)
        case "targeted":
            return Targeted(classes[:, 0], **ids)
        case "topk-exclusion":
            return TopKExclusion(classes[:, :k], **ids)
        case "label-out-of-topk":
            return LabelOutOfTopK(classes[:, 0], k, **ids)
    return OrderedTopK(classes[:, :k], **ids)


def unmet(kind, order, k):
    """The goal of this kind that is furthest from images whose classes, best first, are ``order`` (N, C)."""
    if kind == "ordered-topk":
        return build(kind, order[:, [k, k - 1] if k > 1 else [1]], 2)
    return build(kind, order.flip(1) if kind in WANTING else order, k)


def fulfilled(kind, order, k):
    """A goal of this kind that images whose classes, best first, are ``order`` (N, C) meet."""
    return build(kind, order if kind in WANTING else order.flip(1), k)


def orders(goal: Goal, row: int, num_classes: int) -> Iterator[Pairs]:
    """The ways to meet a goal for one image; each is a list of pairs that must all hold."""
    everything = set(range(num_classes))
    match goal:
        case Untargeted():
            label = int(goal.labels[row])
            yield from ([(other, label)] for other in everything - {label})
        case Targeted():
            target = int(goal.targets[row])
            yield [(target, other) for other in everything - {target}]
        case TopKExclusion():
            old = set(goal.classes[row].tolist())
            for new in combinations(everything - old, len(old)):
                yield [(above, below) for above in new for below in old]
        case LabelOutOfTopK():
            label = int(goal.labels[row])
            for new in combinations(everything - {label}, goal.k):
                yield [(above, label) for above in new]
        case OrderedTopK():
            first = goal.targets[row].tolist()
            rest = everything - set(first)
            yield [*pairwise(first), *((first[-1], other) for other in rest)]


@st.composite
def situations(draw, kind, elements=None):
    """Logits (N, C), float64, in which ties are likely, the classes a goal is made of (N, C), and its k."""
    elements = st.integers(-3, 3).map(float) | st.floats(-3, 3) if elements is None else elements
    num_classes = draw(st.integers(2, 7))
    k = draw(st.integers(1, {"topk-exclusion": num_classes // 2}.get(kind, num_classes - 1)))
    row = st.tuples(st.lists(elements, min_size=num_classes, max_size=num_classes), st.permutations(range(num_classes)))
    logits, classes = zip(*draw(st.lists(row, min_size=1, max_size=4)), strict=True)
    return torch.tensor(logits, dtype=torch.float64), torch.tensor(classes), k

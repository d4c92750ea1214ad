"""Goals of every kind, and logits for them."""

import pytest
import torch
from hypothesis import strategies as st

from attacks import LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted

KINDS = ["untargeted", "targeted", "topk-exclusion", "label-out-of-topk", "ordered-topk"]
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


@st.composite
def situations(draw, kind, elements=None):
    """Logits (N, C), float64, in which ties are likely, the classes a goal is made of (N, C), and its k."""
    elements = st.integers(-3, 3).map(float) | st.floats(-3, 3) if elements is None else elements
    num_classes = draw(st.integers(2, 7))
    k = draw(st.integers(1, {"topk-exclusion": num_classes // 2}.get(kind, num_classes - 1)))
    row = st.tuples(st.lists(elements, min_size=num_classes, max_size=num_classes), st.permutations(range(num_classes)))
    logits, classes = zip(*draw(st.lists(row, min_size=1, max_size=4)), strict=True)
    return torch.tensor(logits, dtype=torch.float64), torch.tensor(classes), k

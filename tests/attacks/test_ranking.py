"""Margins between sets of classes against counting and enumeration."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attacks import TopKExclusion, Untargeted
from attacks.objectives.ranking import exclusion_margin, order_margin, outside, ranked_classes
from attacks.objectives.rivals import ways_to


@st.composite
def sets(draw):
    """Logits of one image as a list, some of its classes, and how many of the others must rise above them."""
    num_classes = draw(st.integers(2, 8))
    scores = draw(st.lists(st.integers(-2, 2).map(float), min_size=num_classes, max_size=num_classes))
    classes = draw(st.permutations(range(num_classes)))[: draw(st.integers(1, num_classes - 1))]
    return scores, classes, draw(st.integers(1, num_classes - len(classes)))


def batch(scores, classes):
    return torch.tensor([scores], dtype=torch.float64), torch.tensor([classes])


@given(sets())
def test_exclusion_margin_is_the_gap_to_the_kth_other(situation):
    scores, classes, k = situation
    others = sorted((score for c, score in enumerate(scores) if c not in classes), reverse=True)
    expected = max(scores[c] for c in classes) - others[k - 1]
    assert exclusion_margin(*batch(scores, classes), k).item() == expected


@given(sets())
def test_order_margin_is_the_worst_of_all_pairs_out_of_order(situation):
    scores, classes, _ = situation
    rest = [c for c in range(len(scores)) if c not in classes]
    # neighbours in the wanted order, and the last wanted class before each of the others
    pairs = [*pairwise(classes), *((classes[-1], c) for c in rest)]
    expected = max(scores[after] - scores[before] for before, after in pairs)
    assert order_margin(*batch(scores, classes)).item() == expected


def test_rows_do_not_mix():
    logits = torch.tensor([[5.0, 4.0, 3.0, 1.0], [1.0, 3.0, 4.0, 5.0]])
    classes = torch.tensor([[0, 1], [3, 2]])
    for function in (lambda z, c: exclusion_margin(z, c, 2), order_margin):
        both = function(logits, classes)
        assert both.tolist() == [function(logits[i : i + 1], classes[i : i + 1]).item() for i in range(2)]


def test_outside_hides_classes_and_leaves_the_logits_alone():
    logits = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    hidden = outside(logits, torch.tensor([[0, 2], [1, 1]]))
    assert hidden.tolist() == [[-math.inf, 2.0, -math.inf], [4.0, -math.inf, 6.0]]
    assert logits.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_gradients_are_finite_beside_hidden_classes():
    logits = torch.tensor([[1.0, 2.0, 3.0, 300.0]], requires_grad=True)
    for margin in (exclusion_margin(logits, torch.tensor([[0, 3]]), 2), order_margin(logits, torch.tensor([[1, 3]]))):
        (gradient,) = torch.autograd.grad(margin.sum(), logits)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
        assert gradient.sum().item() == pytest.approx(0, abs=1e-6)


few = st.sampled_from([-1.0, -0.0, 0.0, 1.0, math.nan, math.inf, -math.inf])


@given(st.integers(2, 40).flatmap(lambda count: st.lists(few, min_size=count, max_size=count)), st.integers(1, 41))
def test_of_equal_logits_the_lower_class_is_ranked_first(scores, k):
    expected = sorted(range(len(scores)), key=lambda c: (0, 0, c) if math.isnan(scores[c]) else (1, -scores[c], c))
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        logits = torch.tensor([scores], dtype=dtype)
        assert ranked_classes(logits, k).tolist() == [expected[:k]]
        assert logits.argmax(1).tolist() == expected[:1]


@pytest.mark.parametrize("num_classes", [10, 17, 1000])
def test_goals_and_ways_take_equal_classes_in_order(num_classes):
    flat = torch.zeros(3, num_classes)
    assert TopKExclusion.from_logits(flat, 3).classes.tolist() == [[0, 1, 2]] * 3
    ways = ways_to(Untargeted(torch.tensor([1, 1, 1])), flat, 3)
    assert [way.new[0].item() for way in ways] == [0, 2, 3]
    logits = flat.clone().requires_grad_()
    margin = exclusion_margin(logits, torch.tensor([[0], [1], [2]]), 2)
    (gradient,) = torch.autograd.grad(margin.sum(), logits)
    assert gradient.argmin(1).tolist() == [2, 2, 1]


def test_infinite_logits_of_other_classes_do_not_matter_where_there_is_a_gradient_either():
    logits = torch.tensor([[3.0, 4.0, -torch.inf], [3.0, 1.0, 2.0], [torch.inf, 1.0, 2.0], [3.0, 4.0, torch.nan]])
    known = exclusion_margin(logits, torch.zeros(4, 1, dtype=torch.int64), k=1)
    leaf = logits.clone().requires_grad_()
    found = exclusion_margin(leaf, torch.zeros(4, 1, dtype=torch.int64), k=1)
    torch.testing.assert_close(found.detach(), known, equal_nan=True)
    (slope,) = torch.autograd.grad(found.sum(), leaf)
    assert slope[:2].tolist() == [[1, -1, 0], [1, 0, -1]]
    assert slope.isfinite().all()

"""Gaps against the margins of the goals, and the smooth form of the largest."""

import math

import torch
from goal_kinds import build, each_kind, situations
from hypothesis import given
from hypothesis import strategies as st

from attacks import TopKExclusion, Untargeted
from attacks.goals import BaseGoal
from attacks.objectives.gaps import soft_maximum
from attacks.objectives.rivals import Overtake


@each_kind
@given(data=st.data())
def test_the_largest_gap_is_negative_exactly_when_the_margin_is(kind, data):
    logits, classes, k = data.draw(situations(kind))
    goal = build(kind, classes, k)
    largest, margin = goal.gaps(logits).amax(1), goal.margin(logits)
    assert torch.equal(largest < 0, margin < 0)
    assert torch.equal(largest, margin) or (kind == "ordered-topk" and (largest >= margin).all())


def test_in_an_order_every_class_is_compared_with_all_that_should_stand_above_it():
    goal = build("ordered-topk", torch.tensor([[2, 0]]), k=2)
    found = goal.gaps(torch.tensor([[3.0, 1.0, 4.0, 2.0]]))
    assert sorted(found[found.isfinite()].tolist()) == [-3.0, -2.0, -2.0, -1.0, -1.0]


def test_so_it_is_where_it_is_said_which_classes_rise():
    aim = Overtake(old=torch.tensor([[0, 1]]), new=torch.tensor([[3, 4]]), ids=torch.tensor([0]))
    logits = torch.tensor([[3.0, 2.0, 9.0, 1.0, 0.5]])
    assert aim.gaps(logits).tolist() == [[2.0, 2.5, 1.0, 1.5]]
    assert aim.margin(logits).tolist() == [2.5]


def test_a_goal_of_a_stranger_has_one_gap():
    class Stranger(Untargeted):
        pass

    class Foreign(BaseGoal):
        def margin(self, logits):
            return logits[:, 0] - 7

    assert Foreign().gaps(torch.tensor([[9.0, 1.0]])).tolist() == [[2.0]]
    assert Stranger(torch.tensor([0])).gaps(torch.tensor([[9.0, 1.0]])).tolist() == [[8.0]]


@each_kind
@given(data=st.data(), temperature=st.floats(0.01, 10))
def test_the_soft_maximum_is_an_upper_bound_that_tends_to_the_largest_gap(kind, data, temperature):
    logits, classes, k = data.draw(situations(kind))
    goal = build(kind, classes, k)
    all_gaps = goal.gaps(logits)
    exact = all_gaps.amax(1)
    smooth = soft_maximum(all_gaps, torch.full_like(exact, temperature))
    assert (smooth >= exact - 1e-9).all()
    assert (smooth <= exact + temperature * math.log(all_gaps.shape[1]) + 1e-9).all()
    torch.testing.assert_close(soft_maximum(all_gaps, torch.full_like(exact, 1e-9)), exact, rtol=0, atol=1e-7)


def test_each_image_has_a_temperature_and_each_gap_a_weight():
    table = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    both = soft_maximum(table, torch.tensor([0.1, 2.0]))
    assert both[0] == soft_maximum(table[:1], torch.tensor([0.1]))
    weights = torch.tensor([[0.25, 0.75]]).log()
    found = soft_maximum(table[:1], torch.tensor([0.5]), weights)
    torch.testing.assert_close(found, torch.tensor([0.5 * math.log(0.25 * math.exp(2) + 0.75)]))


def test_the_smooth_margin_looks_at_all_classes_concerned():
    logits = torch.tensor([[3.0, 2.9, 2.0, 1.9, -9.0]], requires_grad=True)
    goal = TopKExclusion(torch.tensor([[0, 1]]))
    (exact,) = torch.autograd.grad(goal.margin(logits).sum(), logits)
    assert exact.tolist() == [[1, 0, 0, -1, 0]]
    (smooth,) = torch.autograd.grad(soft_maximum(goal.gaps(logits), torch.ones(1)).sum(), logits)
    assert (smooth[0, :2] > 0.3).all()
    assert (smooth[0, 2:4] < -0.3).all()
    assert smooth[0, 4] == 0


@each_kind
def test_gradients_are_finite_beside_hidden_classes(kind):
    logits = torch.tensor([[1.0, 2.0, 3.0, 300.0]], requires_grad=True)
    goal = build(kind, torch.tensor([[1, 3, 0, 2]]), k=2)
    for temperature in (0.5, 1e-3):
        (gradient,) = torch.autograd.grad(soft_maximum(goal.gaps(logits), torch.tensor([temperature])).sum(), logits)
        assert gradient.isfinite().all()
        assert gradient.sum().item() == 0 or abs(gradient.sum().item()) < 1e-5

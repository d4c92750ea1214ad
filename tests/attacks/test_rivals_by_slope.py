"""Which rivals a linear model has nearest, where that is known in closed form."""

import pytest
import torch
from counting import Counting
from oracles import Linear, goals, images, linear

from attacks import NORMS, Linf, Masked, Standard, Untargeted
from attacks.objectives.rivals import ways_to
from attacks.searches.rivals_by_slope import ways_by_slope

DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}


@pytest.mark.parametrize("norm", DUAL)
def test_rivals_come_in_the_order_of_their_distances(norm):
    model, x = linear(num_classes=15, values=24, seed=1), images(6, (24,), seed=1)
    logits = model(x)
    labels = logits.argmax(1)
    gap = logits.gather(1, labels.unsqueeze(1)) - logits
    length = torch.linalg.vector_norm(model.weight[labels].unsqueeze(1) - model.weight, ord=DUAL[norm], dim=2)
    expected = (gap / length).scatter(1, labels.unsqueeze(1), torch.inf).argsort(1)[:, :9]
    found = ways_by_slope(model, x, Untargeted(labels), logits, NORMS[norm](), count=9)
    assert found.new.squeeze(2).tolist() == expected.tolist()
    assert found.new.tolist() != ways_to(Untargeted(labels), logits, 9).new.tolist()


def test_only_the_classes_with_the_highest_logits_are_looked_at(monkeypatch):
    monkeypatch.setattr("attacks.searches.rivals_by_slope.CANDIDATES", 4)
    model, x = linear(num_classes=15, values=24, seed=1), images(6, (24,), seed=1)
    logits, goal = model(x), Untargeted(model(x).argmax(1))
    metered = Counting(model, goal.ids)
    found = ways_by_slope(metered, x, goal, logits, Linf(), count=6).new.squeeze(2)
    assert found[:, :4].sort(1).values.equal(logits.argsort(1, descending=True)[:, 1:5].sort(1).values)
    assert found[:, 4:].equal(found[:, :2])
    assert metered.forwards.tolist() == [1] * 6
    assert metered.backwards.tolist() == [4] * 6


def test_parts_of_the_batch_give_what_the_whole_gives(monkeypatch):
    model, x = linear(num_classes=15, values=24, seed=1), images(6, (24,), seed=1)
    goal = Untargeted(model(x).argmax(1))
    whole = ways_by_slope(model, x, goal, model(x), Linf(), count=9).new
    monkeypatch.setattr("attacks.searches.rivals_by_slope._VALUES", 1)
    assert torch.equal(ways_by_slope(model, x, goal, model(x), Linf(), count=9).new, whole)


def test_slopes_count_within_a_mask_alone():
    weight = torch.zeros(3, 4)
    weight[1, 3], weight[2, 0] = 9, 1
    model = Linear(weight, torch.tensor([1.0, 0.0, 0.0]))
    x, goal = torch.zeros(1, 4), Untargeted(torch.tensor([0]))
    masked = Masked(Linf(), torch.tensor([True, True, True, False]))
    first = [ways_by_slope(model, x, goal, model(x), norm, count=1).new.item() for norm in (Linf(), masked)]
    assert first == [1, 2]


@pytest.mark.parametrize("kind", ["targeted", "ordered-topk", "topk-exclusion", "label-out-of-topk"])
def test_goals_that_one_class_does_not_meet_keep_their_ways(kind):
    model, x = linear(num_classes=15, values=24, seed=1), images(6, (24,), seed=1)
    goal = goals(model(x))[kind]
    found = ways_by_slope(model, x, goal, model(x), Linf(), count=3)
    assert torch.equal(found.new, ways_to(goal, model(x), 3).new)


@pytest.mark.parametrize("by_slope", [True, False])
def test_standard_aims_at_what_is_near_and_not_at_what_is_high(by_slope, monkeypatch):
    # Class 1 is second everywhere but out of reach; class 2 is lower, and within reach once aimed at.
    if not by_slope:
        monkeypatch.setattr("attacks.standard_descents.MANY", 12)
    weight = torch.zeros(12, 4, dtype=torch.float64)
    weight[1, 0], weight[2, 1:] = 1e-3, 4
    model = Linear(weight, torch.tensor([1.0, 0.9, -6.0] + [-9.0] * 9, dtype=torch.float64))
    x, goal = torch.full((1, 4), 0.5, dtype=torch.float64), Untargeted(torch.tensor([0]))
    x_adv = Standard(targets=1, rounds=1, queries=1)(model, x, goal, eps=0.1)
    assert bool(goal.margin(model(x_adv)) < 0) == by_slope

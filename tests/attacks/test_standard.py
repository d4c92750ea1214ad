"""Standard: what each of its steps is there for, on models for which the others are of no use."""

import math
from itertools import pairwise

import pytest
import torch
from counting import Counting
from oracles import Linear, Quantised, Recorder, RowByRow, goals, images, linear, mlp

from attacks import (
    APGD,
    FAB,
    L1,
    L2,
    LabelOutOfTopK,
    Linf,
    OrderedTopK,
    Square,
    Standard,
    Targeted,
    TopKExclusion,
    Untargeted,
)
from attacks.losses import margin
from attacks.objectives.rivals import Overtake, distinct_aims, ways_to
from attacks.searches.hopping import hop, kick
from attacks.searches.lowest import Lowest
from attacks.searches.track import Survivors
from attacks.square import scatter, schedule, search
from attacks.standard_descents import from_outside


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


# --- ways to meet a goal ---


def test_the_nearest_rival_comes_first():
    logits = torch.tensor([[9.0, 1.0, 5.0, 3.0], [0.0, 7.0, 2.0, 4.0]])
    found = ways_to(Untargeted(torch.tensor([0, 1])), logits, count=3)
    assert [aim.new.squeeze(1).tolist() for aim in found] == [[2, 3], [3, 2], [1, 0]]


@pytest.mark.parametrize("goal", [Untargeted(torch.tensor([0])), LabelOutOfTopK(torch.tensor([0]), 1)])
def test_two_classes_have_one_rival_and_it_is_tried_again(goal):
    assert [aim.new.tolist() for aim in ways_to(goal, torch.tensor([[2.0, 1.0]]), count=3)] == [[[1]]] * 3


def test_whoever_drives_out_two_classes_lifts_two():
    logits = torch.tensor([[9.0, 8.0, 3.0, 5.0, 4.0]])
    found = ways_to(TopKExclusion(torch.tensor([[0, 1]])), logits, count=3)
    assert [aim.new.tolist() for aim in found] == [[[3, 4]], [[3, 2]], [[3, 4]]]


@pytest.mark.parametrize(("kind", "ways"), [("untargeted", 5), ("topk-exclusion", 3), ("label-out-of-topk", 4)])
def test_no_way_is_named_twice_however_many_are_asked_for(kind, ways):
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    found = [aim.new.tolist() for aim in distinct_aims(goals(logits)[kind], logits, most=9)]
    assert len(found) == len(set(map(str, found))) == ways


@pytest.mark.parametrize("kind", ["untargeted", "topk-exclusion", "label-out-of-topk", "targeted", "ordered-topk"])
def test_what_meets_an_aim_meets_its_goal(kind):
    logits = torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    goal, others = goals(logits)[kind], logits.roll(1, 0)
    for aim in ways_to(goal, logits, count=4):
        reached = aim.margin(others) < 0
        assert (goal.margin(others)[reached] < 0).all()
        assert torch.equal(aim.select(torch.tensor([3, 5])).margin(others[[3, 5]]), aim.margin(others)[[3, 5]])


@pytest.mark.parametrize("goal", [Targeted(torch.tensor([1])), OrderedTopK(torch.tensor([[1, 2]]))])
def test_a_goal_that_names_its_classes_is_its_own_aim(goal):
    assert list(ways_to(goal, torch.zeros(1, 4), count=2)) == [goal, goal]


def test_an_aim_looks_at_its_own_classes_alone():
    aim = Overtake(old=torch.tensor([[0, 1]]), new=torch.tensor([[2, 3]]), ids=torch.tensor([0]))
    assert aim.margin(torch.tensor([[5.0, 1.0, 4.0, 6.0, 99.0]])).item() == 1
    assert aim.cross_entropy(torch.zeros(1, 5)).item() == pytest.approx(torch.tensor(2.0).log().item())


# --- the best candidate so far ---


def test_the_lowest_margin_is_kept_for_each_image():
    x = torch.tensor([[0.9, 0.3], [0.2, 0.8], [0.7, 0.1]])
    active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0, 0, 0])), Linf(), eps=1.0)
    best = Lowest(active)
    best.look(active, torch.tensor([[0.95, 0.2], [0.5, 0.2]]))
    torch.testing.assert_close(best.margin, torch.tensor([0.6, torch.inf, 0.3]))
    torch.testing.assert_close(best.of(active), torch.tensor([[0.9, 0.3], [0.5, 0.2]]))
    best.look(active, torch.tensor([[0.1, 0.2], [0.5, 0.3]]))
    assert active.rows.tolist() == [2]
    torch.testing.assert_close(best.of(active), torch.tensor([[0.5, 0.3]]))


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([0.5, 0.6, 0.52, 0.48, 0.7], [False, False, True, True, True]),
        ([0.5, 0.5, 0.2, 0.2], [False, True, False, False]),  # the first ones agreed on something else
        ([1.0, 0.5, 0.5], [False, False, True]),  # the clean margin itself is no end
        ([0.95, 0.95, 0.95], [False, False, False]),  # hardly fallen
    ],
)
def test_searches_settle_where_the_first_and_a_later_one_agree(ends, expected):
    x = torch.tensor([[1.0, 0.0]])
    active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0])), Linf(), eps=1.0)
    best, settled = Lowest(active), []
    for margin_there in ends:
        best.look(active, torch.tensor([[margin_there, 0.0]]))
        settled.append(bool(best.settled))
    assert settled == expected


# --- basin hopping ---


class Wall(torch.nn.Module):
    """A margin with a hollow at grey and its way out beyond a wall, the same for every value."""

    def forward(self, x):
        away = (x.flatten(1) - 0.5).abs().mean(1)
        depth = torch.where(away < 0.12, 0.2 + away, 0.5 - 1.5 * away)
        return torch.stack([depth, torch.zeros_like(depth)], 1)


def test_a_kick_stays_in_the_ball_and_moves_some_values():
    x = images(20, (1, 20, 20), low=0, high=1)
    for norm, eps in ((Linf(), 0.1), (L2(), 0.5)):
        active = Survivors(mlp(400), x, Untargeted(mlp(400)(x).argmax(1)), norm, eps)
        moved = kick(active, active.x, seed=1)
        assert (norm.measure(moved - x) <= eps * (1 + 1e-5)).all()
        share = (moved != x).flatten(1).double().mean(1)
        assert (share > 0.01).all()
        assert (share < 0.6).all()
        assert share.max() > 3 * share.min()


def test_hops_leave_a_hollow_that_descents_do_not():
    model, x = Wall().double(), torch.full((4, 1, 2, 1), 0.5, dtype=torch.float64) + 1e-3
    goal = Untargeted(torch.zeros(4, dtype=torch.int64))
    active = Survivors(model, x, goal, Linf(), eps=0.4)
    best = Lowest(active)
    for seed in range(30):
        if len(active):
            hop(active, best, seed)
    assert not len(active)
    assert fooled(model, goal, active.found).all()


def test_a_hop_never_loses_the_best_point():
    model, x = mlp(12, seed=3), images(6, (3, 2, 2), seed=3)
    active = Survivors(model, x, Untargeted(model(x).argmax(1)), Linf(), eps=1e-3)
    best, before = Lowest(active), None
    for seed in range(5):
        before = best.margin.clone()
        hop(active, best, seed)
        assert (best.margin <= before).all()
    torch.testing.assert_close(active.goal.margin(model(best.of(active))), best.margin)


# --- squares from a given point ---


def test_squares_from_a_good_point_are_the_better_for_it():
    model, x = linear(values=48, seed=2), images(4, (3, 4, 4), seed=2)
    goal = goals(model(x))["untargeted"]
    active = Survivors(model, x, goal, Linf(), 0.5 * model.smallest(x, goal, "linf"))
    start = APGD(steps=20, loss="margin")(model, x, goal, eps=active.eps)
    value = goal.margin(model(search(active, start, schedule(20, 0.1), seed=0)))
    assert (value <= goal.margin(model(start))).all()
    assert (value < goal.margin(model(search(active, scatter(active, 0), schedule(20, 0.8), seed=0)))).all()


# --- from outside ---


def test_a_path_from_outside_ends_within_the_budget_itself():
    assert from_outside(60) == [(3, 15), (2, 15), (1, 30)]
    assert from_outside(1) == [(3, 1), (2, 1), (1, 1)]


# --- the whole ---


def test_masked_gradients_are_no_defence():
    inner, x = mlp(108, seed=1, hidden=32), images(12, (3, 6, 6), low=0, high=1)
    masked = Quantised(inner, levels=8)
    goal = Untargeted(masked(x).argmax(1))
    eps = 0.25
    by_gradients = fooled(masked, goal, APGD(steps=100, loss="margin")(masked, x, goal, eps=eps))
    by_all = fooled(masked, goal, Standard()(masked, x, goal, eps=eps))
    by_squares = fooled(masked, goal, Square()(masked, x, goal, eps=eps))
    assert by_squares.sum() > by_gradients.sum()
    assert by_all.sum() >= by_squares.sum()


class Corner(torch.nn.Module):
    """A bowl around grey, with a hole in one corner of the budget. Further out than the budget all ways lead there."""

    def forward(self, x):
        away = x.flatten(1) - 0.5
        bowl = 0.01 + 100 * away.square().mean(1)
        within = torch.where(away.mean(1) > 0.12, -0.1, bowl)
        margin = torch.where(away.abs().mean(1) > 0.14, 0.3 - away.mean(1), within)
        return torch.stack([margin, torch.zeros_like(margin)], 1)


@pytest.mark.parametrize("outside", [True, False])
def test_a_way_that_begins_beyond_the_budget_is_found_from_outside_alone(outside, monkeypatch):
    if not outside:
        monkeypatch.setattr("attacks.standard_descents.OUTSIDE", ((1, 4),))
    model, x, goal = Corner(), torch.full((4, 100), 0.53), Untargeted(torch.zeros(4, dtype=torch.int64))
    assert fooled(model, goal, Standard(rounds=3, queries=1)(model, x, goal, eps=0.1)).all() == outside


LIGHT = {"rounds": 1, "queries": 1, "targets": 3}
"""Little of all steps but those that these tests are about."""


def crumpled(values, num_classes=10, hidden=64):
    """A network with steep, broken boundaries, and images for it, float64."""
    generator = torch.Generator().manual_seed(4)
    model = torch.nn.Sequential(torch.nn.Flatten())
    for inputs, outputs in pairwise((values, hidden, hidden, num_classes)):
        layer = torch.nn.Linear(inputs, outputs).double()
        for weight in layer.parameters():
            fresh = torch.rand(weight.shape, generator=generator, dtype=torch.float64) * 2 - 1
            weight.data = 3 * fresh / math.sqrt(inputs)
        model += torch.nn.Sequential(layer, torch.nn.ReLU())
    return model[:-1].eval(), torch.rand(16, values, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("long", [True, False])
def test_in_l1_long_descents_find_the_few_values_that_count(long, monkeypatch):
    if not long:
        monkeypatch.setattr("attacks.standard_in_l1.LONG", 1)
    model, x = crumpled(100)
    goal = Untargeted(model(x).argmax(1))
    radius = L1().measure(FAB(norm=L1(), steps=30)(model, x, goal) - x)
    x_adv = Standard(norm=L1(), **LIGHT)(model, x, goal, eps=radius)
    assert (fooled(model, goal, x_adv).sum() >= 15) == long


@pytest.mark.parametrize(
    ("norm", "eps", "step", "rows"),
    [(L2(), 1.0, "FMN", [64, 89, 190]), (L1(), 8.0, "from_outside", [64, 108, 137, 145])],
    ids=["boundary-l2", "outside-l1"],
)
def test_on_a_real_network_some_images_fall_to_one_step_alone(norm, eps, step, rows, shared, monkeypatch):
    from tests.peers.victims import mnist

    target = mnist("mnist-mlp-clean", 200)()
    goal, attack = Untargeted(target.y), Standard(norm=norm, **LIGHT)
    rows = torch.tensor(rows)
    x, some = target.x[rows], goal.select(rows)
    # the long descents of the end and those from plateaus would find them too
    monkeypatch.setattr("attacks.standard.PATIENCE", 0)
    monkeypatch.setattr("attacks.standard.SURE", 2)
    assert fooled(target.model, some, attack(target.model, x, some, eps=eps)).all()
    without = {"FMN": lambda **_: lambda model, x, goal, eps: x, "from_outside": lambda steps: [(1, steps)]}[step]
    place = "attacks.standard" if step == "FMN" else "attacks.standard_in_l1"
    monkeypatch.setattr(f"{place}.{step}", without)
    assert not fooled(target.model, some, attack(target.model, x, some, eps=eps)).any()


def passes(model, x, goal, eps, **parameters):
    metered = Counting(model, goal.ids)
    Standard(**parameters)(metered, x, goal, eps=eps)
    return metered.forwards + metered.backwards


def test_an_image_out_of_reach_is_left_out_early():
    model, x = linear(values=48, seed=2), images(4, (3, 4, 4), seed=2)
    goal = goals(model(x))["untargeted"]
    radius = model.smallest(x, goal, "linf")
    far, near = passes(model, x, goal, 0.3 * radius), passes(model, x, goal, 0.99 * radius)
    assert (far < 160).all()
    plateau = passes(model, x, goal, 0.01 * radius)  # it might be one: every rival is tried, from outside too
    assert ((plateau > 800) & (plateau < 1100)).all()
    assert (near > 1000).all()
    assert (passes(model, x, goal, 1.01 * radius) < 50).all()


def test_whether_an_image_is_left_out_is_its_own_affair():
    model, x = RowByRow(linear(values=48, seed=2)), images(4, (3, 4, 4), seed=2)
    goal = goals(model(x))["untargeted"]
    eps = torch.tensor([0.1, 0.6, 0.75, 0.97], dtype=torch.float64) * model.model.smallest(x, goal, "linf")
    short = {"steps": 5, "targets": 2, "queries": 20, "rounds": 20}
    together = passes(model, x, goal, eps, **short)
    assert len(together.unique()) > 2
    for i in range(4):
        row = torch.tensor([i])
        assert passes(model, x[row], goal.select(row), eps[row], **short).item() == together[i].item()


def test_volumes_have_no_squares_and_are_attacked_all_the_same():
    model, x = Recorder(linear(values=48, seed=2)), images(4, (3, 2, 4, 2), seed=2)
    goal = goals(model(x))["untargeted"]
    assert fooled(model, goal, Standard()(model, x, goal, eps=1.01 * model.model.smallest(x, goal, "linf"))).all()


def test_the_second_nearest_class_is_tried_too():
    # The nearest rival pulls the plain descent, but within the box only the other one can be reached.
    weight = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    model = Linear(weight, torch.tensor([0.5, 0.0, -0.9], dtype=torch.float64))
    x = torch.tensor([[0.02, 0.5]], dtype=torch.float64)
    goal = Untargeted(torch.tensor([0]))
    assert margin(model(x), goal) > 0
    assert fooled(model, goal, Standard()(model, x, goal, eps=0.21)).all()

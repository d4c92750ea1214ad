"""A goal with a margin to spare."""

import pytest
import torch
from goal_kinds import KINDS
from oracles import goals, images, mlp

from attacks import FAB, FMN, Linf, Spared, TopK, Untargeted, multi_targeted
from attacks.goals import met
from attacks.objectives.rivals import ways_to

KAPPA = 0.05


@pytest.fixture(scope="module")
def model():
    return mlp(12, seed=3)


@pytest.fixture(scope="module")
def x():
    return images(6, (3, 2, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_every_goal_is_met_by_that_much_more(kind, model, x):
    logits = model(x)
    goal = goals(logits)[kind]
    spared = Spared(goal, KAPPA)
    assert torch.equal(spared.margin(logits), goal.margin(logits) + KAPPA)
    assert torch.equal(spared.gaps(logits), goal.gaps(logits) + KAPPA)
    assert torch.equal(spared.cross_entropy(logits), goal.cross_entropy(logits))
    assert torch.equal(spared.ids, goal.ids)
    assert (spared.orders, spared.overturns, spared.contested) == (goal.orders, goal.overturns, goal.contested)
    some = spared.select(torch.tensor([4, 1]))
    assert torch.equal(some.margin(logits[[4, 1]]), spared.margin(logits)[[4, 1]])


@pytest.mark.parametrize("attack", [TopK(steps=60), FMN(steps=60), FAB(), multi_targeted(FMN(steps=40), 2)])
def test_attacks_reach_it_and_go_no_further_than_needed(attack, model, x):
    goal = Untargeted(model(x).argmax(1))
    spared = Spared(goal, KAPPA)
    assert not met(spared, model(x)).any()
    x_adv, near = attack(model, x, spared), attack(model, x, goal)
    margin = goal.margin(model(x_adv))
    assert (margin < -0.9 * KAPPA).all()
    assert (Linf().measure(x_adv - x) > Linf().measure(near - x)).all()
    assert margin.median() > -2 * KAPPA


def test_its_ways_have_the_same_margin(model, x):
    logits = model(x)
    goal = Untargeted(logits.argmax(1))
    for way, plain in zip(ways_to(Spared(goal, KAPPA), logits, 2), ways_to(goal, logits, 2), strict=True):
        assert torch.equal(way.margin(logits), plain.margin(logits) + KAPPA)


@pytest.mark.parametrize("kappa", [-0.1, float("nan"), float("inf")])
def test_a_margin_of_no_use_is_refused(kappa):
    with pytest.raises(ValueError, match="expected kappa >= 0 logits, got"):
        Spared(Untargeted(torch.tensor([0])), kappa)

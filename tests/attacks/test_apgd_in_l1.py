"""APGD in L1: steps as sparse as the best point."""

import pytest
import torch
from oracles import Recorder, images, linear, mlp

from attacks import APGD, L0, L1, Standard, Untargeted


def test_ends_on_few_values():
    model, x = linear(num_classes=2, values=200, seed=1), images(4, (200,), seed=1)
    goal, radius = Untargeted(model(x).argmax(1)), model.smallest(x, Untargeted(model(x).argmax(1)), "l1")
    x_adv = APGD(norm=L1(), steps=100, loss="margin")(model, x, goal, eps=0.9 * radius)
    # On a linear model the best point of the ball changes as few values as hold the budget.
    assert (L0().measure(x_adv - x) <= 30).all()
    gained = 1 - goal.margin(model(x_adv)) / goal.margin(model(x))
    assert (gained > 0.8).all()


def test_hands_over_the_best_point_it_has_seen():
    model, x = mlp(12, seed=2), images(3, (12,), seed=2)
    recorder, goal = Recorder(model), Untargeted(model(x).argmax(1))
    x_adv = APGD(norm=L1(), steps=30, loss="margin")(recorder, x, goal, eps=1e-3)
    seen = torch.stack([goal.margin(model(point)) for point in recorder.seen[1:]])
    torch.testing.assert_close(goal.margin(model(x_adv)), seen.amin(0))


@pytest.mark.parametrize("attack", [APGD(norm=L1()), Standard(norm=L1())])
def test_many_values_of_one_slope_do_not_take_the_steps_of_the_few_that_count(attack):
    weights = torch.full((40,), 0.1)
    weights[0] = 1.0
    x, goal = torch.full((4, 40), 0.5), Untargeted(torch.zeros(4, dtype=torch.int64))

    def model(x):
        return torch.stack([0.45 - (x - 0.5) @ weights, torch.zeros(len(x))], 1)

    assert (goal.margin(model(attack(model, x, goal, eps=1.01 * 0.45))) < 0).all()
    assert (goal.margin(model(attack(model, x, goal, eps=0.99 * 0.45))) > 0).all()

"""Noise: random points of the ball, one after the other, until one fools."""

import pytest
import torch
from oracles import Recorder, images, linear

from attacks import L0, L1, L2, Linf, Noise, Untargeted


def situation():
    model, x = linear(seed=5), images(30, (12,), seed=5)
    goal = Untargeted(model(x).argmax(1), ids=torch.arange(30) + 50)
    return model, x, goal


@pytest.mark.parametrize("norm", [Linf(), L2(), L1(), L0()], ids=lambda norm: norm.name)
def test_what_fools_is_the_first_random_point_that_does(norm):
    model, x, goal = situation()
    eps = 1.0 if norm.name == "l0" else 8 * model.smallest(x, goal, norm.name).median().item()
    x_adv = Noise(norm=norm, draws=4)(model, x, goal, eps=eps, seed=9)
    found = torch.zeros(30, dtype=torch.bool)
    for draw in range(4):
        point = (x + norm.random((12,), eps, 9, goal.ids, draw).double()).clamp(0, 1)
        fools = goal.margin(model(point)) < 0
        torch.testing.assert_close(x_adv[fools & ~found], point[fools & ~found])
        found |= fools
    assert 0 < int(found.sum()) < 30
    assert torch.equal(goal.margin(model(x_adv)) < 0, found)


def test_more_draws_fool_more_and_keep_what_fewer_found():
    model, x, goal = situation()
    eps = 8 * model.smallest(x, goal, "linf").median().item()
    few, many = (Noise(draws=draws)(model, x, goal, eps=eps) for draws in (2, 40))
    fooled = goal.margin(model(few)) < 0
    assert torch.equal(many[fooled], few[fooled])
    assert (goal.margin(model(many)) < 0).sum() > fooled.sum()


def test_stops_asking_about_images_that_are_fooled():
    model, x, goal = situation()
    recorder = Recorder(model)
    Noise(draws=20)(recorder, x, goal, eps=1.0)
    seen = [*map(len, recorder.seen)]
    assert seen[0] == 30
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < 30

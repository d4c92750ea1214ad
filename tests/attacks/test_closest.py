"""Closest: what its searches find together."""

import pytest
import torch
from oracles import Recorder, images, linear, mlp

from attacks import FMN, L0, L1, L2, PDPGD, Closest, Linf, SigmaZero, Targeted, Untargeted

NORMS = [Linf(), L2(), L1(), L0()]


def one_way_back(x):
    """The first value lures downhill to a dead end; the second leads uphill until 0.1, and across at 0.3."""
    first, second = (x - 0.5).unbind(1)
    margin = 0.5 - 0.2 * first.clamp(0, 0.1) + (0.5 * second).clamp_max(0.05) - 5 * (second - 0.2).clamp_min(0)
    return torch.stack([margin, torch.zeros_like(margin)], 1)


def test_a_random_corner_leads_where_the_gradient_of_the_image_does_not():
    x, goal = torch.full((3, 2), 0.5), Untargeted(torch.zeros(3, dtype=torch.int64))
    nothing = FMN(norm=Linf(), steps=500)(one_way_back, x, goal)
    assert (goal.margin(one_way_back(nothing)) > 0).all()
    x_adv = Closest(norm=Linf())(one_way_back, x, goal)
    assert (goal.margin(one_way_back(x_adv)) < 0).all()
    assert (Linf().measure(x_adv - x) < 0.32).all()  # the boundary is 0.306 away


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_each_search_goes_on_from_the_others(norm):
    model, x = linear(seed=1), images(5, (12,), seed=1)
    goal = Targeted((model(x).argmax(1) + 1) % 5)
    whole = norm.measure(Closest(norm=norm)(model, x, goal) - x)
    without_the_last = norm.measure(Closest(norm=norm, close=1)(model, x, goal) - x)
    assert (whole <= without_the_last).all()
    assert (whole / model.smallest(x, goal, norm.name)).max() < 1.01


def test_exchanges_of_values_change_fewer_than_the_searches_before_them():
    model, x = mlp(192, seed=3), images(12, (3, 8, 8), seed=3)
    goal = Untargeted(model(x).argmax(1))
    attacks = (Closest(norm=L0()), Closest(norm=L0(), close=1), SigmaZero(steps=990), PDPGD(norm=L0(), steps=990))
    found = [attack(model, x, goal) for attack in attacks]
    assert all((goal.margin(model(x_adv)) < 0).all() for x_adv in found)
    closest, *others = [L0().measure(x_adv - x) for x_adv in found]
    assert all((closest <= other).all() for other in others)
    assert all(closest.sum() < other.sum() for other in others)


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_an_image_costs_no_more_than_a_thousand_passes(norm):
    model = Recorder(linear(num_classes=10, seed=1))
    x = images(1, (12,), seed=1)
    Closest(norm=norm)(model, x, Untargeted(model(x).argmax(1)))
    assert 900 < len(model.seen) <= 1001  # one is the test's own

"""Standard in L0: what each of its steps is there for."""

import pytest
import torch
from counting import Counting
from oracles import Constant, Quantised, images, led, mlp

from attacks import L0, SPGD, Masked, Standard, Targeted, Untargeted, standard_in_l0

SHORT = {"steps": 5, "targets": 2, "queries": 20, "rounds": 5}


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


@pytest.mark.parametrize("goal", [Untargeted, lambda label: Targeted(label + 1)], ids=["untargeted", "targeted"])
def test_succeeds_at_the_radius_and_never_below(goal):
    model, x = led(108, seed=3), images(8, (3, 6, 6), seed=3)
    goal = goal(model(x).argmax(1))
    radius = model.smallest(x, goal, "l0")
    assert fooled(model, goal, Standard(norm=L0(), **SHORT)(model, x, goal, eps=radius)).all()
    assert not fooled(model, goal, Standard(norm=L0(), **SHORT)(model, x, goal, eps=radius - 0.5)).any()


def test_an_image_out_of_reach_is_left_out_early():
    model, x = led(48, num_classes=2, seed=2), images(4, (3, 4, 4), seed=2)
    goal = Untargeted(model(x).argmax(1))
    radius = model.smallest(x, goal, "l0")

    def passes(eps):
        metered = Counting(model, goal.ids)
        Standard(norm=L0())(metered, x, goal, eps=eps)
        return metered.forwards + metered.backwards

    assert (passes(torch.ones(4)) < 900).all()
    assert (passes(radius) < 20).all()


def test_masked_gradients_are_no_defence():
    inner, x = mlp(108, seed=1, hidden=32), images(8, (3, 6, 6), low=0, high=1)
    masked = Quantised(inner, levels=8)
    goal = Untargeted(masked(x).argmax(1))
    by_gradients = fooled(masked, goal, SPGD(steps=100)(masked, x, goal, eps=12))
    assert fooled(masked, goal, Standard(norm=L0(), **SHORT)(masked, x, goal, eps=12)).sum() > by_gradients.sum()


def test_scores_without_a_gradient_are_enough():
    model, x = led(48, num_classes=3, seed=2), images(4, (3, 4, 4), seed=2)
    goal = Untargeted(model(x).argmax(1))
    silent = lambda x: model(x.detach())  # noqa: E731
    radius = model.smallest(x, goal, "l0")
    assert fooled(model, goal, Standard(norm=L0(), queries=50)(silent, x, goal, eps=2 * radius)).all()


def test_without_gradients_or_moving_scores_it_ends():
    model, x = Constant(torch.tensor([2.0, 0.0])), images(2, (3, 4, 4))
    silent = lambda x: model(x.detach())  # noqa: E731
    x_adv = Standard(norm=L0(), **SHORT)(silent, x, Untargeted(torch.tensor([0, 0])), eps=3)
    assert (L0().measure(x_adv - x) <= 3).all()


def test_the_mask_of_a_norm_is_kept_to():
    allowed = torch.zeros(6, 6, dtype=torch.bool)
    allowed[1:4, 1:4] = True
    model, x = mlp(108, seed=1), images(3, (3, 6, 6), low=0, high=1)
    goal = Untargeted(model(x).argmax(1))
    x_adv = Standard(norm=Masked(L0(), allowed), **SHORT)(model, x, goal, eps=4)
    assert not (x_adv != x)[:, :, ~allowed].any()
    assert (L0().measure(x_adv - x) <= 4).all()


def test_every_step_is_cut_short_by_its_parameter():
    # What the tests over all attacks patch is there under these names.
    assert standard_in_l0.LONG > 6
    assert standard_in_l0.LONGER > 2

"""Carlini and Wagner's attack, and PDPGD: sums of size and margin, and what weighs one against the other."""

import pytest
import torch
from oracles import Recorder, images, linear, mlp

from attacks import CW, L0, L1, L2, PDPGD, Untargeted, cw
from attacks.geometry.proximal import firm, soft


def situation(norm, values=12):
    model, x = linear(num_classes=2, values=values, seed=1), images(6, (values,), seed=1)
    goal = Untargeted(model(x).argmax(1))
    return model, x, goal, model.smallest(x, goal, norm)


def test_more_constants_come_closer():
    model, x, goal, radius = situation("l2")
    sizes = [L2().measure(CW(constants=n, first_constant=1.0)(model, x, goal) - x) for n in (1, 3, 7)]
    assert (sizes[2] <= sizes[1]).all()
    assert (sizes[1] <= sizes[0]).all()
    assert (sizes[2] < 1.005 * radius).all()
    assert (sizes[0] > 1.005 * radius).any()


def test_a_constant_that_is_too_small_grows():
    model, x, goal, radius = situation("l2")
    x_adv = CW(first_constant=1e-4)(model, x, goal)
    assert (L2().measure(x_adv - x) < 1.1 * radius).all()


def test_an_image_that_leaves_a_run_misses_next_to_nothing(monkeypatch):
    model, x = mlp(108, seed=2), images(24, (3, 6, 6), low=0.1, high=0.9)
    goal, passes, sizes = Untargeted(model(x).argmax(1)), [], []
    for patience in (cw._PATIENCE, 1000):
        monkeypatch.setattr(cw, "_PATIENCE", patience)
        recorder = Recorder(model)
        sizes.append(L2().measure(CW(steps=50, constants=5)(recorder, x, goal) - x))
        passes.append(sum(map(len, recorder.seen)))
    assert passes[0] < passes[1]
    assert (sizes[0] < 1.1 * sizes[1]).all()


def test_candidates_cannot_leave_the_box():
    model, x, goal, _ = situation("l2")
    recorder = Recorder(model)
    CW(steps=30, constants=2, first_constant=1e3, step_size=1.0)(recorder, x.round(), goal)
    assert all(((seen >= 0) & (seen <= 1)).all() for seen in recorder.seen)


def test_pdpgd_changes_few_values():
    model, x, goal, radius = situation("l1", values=60)
    x_adv = PDPGD()(model, x, goal)
    assert (L0().measure(x_adv - x) <= 10).all()
    assert (L1().measure(x_adv - x) / radius).median() < 1.05


def test_pdpgd_tries_values_whose_slope_is_small_to_begin_with():
    # The first value does it alone at 0.8; the second does next to nothing up to 0.1, and then all of it by 0.3.
    def model(x):
        margin = 0.8 - x[:, 0] - 0.005 * x[:, 1] - 4 * (x[:, 1] - 0.1).clamp_min(0)
        return torch.stack([margin, torch.zeros_like(margin)], 1)

    x, goal = torch.zeros(1, 2), Untargeted(torch.tensor([0]))
    assert L1().measure(PDPGD(floor=1e-6, steps=500)(model, x, goal)) > 0.79
    assert L1().measure(PDPGD(steps=500)(model, x, goal)) < 0.302
    assert L1().measure(PDPGD(floor=1e-6)(model, x, goal)) < 0.302  # by the second search


def test_pdpgd_in_l2_ends_on_the_boundary():
    model, x, goal, radius = situation("l2", values=60)
    x_adv = PDPGD(norm=L2())(model, x, goal)
    assert (goal.margin(model(x_adv)) < 0).all()
    assert (L2().measure(x_adv - x) / radius).median() < 1.01


def test_pdpgd_in_l0_changes_no_more_values_than_it_must():
    model, x, goal, radius = situation("l0", values=60)
    x_adv = PDPGD(norm=L0())(model, x, goal)
    assert (goal.margin(model(x_adv)) < 0).all()
    assert (L0().measure(x_adv - x) <= radius + 1).all()
    assert (L0().measure(x_adv - x) == radius).double().mean() > 0.5


@pytest.mark.parametrize(("step", "power"), [(soft, 1.0), (firm, 2 / 3)])
@pytest.mark.parametrize("cost", [0.0, 1e-3, 0.07, 0.5])
def test_a_proximal_step_is_the_best_trade_of_change_and_size(step, power, cost):
    delta = torch.linspace(-1, 1, 41, dtype=torch.float64)
    grid = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    price = (grid - delta.unsqueeze(1)).square() / 2 + cost * grid.abs() ** power
    z = step(delta, torch.full_like(delta, cost))
    assert ((z - delta).square() / 2 + cost * z.abs() ** power <= price.amin(1) + 1e-7).all()

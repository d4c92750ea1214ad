"""DeepFool and SuperDeepFool: which boundary is taken, and how far behind it they stop."""

import pytest
import torch
from oracles import Ball, Linear, Recorder, goals, images, linear, mlp

from attacks import FAB, L2, NORMS, DeepFool, SuperDeepFool, TopKExclusion, Untargeted
from attacks.goals import met

ATTACKS = [DeepFool(), SuperDeepFool(), FAB(norm=L2(), steps=10)]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_step_is_enough_for_a_linear_model(norm):
    model, x = linear(num_classes=5, seed=1), images(6, (12,), seed=1)
    goal, recorder = Untargeted(model(x).argmax(1)), Recorder(model)
    x_adv = DeepFool(norm=NORMS[norm](), overshoot=0.03)(recorder, x, goal)
    size = NORMS[norm]().measure(x_adv - x)
    torch.testing.assert_close(size, 1.03 * model.smallest(x, goal, norm), rtol=2e-3, atol=0)
    # The clean images, the gradients before the step, and a look after it.
    assert len(recorder.seen) == 3


def test_the_nearest_boundary_need_not_be_that_of_the_next_class():
    # Class 1 comes second, but its boundary is far: the model hardly tells it from class 0.
    weight = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 9.0]], dtype=torch.float64)
    model, x = Linear(weight, torch.tensor([0.0, -0.1, -5.5]).double()), torch.full((1, 2), 0.5, dtype=torch.float64)
    goal = Untargeted(torch.tensor([0]))
    assert model(x).argsort(1, descending=True).tolist() == [[0, 1, 2]]
    for attack in ATTACKS:
        assert model(attack(model, x, goal)).argmax(1).item() == 2


def test_a_curved_boundary_is_met_at_a_right_angle():
    model, x = Ball(torch.full((12,), 0.5, dtype=torch.float64), 0.3), images(6, (12,), low=0.4, high=0.6)
    goal, radius = Untargeted(torch.zeros(6, dtype=torch.int64)), model.smallest(x, "l2")
    size = L2().measure(SuperDeepFool()(model, x, goal) - x)
    assert (size >= radius * (1 - 1e-9)).all()
    assert (size <= radius * 1.002).all()


@pytest.mark.parametrize(
    "attack", [DeepFool(), SuperDeepFool(), FAB(norm=L2(), steps=10)], ids=lambda a: type(a).__name__
)
def test_nothing_beyond_eps_is_handed_over(attack):
    model, x = linear(num_classes=5, seed=1), images(6, (12,), seed=1)
    goal = Untargeted(model(x).argmax(1))
    radius = model.smallest(x, goal, "l2")
    within = torch.arange(6) < 3
    eps = torch.where(within, 1.1 * radius, 0.9 * radius)
    x_adv = attack(model, x, goal, eps=eps)
    assert torch.equal(x_adv[~within], x[~within])
    assert torch.equal(goal.margin(model(x_adv)) < 0, within)


def test_takes_goals_that_can_be_met_in_several_ways():
    model, x = linear(num_classes=6, values=24, seed=1), images(6, (24,), seed=1)
    goal = TopKExclusion.from_logits(model(x), k=2)
    x_adv, radius = FAB(norm=L2())(model, x, goal), model.smallest(x, goal, "l2")
    assert (goal.margin(model(x_adv)) < 0).all()
    assert (L2().measure(x_adv - x) / radius).median() < 1.1


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.6), ("l1", 3.0)])
def test_fab_keeps_what_still_fools_after_a_step_back(norm, eps):
    # Where logits are large, rounding decides, and a linearised boundary is not where the model's is.
    network, x = mlp(48, seed=1).float(), images(6, (48,), low=0, high=1).float()
    with torch.no_grad():
        network[1].weight.mul_(4)
    x[0], x[1], x[2] = 0.0, 1.0, x[2].round()

    def model(x):
        return network(x) + 1e4

    recorder, norm = Recorder(model), NORMS[norm]()
    for goal in (goals(model(x))[kind] for kind in ("untargeted", "targeted")):
        recorder.seen.clear()
        x_adv = FAB(norm=norm, steps=6)(recorder, x, goal, eps=eps)
        walked = [seen for seen in recorder.seen if len(seen) == len(x)]  # the line search at the end is about some
        sizes = [torch.where(met(goal, model(seen)), norm.measure(seen - x), torch.inf) for seen in walked]
        nearest = torch.stack(sizes).amin(0)
        found = torch.where(met(goal, model(x_adv)), norm.measure(x_adv - x), torch.inf)
        assert (nearest < eps).any()
        assert (found <= nearest * (1 + 1e-4))[nearest <= eps].all()

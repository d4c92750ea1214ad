"""Standard in L1: what each of its steps is there for."""

import pytest
import torch
from counting import Counting
from oracles import Constant, goals, images, led, linear, mlp

from attacks import L1, Masked, Standard, Untargeted, standard_in_l1
from attacks.searches.lowest import Lowest
from attacks.searches.track import Survivors
from attacks.standard_by_answers import change_squares

SHORT = {"steps": 5, "targets": 2, "queries": 20, "rounds": 20}


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


def passes(model, x, goal, eps, **parameters):
    metered = Counting(model, goal.ids)
    Standard(norm=L1(), **parameters)(metered, x, goal, eps=eps)
    return metered.forwards + metered.backwards


@pytest.mark.parametrize(("name", "more"), [("untargeted", 1.01), ("targeted", 1.1)])
def test_succeeds_just_outside_the_radius_and_never_inside(name, more):
    model, x = linear(values=48, seed=2), images(6, (3, 4, 4), seed=2)
    goal = goals(model(x))[name]
    radius = model.smallest(x, goal, "l1")
    assert fooled(model, goal, Standard(norm=L1(), **SHORT)(model, x, goal, eps=more * radius)).all()
    assert not fooled(model, goal, Standard(norm=L1(), **SHORT)(model, x, goal, eps=0.99 * radius)).any()


def test_images_out_of_reach_leave_early_and_those_that_nearly_fall_stay():
    model, x = linear(values=48, seed=2), images(4, (3, 4, 4), seed=2)
    goal = Untargeted(model(x).argmax(1))
    radius = model.smallest(x, goal, "l1")
    assert (passes(model, x, goal, 0.1 * radius) < 500).all()
    assert (passes(model, x, goal, 0.99 * radius) > 4000).all()


def test_random_changes_go_on_only_where_they_get_as_far_as_gradients(monkeypatch):
    asked = []

    def count(active, best, queries, seeds):
        asked.append((len(active), queries))

    monkeypatch.setattr(standard_in_l1, "change_squares", count)
    model, x = linear(values=48, seed=2), images(4, (3, 4, 4), seed=2)
    goal = Untargeted(model(x).argmax(1))
    Standard(norm=L1(), queries=40)(model, x, goal, eps=0.1 * model.smallest(x, goal, "l1"))
    assert asked == [(4, 10), (0, 40), (0, 160)]


def test_values_changed_at_random_need_no_gradient():
    model, x = led(48, num_classes=3, seed=2), images(4, (3, 4, 4), seed=2)
    goal = Untargeted(model(x).argmax(1))
    silent = lambda x: model(x.detach())  # noqa: E731
    eps = model.smallest(x, goal, "l0") + 1.0
    assert fooled(model, goal, Standard(norm=L1())(silent, x, goal, eps=eps)).all()


def test_values_changed_at_random_keep_to_a_mask():
    asked = []

    def model(x):
        asked.append(x.clone())
        return torch.stack([x.sum(1), torch.zeros(len(x))], 1)

    x, mask = torch.full((2, 40), 0.5), torch.arange(40) < 20
    active = Survivors(model, x, Untargeted(torch.zeros(2).long()), Masked(L1(), mask), eps=6.0)
    best = Lowest(active)
    asked.clear()
    change_squares(active, best, 20, iter(range(1, 9)))
    changed = torch.cat(asked) != 0.5
    assert len(asked) >= 20
    assert (changed.sum(1) == 6).all()
    assert not changed[:, ~mask].any()


def test_every_second_long_descent_is_on_the_cross_entropy(monkeypatch):
    asked = []
    monkeypatch.setattr(
        standard_in_l1, "descend_from_copies", lambda active, best, seed, loss, legs, count: asked.append(count)
    )
    model, x = mlp(48), images(2, (3, 4, 4))
    goal = Untargeted(model(x).argmax(1))
    Standard(norm=L1(), rounds=80)(model, x, goal, eps=1e-3)
    assert asked == [1, 0, 1, 1, 2, 3]


def test_a_model_that_answers_the_same_to_everything_ends_in_no_error():
    model, x = Constant(torch.tensor([1.0, 0.0, 0.5])), images(2, (3, 4, 4))
    goal = Untargeted(model(x).argmax(1))
    assert not fooled(model, goal, Standard(norm=L1(), **SHORT)(model, x, goal, eps=2.0)).any()

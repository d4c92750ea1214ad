"""Descent in L0: exchanges along the gradient, kicks and random exchanges."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import Constant, Recorder, images, led, mlp

from attacks import L0, Masked, Untargeted
from attacks.losses import margin
from attacks.searches.lowest import Lowest
from attacks.searches.swaps import descend, exchanged, kick, replaced, values_and_ends
from attacks.searches.track import Survivors


def survivors(x, eps, model=None, norm=None):
    """Images that nothing fools, or those of a model's own classes."""
    labels = torch.zeros(len(x), dtype=torch.int64) if model is None else model(x).argmax(1)
    model = Constant(torch.tensor([2.0, 0.0])) if model is None else model
    return Survivors(model, x, Untargeted(labels), norm or L0(), eps)


def test_one_step_is_the_best_for_a_linear_loss():
    x, gradient = images(5, (3, 4, 4), seed=1), images(5, (3, 4, 4), seed=2, low=-1, high=1)
    active = survivors(x, 7)
    found = exchanged(active, x, gradient, torch.full((5,), 7.0))
    gain = torch.maximum(-gradient * (1 - x), gradient * x).flatten(1)
    best = gain.sort(dim=1, descending=True).values[:, :7].sum(1)
    torch.testing.assert_close((gradient * (x - found)).flatten(1).sum(1), best)


def test_the_way_there_is_taken_as_far_as_the_moves_reach_and_ends_there():
    x, gradient = images(1, (1, 6, 6), seed=1), images(1, (1, 6, 6), seed=2, low=-1, high=1)
    active = survivors(x, 8)
    best = exchanged(active, x, gradient, torch.tensor([8.0]))
    x_adv = exchanged(active, x, -gradient, torch.tensor([8.0]))
    loss, steps = (gradient * x_adv).sum(), 0
    while not torch.equal(x_adv, best):
        moved = exchanged(active, x_adv, gradient, torch.tensor([2.0]))
        assert (moved != x_adv).sum() <= 4, "two values enter and two leave"
        assert (gradient * moved).sum() < loss
        x_adv, loss, steps = moved, (gradient * moved).sum(), steps + 1
    assert 4 <= steps <= 12


def test_a_value_that_points_the_wrong_way_is_turned_round():
    x = torch.tensor([[0.5, 0.5, 0.5]])
    turned = exchanged(survivors(x, 1), torch.tensor([[0.0, 0.5, 0.5]]), torch.tensor([[-3.0, 1.0, 0]]), torch.ones(1))
    assert turned.tolist() == [[1.0, 0.5, 0.5]]


def test_a_descent_finds_the_values_that_gain_most():
    model, x = led(192, num_classes=2, seed=3), images(8, (3, 8, 8), seed=3)
    radius = model.smallest(x, Untargeted(model(x).argmax(1)), "l0")
    for eps, left in ((radius, 0), (radius - 0.5, 8)):
        active = survivors(x, eps, model)
        descend(active, Lowest(active), active.x, margin, 5)
        assert len(active) == left


def test_the_best_point_is_kept():
    model, x = mlp(48, seed=3), images(6, (3, 4, 4), seed=3)
    active = survivors(x, 0.5, model)
    recorder = active.model = Recorder(model)
    best = Lowest(active)
    descend(active, best, active.x, margin, 10)
    lowest = torch.stack([active.goal.margin(model(seen)) for seen in recorder.seen]).amin(0)
    torch.testing.assert_close(best.margin, lowest)


@given(
    eps=st.lists(st.floats(0.3, 60), min_size=3, max_size=3),
    moves=st.floats(0, 60),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_nothing_leaves_the_budget_or_the_mask(eps, moves, masked, seed):
    x = images(3, (3, 4, 4), seed=seed, low=0, high=1).round(decimals=1)  # some values at the ends
    allowed = torch.arange(16).view(4, 4) % 3 > 0
    norm, budget = Masked(L0(), allowed) if masked else L0(), torch.tensor(eps, dtype=x.dtype)
    active, count = survivors(x, budget, norm=norm), torch.full((3,), moves, dtype=x.dtype)
    x_adv = active.x
    for draw in range(4):
        gradient = images(3, (3, 4, 4), seed=seed + draw, low=-1, high=1)
        x_adv = exchanged(active, x_adv, gradient, count)
        random, ends = values_and_ends(active.x, seed, active.goal.ids, draw)
        for moved in (
            x_adv,
            replaced(active, x_adv, random, ends, torch.minimum(count, budget)),
            kick(active, x_adv, seed),
        ):
            assert (L0().measure(moved - x) <= budget).all()
            assert 0 <= moved.min() <= moved.max() <= 1
            assert not masked or not (moved != x)[:, :, ~allowed].any()


def test_a_kick_exchanges_between_a_third_and_all_of_the_changed_values():
    x = images(40, (1, 20, 20))
    active = survivors(x, 30)
    before = kick(active, active.x, seed=1)
    after = kick(active, before, seed=2)
    assert ((before != x).flatten(1).sum(1) <= 30).all()
    entered = ((after != x) & (before == x)).flatten(1).sum(1)
    assert entered.min() >= 9
    assert entered.max() > 20
    assert len(entered.unique()) > 5


def test_an_end_is_where_the_value_is_not():
    x = torch.tensor([0.0, 1.0, 0.5]).repeat(2, 50)
    random, ends = values_and_ends(x, 0, torch.arange(2), 0)
    assert (ends != x).all()
    assert 20 < ends[:, 2::3].sum() < 80
    assert 0 < random.min() <= random.max() < 1 + 1e-6

"""The choice of classes against a general solver, and against trying all sets."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import images, linear
from scipy.optimize import minimize

from attacks import TopKExclusion
from attacks.searches import ways
from attacks.searches.ways import nearest_ways, price


def programme(gram, values, old, new):
    """Least L2 size that lifts ``new`` above ``old`` in a linear model, by SLSQP over the two sides' weights."""
    both = [*old, *new]
    sign = torch.tensor([1.0] * len(old) + [-1.0] * len(new), dtype=torch.float64)
    form = (gram[both][:, both] * sign * sign[:, None]).numpy()
    gap = (values[both] * sign).numpy()
    found = minimize(
        lambda w: w @ form @ w / 2 - gap @ w,
        [0.01] * len(both),
        jac=lambda w: form @ w - gap,
        bounds=[(0, None)] * len(both),
        constraints={"type": "eq", "fun": lambda w: w @ sign.numpy()},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    return (found.x @ form @ found.x) ** 0.5


def problem(seed, classes=8, values=30):
    model, x = linear(num_classes=classes, values=values, seed=seed), images(3, (values,), seed=seed)
    logits = model(x)
    goal = TopKExclusion.from_logits(logits, 2)
    everything = torch.arange(classes).expand(3, -1)
    gram, scale = ways._gram(model, x, goal, everything)
    return model, x, goal, logits, gram, logits.double() / scale.unsqueeze(1)


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_a_general_solver(seed):
    *_, gram, values = problem(seed)
    sets = torch.tensor(list(combinations(range(2, 8), 2)))[None].expand(3, -1, -1)
    found, weights = ways._distance(gram, values, 2, sets)
    assert (weights >= 0).all()
    expected = [[programme(gram[i], values[i], [0, 1], pair) for pair in sets[i].tolist()] for i in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_first_way_is_the_nearest_of_all_sets(seed):
    model, x, goal, logits, gram, values = problem(seed)
    found = nearest_ways(model, x, goal, logits, goal.exclusion, count=4)
    assert len(found) == 4
    for i in range(3):
        old = goal.classes[i].tolist()
        sets = list(combinations([c for c in range(8) if c not in old], 2))
        distances = {pair: programme(gram[i], values[i], old, pair) for pair in sets}
        mine = [distances[tuple(sorted(way.new[i].tolist()))] for way in found]
        assert mine[0] <= 1.01 * min(distances.values())
        assert mine == pytest.approx(sorted(mine), rel=0.01)
        assert len({tuple(sorted(way.new[i].tolist())) for way in found}) == 4


def test_where_there_are_fewer_sets_the_nearest_is_repeated():
    model, x = linear(num_classes=4, seed=1), images(2, (12,), seed=1)
    goal = TopKExclusion.from_logits(model(x), 2)
    first, second = nearest_ways(model, x, goal, model(x), goal.exclusion, count=2)
    assert torch.equal(first.new, second.new)


def test_gradients_are_held_for_a_few_images_at_a_time(monkeypatch):
    model, x, goal, logits, *_ = problem(0)
    at_once = nearest_ways(model, x, goal, logits, goal.exclusion, count=1)[0].new
    batches = []
    monkeypatch.setattr(ways, "_VALUES", 1)
    in_parts = nearest_ways(lambda x: batches.append(len(x)) or model(x), x, goal, logits, goal.exclusion, count=1)[
        0
    ].new
    assert batches == [1, 1, 1]
    assert torch.equal(at_once, in_parts)


weights = st.lists(st.floats(-3, 3), min_size=1, max_size=4)


@given(weights, weights)
def test_balanced_weights_are_the_nearest_ones(upper, lower):
    given_weights = torch.tensor([*upper, *lower], dtype=torch.float64)
    found = ways._balanced(given_weights, len(upper))
    assert (found >= 0).all()
    assert found[: len(upper)].sum().item() == pytest.approx(found[len(upper) :].sum().item(), abs=1e-9)
    # At the nearest point of a convex set no feasible direction leads nearer.
    towards = given_weights - found
    for i in range(len(upper)):
        for j in range(len(upper), len(given_weights)):
            more = towards[i] + towards[j]
            assert more <= 1e-9
            if found[i] > 1e-9 and found[j] > 1e-9:
                assert more >= -1e-9


def test_price_counts_the_gradients():
    assert price(1, 1, 10) == 10
    assert price(3, 3, 10) == 10
    assert price(7, 7, 1000) == 21
    assert price(20, 20, 1000) == 60

"""The models that the other tests believe: their smallest perturbations against closed forms and samples."""

import math

import pytest
import torch
from goal_kinds import orders
from oracles import Ball, Constant, Linear, Quantised, RowByRow, convnet, goals, images, linear, mlp, separable

from attacks import LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted

NORMS = ["linf", "l2", "l1", "l0"]


def dual(rows, norm):
    return {"linf": rows.abs().sum(-1), "l2": rows.norm(dim=-1), "l1": rows.abs().amax(-1)}[norm]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("seed", range(3))
def test_untargeted_radius_is_margin_over_dual_norm(norm, seed):
    model, x = linear(seed=seed), images(4, (3, 2, 2), seed=seed)
    logits = model(x)
    label = logits.argmax(1)
    others = model.weight - model.weight[label].unsqueeze(1)
    ratio = (logits.gather(1, label.unsqueeze(1)) - logits) / dual(others, norm)
    closed = ratio.scatter(1, label.unsqueeze(1), math.inf).amin(1)
    torch.testing.assert_close(model.smallest(x, Untargeted(label), norm), closed, rtol=1e-6, atol=1e-9)


def test_untargeted_l0_takes_the_values_that_gain_most():
    model, x = linear(num_classes=2, seed=1), images(6, (12,), seed=1)
    logits = model(x)
    label = logits.argmax(1)
    slope = model.weight[1 - label] - model.weight[label]
    gain = torch.maximum(slope * (1 - x), -slope * x).sort(dim=1, descending=True).values
    margin = logits.gather(1, label.unsqueeze(1)) - logits.gather(1, (1 - label).unsqueeze(1))
    closed = 1.0 + (gain.cumsum(1) < margin).sum(1)
    assert model.smallest(x, Untargeted(label), "l0").tolist() == closed.tolist()


@pytest.mark.parametrize(("norm", "expected"), [("linf", 0.05), ("l2", 0.05 * math.sqrt(6)), ("l1", 0.3), ("l0", 1.0)])
def test_targeted_radius_where_one_rival_counts(norm, expected):
    # three values for each of two classes; the target is 0.3 behind, the third class far away
    weight = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]], dtype=torch.float64)
    model = Linear(weight, torch.tensor([0.3, 0.0, -9.0], dtype=torch.float64))
    x = torch.full((1, 6), 0.5, dtype=torch.float64)
    assert model.smallest(x, Targeted(torch.tensor([1])), norm).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("norm", "expected"),
    # the gaps between old and new classes are 0.16 (0.80 - 0.64) over 4 + 4 values, see below
    [("linf", 0.02), ("l2", 0.04 * math.sqrt(4)), ("l1", 0.32), ("l0", 2.0)],
)
def test_topk_exclusion_radius_of_a_separable_model(norm, expected):
    model = separable(num_classes=6, values_each=4)
    # logits: two classes at 0.80, two at 0.64, two at 0.40
    x = torch.tensor([0.2, 0.2, 0.16, 0.16, 0.1, 0.1], dtype=torch.float64).repeat_interleave(4).view(1, 24)
    goal = TopKExclusion(torch.tensor([[0, 1]]))
    # both old classes fall or both new ones rise by 0.16: in Linf and L2 half and half, in L1 it does not matter;
    # in L0 one value of each of two classes is enough
    assert model.smallest(x, goal, norm).item() == pytest.approx(expected, abs=1e-6)


def test_the_box_binds_where_it_should():
    # the only value that matters can fall by 0.05 alone, but the margin is 0.1
    model = Linear(torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64), torch.tensor([0.05, 0.0]).double())
    x, goal = torch.tensor([[0.05, 0.5]], dtype=torch.float64), Untargeted(torch.tensor([0]))
    assert all(model.smallest(x, goal, norm).item() == math.inf for norm in NORMS)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_no_sample_below_the_radius_meets_any_goal(norm):
    model, x = linear(seed=2), images(2, (12,), seed=2)
    generator = torch.Generator().manual_seed(0)
    scale = {"linf": lambda d: d.abs().amax(1), "l2": lambda d: d.norm(dim=1), "l1": lambda d: d.abs().sum(1)}[norm]
    for name, goal in goals(model(x)).items():
        radius = model.smallest(x, goal, norm)
        assert (radius > 0).all(), name
        for row in range(len(x)):
            delta = torch.randn(500, 12, generator=generator, dtype=torch.float64)
            delta *= radius[row] / scale(delta).unsqueeze(1)
            logits = model((x[row] + 0.999 * delta).clamp(0, 1))
            for pairs in orders(goal, row, 5):
                above, below = ([pair[i] for pair in pairs] for i in (0, 1))
                assert not (logits[:, above] > logits[:, below]).all(1).any(), name


def test_orders_are_the_goals_in_words():
    assert list(orders(Untargeted(torch.tensor([1])), 0, 3)) == [[(0, 1)], [(2, 1)]]
    assert list(orders(Targeted(torch.tensor([1])), 0, 3)) == [[(1, 0), (1, 2)]]
    exclusion = list(orders(TopKExclusion(torch.tensor([[0, 2]])), 0, 5))
    assert len(exclusion) == 3
    assert [(1, 0), (1, 2), (3, 0), (3, 2)] in exclusion
    assert len(list(orders(LabelOutOfTopK(torch.tensor([0]), k=2), 0, 4))) == 3
    assert list(orders(OrderedTopK(torch.tensor([[3, 1]])), 0, 4)) == [[(3, 1), (1, 0), (1, 2)]]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_ball_radius(norm):
    centre = torch.full((6,), 0.5, dtype=torch.float64)
    ball, x = Ball(centre, 0.3), images(5, (6,), low=0.45, high=0.55)
    away = x - centre
    direction = {
        "linf": away.sign(),
        "l2": away / away.norm(dim=1, keepdim=True),
        "l1": torch.nn.functional.one_hot(away.abs().argmax(1), 6) * away.sign(),
    }[norm]
    radius = ball.smallest(x, norm).unsqueeze(1)
    assert (ball(x + 0.9999 * radius * direction).argmax(1) == 0).all()
    assert (ball(x + 1.0001 * radius * direction).argmax(1) == 1).all()


def test_constant_and_quantised_have_gradients_of_zero():
    constant = Constant(torch.tensor([2.0, 1.0]))
    quantised = Quantised(mlp(6))
    for model in (constant, quantised):
        x = images(3, (6,)).requires_grad_()
        model(x).sum().backward()
        assert x.grad.abs().sum() == 0
    assert torch.equal(constant(images(3, (6,))), torch.tensor([[2.0, 1.0]] * 3).double())
    assert not torch.equal(quantised(torch.zeros(1, 6).double()), quantised(torch.ones(1, 6).double()))


def test_networks_depend_on_their_seed_alone():
    before = torch.random.get_rng_state()
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(convnet(seed=4)(x), convnet(seed=4)(x))
    assert not torch.equal(convnet(seed=4)(x), convnet(seed=5)(x))
    assert not torch.equal(mlp(192, seed=4)(x.double()), mlp(192, seed=5)(x.double()))
    assert torch.equal(before, torch.random.get_rng_state())


def test_row_by_row_gives_each_image_what_it_gets_alone():
    model = RowByRow(mlp(192))
    x = images(8, (3, 8, 8))
    assert torch.equal(model(x)[5], model(x[5:6])[0])
    torch.testing.assert_close(model(x), model.model(x))

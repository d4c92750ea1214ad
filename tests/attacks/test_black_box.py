"""Attacks that need no gradient: random squares, decisions alone, rotations and shifts; on models that have none."""

import math

import numpy as np
import pytest
import torch
from oracles import Constant, Decisions, Quantised, assert_unmixed, convnet, goals, images, linear, mlp

from attacks import L2, NORMS, HopSkipJump, Linf, Noise, Spatial, Square, Untargeted, square
from attacks.geometry.warp import warp
from attacks.hop_skip_jump import _jump, _Oracle, _to_boundary

SHAPES = [(3, 6, 6), (1, 5, 9), (7, 4), (12,)]


def numpy_model(values, num_classes=4, seed=0):
    """A piecewise constant black box: numpy, out of reach of autograd."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=(values, num_classes))

    def model(x):
        levels = np.round(x.detach().numpy().reshape(len(x), -1) * 16) / 16
        return torch.from_numpy((levels - 0.5) @ weight)

    return model


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


# --- no gradient, no matter ---


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_works_without_gradients_for_every_goal_and_shape(norm, shape):
    model, x = numpy_model(math.prod(shape)), images(5, shape)
    eps = 0.5 if norm == "linf" else 0.5 * math.sqrt(math.prod(shape))
    for goal in goals(model(x)).values():
        x_adv = Square(norm=NORMS[norm](), steps=300)(model, x, goal, eps=eps)
        assert fooled(model, goal, x_adv).sum() >= 4
        assert (NORMS[norm]().measure(x_adv - x) <= eps * (1 + 1e-6)).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_hop_skip_jump_works_without_gradients_and_beats_its_start(norm, shape):
    model, x = numpy_model(math.prod(shape)), images(5, shape)
    goal = goals(model(x))["untargeted"]
    first, last = (HopSkipJump(norm=NORMS[norm](), steps=steps)(model, x, goal) for steps in (1, 15))
    assert fooled(model, goal, last).all()
    size = NORMS[norm]()
    assert size.measure(last - x).mean() < 0.75 * size.measure(first - x).mean()


# --- square ---


def test_square_succeeds_in_linf_where_every_value_must_go_the_right_way():
    # In one dimension of freedom for each value, the corner of the ball is where a linear model is fooled first.
    model, x = linear(num_classes=2, seed=1), images(8, (12,), seed=1)
    goal = goals(model(x))["untargeted"]
    x_adv = Square(steps=1000)(model, x, goal, eps=1.01 * model.smallest(x, goal, "linf"))
    assert fooled(model, goal, x_adv).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_is_stronger_than_noise(norm):
    model, x = linear(values=192, seed=1), images(12, (3, 8, 8), seed=1)
    goal = goals(model(x))["untargeted"]
    eps = {"linf": 2.5, "l2": 3.0}[norm] * model.smallest(x, goal, norm)
    by_noise = Noise(norm=NORMS[norm](), draws=1000)(model, x, goal, eps=eps)
    by_square = Square(norm=NORMS[norm](), steps=1000)(model, x, goal, eps=eps)
    assert fooled(model, goal, by_square).sum() >= fooled(model, goal, by_noise).sum() + 6


def test_square_spends_no_query_on_an_image_that_is_fooled():
    x, asked = torch.tensor([[0.9, 0.1], [0.51, 0.5]]), []

    def model(x):
        asked.append(len(x))
        return x

    Square(steps=50)(model, x, Untargeted(torch.tensor([0, 0])), eps=0.1)
    assert asked[0] == 2
    assert asked[-1] == 1
    assert len(asked) == 51


def test_square_returns_the_best_candidate_of_an_image_that_holds():
    model, x = linear(values=48, seed=2), images(4, (3, 4, 4), seed=2)
    goal = goals(model(x))["untargeted"]
    eps = 0.5 * model.smallest(x, goal, "linf")
    few, many = (Square(steps=steps)(model, x, goal, eps=eps) for steps in (5, 500))
    assert (goal.margin(model(many)) < goal.margin(model(few)) - 1e-3).all()


def test_square_halves_its_area_along_the_schedule():
    shares = square.schedule(5000, 0.8)
    fractions = [shares[step - 1] for step in (5, 6, 26, 101, 251, 501, 1001, 2001, 3001, 4001)]
    assert fractions == [0.8 / 2**halvings for halvings in range(10)]
    assert square.schedule(10_000, 0.8)[8000] == fractions[-1]


@pytest.mark.parametrize(
    ("fraction", "size", "sides"),
    [
        (0.8, (32, 32), (29, 29)),
        (0.001, (32, 32), (1, 1)),
        (0.5, (1, 12), (1, 6)),
        (0.5, (12, 1), (6, 1)),
        (1, (2, 9), (2, 9)),
    ],
)
def test_square_covers_its_share_of_images_of_any_shape(fraction, size, sides):
    assert square._sides(fraction, *size) == sides


@pytest.mark.parametrize("sides", [(3, 3), (1, 1), (2, 5), (6, 7)])
def test_patches_lie_in_the_image_and_get_everywhere(sides):
    x = torch.zeros(500, 2, 6, 7)
    place = square._place(torch.rand(500, 2, generator=torch.Generator().manual_seed(0)), sides, x)
    pattern = torch.arange(1.0, 1 + math.prod(sides))
    placed = x.flatten(2).scatter(2, place, pattern.expand(500, 2, -1)).view_as(x)
    inside = placed > 0
    assert (inside.flatten(2).sum(2) == math.prod(sides)).all()
    assert (inside.any(3).sum(2) == sides[0]).all()
    assert (inside.any(2).sum(2) == sides[1]).all()
    assert inside.any(0).all()
    assert torch.equal(placed[inside].view(500, 2, -1), pattern.expand(500, 2, -1))


@pytest.mark.parametrize("sides", [(1, 1), (3, 3), (4, 4), (1, 6), (6, 1), (3, 5)])
def test_bumps_have_length_one_and_two_signs(sides):
    for bump in square._bumps(*sides, torch.zeros(1)):
        assert bump.shape == sides
        assert bump.norm().item() == pytest.approx(1, abs=1e-6)
        assert len(set(bump.sign().flatten().tolist())) == min(math.prod(sides), 2)


def test_square_in_linf_never_repeats_the_point_it_stands_on():
    x = torch.full((64, 1, 4, 4), 0.5)
    x[:32] = 0
    best = (x + 0.1 * square._signs(torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))).clamp(0, 1)
    draw = square._Draw(0, torch.arange(64), 1)
    new = square._square(Linf(), x, best, torch.full((64, 1, 1, 1), 0.1), 1 / 16, draw).clamp(0, 1)
    assert ((new != best).flatten(1).sum(1) == 1).all()


def test_square_in_l2_spends_what_the_edge_of_the_range_would_waste():
    x = torch.zeros(8, 1, 10, 10)
    x[:, :, 3:7, 3:7] = 0.5
    draw = square._Draw(0, torch.arange(8), 0)
    eps = torch.full((8, 1, 1, 1), 1.0)
    start = square._tiles(L2(), x, eps, draw).clamp(0, 1)
    assert (L2().measure(start - x) > 0.95).all()
    assert (L2().measure(start - x) < 1 + 1e-5).all()


def test_square_refuses_what_it_cannot_attack():
    with pytest.raises(ValueError, match=r"expected images \(N, C, H, W\), \(N, H, W\) or \(N, D\) for Square"):
        Square()(mlp(12), images(1, (1, 3, 2, 2)), Untargeted(torch.tensor([0])), eps=0.1)
    with pytest.raises(ValueError, match="expected initial_fraction of Square <= 1"):
        Square(initial_fraction=1.5)


# --- hop, skip and jump ---


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_hop_skip_jump_comes_near_the_smallest_perturbation(norm):
    model, x = linear(num_classes=2, seed=1), images(6, (3, 2, 2), seed=1)
    goal = goals(model(x))["untargeted"]
    x_adv, radius = HopSkipJump(norm=NORMS[norm](), steps=20)(model, x, goal), model.smallest(x, goal, norm)
    size = NORMS[norm]().measure(x_adv - x)
    assert fooled(model, goal, x_adv).all()
    assert (size >= radius).all()
    assert (size / radius).median() <= 1.05


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_hop_skip_jump_uses_decisions_alone(norm):
    model, x = convnet(), images(4, (3, 8, 8), seed=3).float()
    goal = goals(model(x))["untargeted"]
    attack = HopSkipJump(norm=NORMS[norm](), steps=3, directions=20)
    x_adv = attack(Decisions(model), x, goal)
    assert fooled(model, goal, x_adv).all()
    assert torch.equal(attack(Decisions(model, lambda best: 9 + best.sin()), x, goal), x_adv)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_hop_skip_jump_does_not_mix_images(norm):
    assert_unmixed(HopSkipJump(norm=NORMS[norm](), steps=4, directions=50))


def test_hop_skip_jump_ends_where_its_answers_change_from_query_to_query():
    class Moody:
        """Answers at random after the first two questions."""

        def __init__(self):
            self.asked, self.generator = 0, torch.Generator().manual_seed(0)

        def __call__(self, x):
            self.asked += 1
            if self.asked <= 1:
                return torch.tensor([[2.0, 0.0]]).repeat(len(x), 1)
            return torch.rand(len(x), 2, generator=self.generator) * 2

    model, x = Moody(), images(4, (12,))
    HopSkipJump(steps=5, directions=10)(model, x, Untargeted(torch.zeros(4, dtype=torch.int64)))
    assert model.asked <= 1 + 100 + 5 * (16 + 1 + 16) + 16


def test_hop_skip_jump_asks_as_many_questions_as_it_says():
    model, x = Decisions(linear(num_classes=2, seed=1)), images(1, (12,), seed=1)
    HopSkipJump(steps=9, directions=100)(model, x, goals(model(x))["untargeted"])
    directions = sum(int(100 * math.sqrt(jump + 1)) for jump in range(9))
    assert directions < model.queries < directions + 9 * 32 + 20
    model.queries = 0
    HopSkipJump(steps=9, directions=100, max_directions=120)(model, x, goals(model(x))["untargeted"])
    assert model.queries < 100 + 8 * 120 + 9 * 32 + 20


def test_hop_skip_jump_returns_nothing_beyond_eps():
    model, x = linear(num_classes=2, seed=1), images(6, (3, 2, 2), seed=1)
    goal = goals(model(x))["untargeted"]
    radius = model.smallest(x, goal, "l2")
    eps = radius * torch.tensor([0.9, 1.2, 0.9, 1.2, 0.9, 1.2])
    x_adv = HopSkipJump(steps=15)(model, x, goal, eps=eps)
    assert fooled(model, goal, x_adv).tolist() == [False, True] * 3
    assert torch.equal(x_adv[::2], x[::2])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_to_boundary_stops_just_beyond_it(norm):
    model, x = linear(num_classes=2, seed=1), images(4, (12,), seed=1)
    goal = goals(model(x))["untargeted"]
    ask = _Oracle(model, goal)
    start = torch.where(model.weight[1 - goal.labels] > model.weight[goal.labels], 1.0, 0.0).double()
    assert fooled(model, goal, start).all()
    at = _to_boundary(ask, NORMS[norm](), x, start)
    assert fooled(model, goal, at).all()
    radius = NORMS[norm]().measure(at - x)
    nearer = x + NORMS[norm]().project(start - x, 0.999 * radius)
    assert not fooled(model, goal, nearer).any()


def test_jumps_that_cannot_land_stay_where_they_are():
    model, x = Constant(torch.tensor([2.0, 0.0])), images(3, (12,))
    ask = _Oracle(model, Untargeted(torch.zeros(3, dtype=torch.int64)))
    assert torch.equal(_jump(ask, L2(), x, torch.ones_like(x), torch.ones(3).double()), x)


# --- rotations and shifts ---


def test_warp_turns_by_right_angles_counter_clockwise():
    x = images(4, (2, 5, 5))
    turned = warp(x, torch.tensor([0.0, 90.0, 180.0, -90.0]), torch.ones(4), torch.zeros(4, 2))
    expected = torch.stack([torch.rot90(image, k, (1, 2)) for k, image in enumerate(x)])
    torch.testing.assert_close(turned, expected, atol=1e-6, rtol=0)


def test_warp_keeps_angles_in_images_that_are_not_square():
    x = torch.zeros(1, 1, 5, 9, dtype=torch.float64)
    x[0, 0, 2, 2:7] = 1
    turned = warp(x, torch.tensor([90.0]), torch.ones(1), torch.zeros(1, 2))
    expected = torch.zeros_like(x)
    expected[0, 0, :, 4] = 1
    torch.testing.assert_close(turned, expected, atol=1e-6, rtol=0)


def test_warp_shifts_each_image_by_its_own_fraction_and_fills_with_black():
    x = images(2, (1, 4, 8), low=0.5)
    moved = warp(x, torch.zeros(2), torch.ones(2), torch.tensor([[0.25, 0.0], [0.0, -0.25]]))
    torch.testing.assert_close(moved[0, :, 1:], x[0, :, :-1], atol=1e-6, rtol=0)
    torch.testing.assert_close(moved[1, :, :, :-2], x[1, :, :, 2:], atol=1e-6, rtol=0)
    assert not moved[0, :, 0].any()
    assert not moved[1, :, :, -2:].any()


def test_warp_makes_images_smaller():
    x = torch.ones(1, 1, 8, 8)
    half = warp(x, torch.zeros(1), torch.full((1,), 0.5), torch.zeros(1, 2))
    assert half.sum().item() == pytest.approx(16, abs=1e-4)
    assert half[0, 0, 2:6, 2:6].min() == 1


class Middle(torch.nn.Module):
    """Compares the two middle pixels of a row with the outer ones."""

    def forward(self, x):
        return 9 * torch.stack([x[:, 0, 4, 3:5].mean(1), x[:, 0, 4, 5:7].mean(1)], 1)


def bar():
    x = torch.zeros(2, 1, 8, 8)
    x[:, :, :, 3:5] = 0.9
    return x


@pytest.mark.parametrize("grid", [True, False])
def test_spatial_finds_a_shift_that_fools(grid):
    x, goal = bar(), Untargeted(torch.tensor([0, 0]))
    x_adv = Spatial(max_translation=0.25, rotations=3, translations=9, grid=grid)(Middle(), x, goal)
    assert fooled(Middle(), goal, x_adv).all()
    narrow = Spatial(max_rotation=1.0, max_translation=0.05, grid=grid, rotations=3)(Middle(), x, goal)
    assert torch.equal(narrow, x)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_spatial_returns_the_nearest_and_nothing_beyond_eps(norm):
    x, goal, size = bar(), Untargeted(torch.tensor([0, 0])), NORMS[norm]()
    attack = Spatial(norm=size, max_translation=0.25, rotations=1, translations=9)
    nearest = size.measure(attack(Middle(), x, goal) - x)
    shifts = [
        warp(x, torch.zeros(2), torch.ones(2), torch.tensor([[0.0, s]] * 2)) for s in torch.linspace(-0.25, 0.25, 9)
    ]
    sizes = [size.measure(s - x)[0] for s in shifts if fooled(Middle(), goal, s).all()]
    assert nearest[0] <= min(sizes) + 1e-6
    assert torch.equal(attack(Middle(), x, goal, eps=0.9 * nearest), x)
    assert not torch.equal(attack(Middle(), x, goal, eps=1.1 * nearest), x)


def test_spatial_tries_every_combination_once():
    queries = Decisions(Middle())
    Spatial(rotations=4, translations=3)(queries, bar()[:1], Untargeted(torch.tensor([0])))
    assert queries.queries == 1 + 4 * 3 * 3


def test_spatial_draws_for_each_image_alone():
    ids = torch.tensor([3, 1, 4, 1])
    moves = list(Spatial(grid=False, rotations=2, translations=2)._moves(5, ids))
    assert len(moves) == 8
    assert all(torch.equal(move[1], move[3]) and not torch.equal(move[0], move[1]) for move in moves)
    assert all((move.abs() <= 1).all() for move in moves)


def test_black_boxes_beat_a_model_whose_gradient_is_zero():
    model, x = Quantised(mlp(108, seed=2), levels=8), images(6, (3, 6, 6), seed=2)
    goal = goals(model(x))["untargeted"]
    assert fooled(model, goal, HopSkipJump(steps=3)(model, x, goal)).all()
    assert fooled(model, goal, Square(steps=300)(model, x, goal, eps=0.3)).all()

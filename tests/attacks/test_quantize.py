"""Rounding to 8 bits: on the grid, within the budget, and still adversarial where that is possible."""

import pytest
import torch
from norm_rows import EPS
from oracles import images, mlp, on_grid

from attacks import FMN, L0, L1, L2, PGD, Linf, TopKExclusion, Untargeted, quantize

LEVEL = 1 / 255
NORMS = [Linf(), L2(), L1(), L0()]
each_norm = pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)


def fits(norm, x, x_q, eps):
    return norm.measure(x_q - x) <= eps * (1 + 1e-5) + 1e-6


@pytest.fixture(scope="module")
def model():
    network = mlp(192, seed=3).float()
    with torch.no_grad():
        network[1].weight.mul_(6)
    return network


@pytest.fixture(scope="module")
def x():
    return (images(24, (3, 8, 8), low=0.0, high=1.0) * 255).round().float() / 255


@pytest.fixture(scope="module")
def goal(model, x):
    return Untargeted(model(x).argmax(1))


@each_norm
def test_smallest_perturbations_survive_rounding(norm, model, x, goal):
    x_adv = FMN(norm=norm, steps=40)(model, x, goal)
    fooled = goal.margin(model(x_adv)) < 0
    assert fooled.all()
    plain = (x_adv * 255).round() / 255
    x_q = quantize(model, x, x_adv, goal, norm)
    assert on_grid(x_q)
    assert x_q.dtype == x.dtype
    assert (goal.margin(model(x_q)) < 0).all()
    if norm.name != "l0":
        assert not (goal.margin(model(plain)) < 0).all()
    # It costs a little, not a lot.
    assert norm.measure(x_q - x).median() < 1.3 * norm.measure(x_adv - x).median()


@pytest.mark.parametrize(("norm", "eps"), [(Linf(), 12 * LEVEL), (L2(), 0.8), (L1(), 6.0)], ids=["linf", "l2", "l1"])
def test_stays_within_eps_and_fools_almost_as_often(norm, eps, model, x, goal):
    x_adv = PGD(norm=norm, steps=20)(model, x, goal, eps=eps)
    x_q = quantize(model, x, x_adv, goal, norm, eps=eps)
    assert on_grid(x_q)
    assert fits(norm, x, x_q, eps).all()
    before, after = (int((goal.margin(model(images)) < 0).sum()) for images in (x_adv, x_q))
    assert 5 <= before < 24
    assert after >= 0.9 * before


def test_linf_keeps_a_whole_number_of_levels_exactly(model, x, goal):
    for levels in (1, 4, 16):
        x_adv = PGD(steps=10)(model, x, goal, eps=levels * LEVEL)
        x_q = quantize(model, x, x_adv, goal, Linf(), eps=levels * LEVEL)
        assert ((x_q - x) * 255).abs().round().max() == levels


def test_an_eps_between_two_levels_allows_the_lower_one(model, x, goal):
    x_adv = PGD(steps=10)(model, x, goal, eps=2.9 * LEVEL)
    x_q = quantize(model, x, x_adv, goal, Linf(), eps=2.9 * LEVEL)
    assert ((x_q - x) * 255).abs().round().max() == 2


def test_an_eps_below_one_level_allows_nothing(model, x, goal):
    x_adv = PGD(steps=10)(model, x, goal, eps=0.7 * LEVEL)
    assert torch.equal(quantize(model, x, x_adv, goal, Linf(), eps=0.7 * LEVEL), x)


def test_takes_another_level_where_the_first_does_not_do():
    # Only the second value counts, and it must rise by 1.5 levels; the candidate has it at 1.6 of 2 levels.
    x, goal = torch.tensor([[100.0, 100.0]]) / 255, Untargeted(torch.tensor([0]))

    def model(x):
        return torch.stack([torch.full_like(x[:, 0], 101.5 / 255), x[:, 1]], 1) * 255

    x_adv = x + torch.tensor([[0.0, 1.6]]) / 255
    assert (quantize(model, x, x_adv, goal, Linf()) * 255).round().tolist() == [[100, 102]]
    # At 1.2 levels the candidate itself does not meet the goal, and nothing is searched.
    x_adv = x + torch.tensor([[0.0, 1.2]]) / 255
    assert (quantize(model, x, x_adv, goal, Linf()) * 255).round().tolist() == [[100, 101]]


def test_every_so_many_steps_allow_one_level_more():
    # The model looks at a coarser image than the attack did: the candidate's one level is not enough.
    x, goal = torch.tensor([[100.0, 100.0]]) / 255, Untargeted(torch.tensor([0]))
    calls = []

    def model(x):
        calls.append(float(x.detach()[0, 1] * 255))
        needed = 0.5 if len(calls) == 1 else 2.5
        return torch.stack([0 * x[:, 0], x[:, 1] * 255 - 100 - needed], 1)

    x_adv = x + torch.tensor([[0.0, 0.9]]) / 255
    x_q = quantize(model, x, x_adv, goal, Linf(), steps=3)
    assert (x_q * 255).round().tolist()[0][1] == 103
    assert [round(value) for value in calls[1:]] == [101, 101, 101, 102, 102, 102, 102, 103]
    calls.clear()
    x_q = quantize(model, x, x_adv, goal, Linf(), steps=3, eps=2 * LEVEL)
    assert fits(Linf(), x, x_q, 2 * LEVEL).all()


@each_norm
def test_what_fools_nobody_is_rounded_within_eps(norm, x):
    eps = EPS[norm.name]
    nobody = Untargeted(torch.zeros(24, dtype=torch.int64))
    x_adv = x + norm.random(x.shape[1:], eps, seed=0, ids=torch.arange(24), draw=0)
    x_adv = x_adv.clamp(0, 1)
    x_q = quantize(
        lambda x: torch.stack([0 * x.sum((1, 2, 3)) + 1, 0 * x.sum((1, 2, 3))], 1), x, x_adv, nobody, norm, eps=eps
    )
    assert on_grid(x_q)
    assert fits(norm, x, x_q, eps).all()
    assert ((x_q - x_adv).abs() <= LEVEL + 1e-6).all()


def test_images_between_the_levels_stay_within_eps():
    x = images(20, (2,), low=0.3, high=0.31).float()
    goal = Untargeted(torch.zeros(20, dtype=torch.int64))

    def model(x):
        return torch.stack([x[:, 0], x[:, 1] - 0.005], 1)

    for eps in (0.6 * LEVEL, 1.5 * LEVEL, 4 * LEVEL):
        x_adv = (x + eps * torch.tensor([[-1.0, 1.0]])).clamp(0, 1)
        x_q = quantize(model, x, x_adv, goal, Linf(), eps=eps)
        assert on_grid(x_q)
        assert fits(Linf(), x, x_q, eps).all()


@pytest.mark.parametrize("eps", [0.01 * LEVEL, 0.4 * LEVEL])
def test_an_image_with_no_level_in_reach_gets_the_nearest(eps):
    x = torch.tensor([[100.45, 100.55, 0.45, 254.55]]) / 255
    goal = Untargeted(torch.tensor([0]))
    x_q = quantize(lambda x: x, x, x, goal, Linf(), eps=eps)
    assert (x_q * 255).round().tolist() == [[100, 101, 0, 255]]


def test_any_goal_and_any_shape(model):
    x = (images(6, (192,), seed=2) * 255).round().float() / 255
    goal = TopKExclusion.from_logits(model(x), k=2)
    x_adv = FMN(steps=60)(model, x, goal)
    x_q = quantize(model, x, x_adv, goal, Linf())
    assert on_grid(x_q)
    assert x_q.shape == x.shape
    assert torch.equal(goal.margin(model(x_q)) < 0, goal.margin(model(x_adv)) < 0)


def test_images_do_not_influence_each_other_and_are_not_written_to(model, x, goal):
    x_adv = FMN(steps=20)(model, x, goal)
    before = x.clone(), x_adv.clone()
    together = quantize(model, x, x_adv, goal, Linf(), eps=0.1)
    assert torch.equal(x, before[0])
    assert torch.equal(x_adv, before[1])
    for i in (0, 7):
        alone = quantize(model, x[[i]], x_adv[[i]], goal.select(torch.tensor([i])), Linf(), eps=0.1)
        assert torch.equal(alone[0], together[i])


def test_a_model_without_a_gradient_gets_the_nearest_rounding(model, x, goal):
    x_adv = FMN(steps=20)(model, x, goal)
    x_q = quantize(lambda x: model(x).detach(), x, x_adv, goal, Linf(), eps=0.1)
    assert on_grid(x_q)
    assert fits(Linf(), x, x_q, 0.1).all()


@pytest.mark.parametrize("norm", [L2(), L1()], ids=lambda norm: norm.name)
def test_perturbations_far_below_a_level_are_stretched_until_enough_of_them_survives(norm):
    """The boundary is 0.01 away; each of 192 values would have to move by a sixth of a level."""
    x = (images(4, (192,)) * 255).round() / 255
    direction = torch.nn.functional.normalize(images(1, (192,), seed=1) - 0.5)
    goal = Untargeted(torch.zeros(4, dtype=torch.int64))

    def model(z):
        return torch.stack([0.01 - ((z - x[: len(z)]) * direction).sum(1), torch.zeros(len(z), dtype=z.dtype)], 1)

    x_adv = x + 0.0101 * direction
    assert (Linf().measure(x_adv - x) < LEVEL / 2).all()
    x_q = quantize(model, x, x_adv, goal, norm)
    assert on_grid(x_q)
    assert (goal.margin(model(x_q)) < 0).all()
    # The largest values of the direction alone, by one level each.
    gains = direction[0].abs().sort(descending=True).values.cumsum(0) * LEVEL
    fewest = int((gains <= 0.01).sum()) + 1
    assert (L0().measure(x_q - x) <= fewest + 1).all()

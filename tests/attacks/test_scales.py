"""Models whose logits are huge or tiny: what is nearest does not change when all logits are multiplied."""

from dataclasses import replace

import pytest
import torch
from attack_table import ENTRIES, build
from norm_rows import each_norm, noise
from oracles import images, linear

from attacks import ATTACKS, L2, NORMS, Untargeted
from attacks.fmn import straight
from attacks.geometry.rows import in_range
from attacks.losses import LOSSES
from attacks.objectives.standing import unlike
from attacks.queries.gradients import Slope
from attacks.searches.adam import Adam
from attacks.searches.momentum import accumulate

FOLLOW_THE_BOUNDARY = [
    *[(name, norm) for name in ("fmn", "topk") for norm in NORMS],
    *[("fab", norm) for norm in ("linf", "l2", "l1")],
    *[("deepfool", norm) for norm in ("linf", "l2")],
    *[("superdeepfool", "l2"), ("ddn", "l2"), ("sigma_zero", "l0")],
]
"""The other attacks that look for the smallest perturbation weigh the margin against the size, in units of logits."""
BLIND = {"noise", "spatial", "patch"}
"""What they find does not depend on gradients, or is not measured by these budgets."""
each_scale = pytest.mark.parametrize("scale", [1e30, 1e-30])


@each_scale
@pytest.mark.parametrize(("name", "norm"), FOLLOW_THE_BOUNDARY)
def test_the_nearest_image_is_the_same(name, norm, scale):
    model, x = linear().float(), images(4, (12,)).float()
    goal, attack = Untargeted(model(x).argmax(1)), build(name, norm, 30)
    found, usual = (attack(lambda x, by=by: by * model(x), x, goal) for by in (scale, 1.0))
    assert (goal.margin(model(found)) < 0).all()
    sizes = [NORMS[norm]().measure(x_adv - x) for x_adv in (found, usual)]
    if name == "sigma_zero":  # weighs margins as they are unless they are extreme
        assert (sizes[0] <= sizes[1]).all()
    else:
        torch.testing.assert_close(*sizes, rtol=1e-3, atol=0)


BUDGET = {"linf": 0.15, "l2": 0.5, "l1": 1.5, "l0": 3}
WITHIN = [(name, norm) for name, norm in ENTRIES if ATTACKS[name].kind == "budget" and name not in BLIND]


def _fooled(name, norm, scale, **parameters):
    """Which images an attack fools within a budget with which it fools all where logits are as they usually are."""
    if name == "bsr":  # pieces of an image in another order are nothing like it for a linear model
        parameters |= {"blocks": 1, "rotation": 1e-30}
    attack = build(name, norm, 10)
    attack = replace(attack, **parameters) if parameters else attack
    model, x = linear().float(), images(4, (1, 3, 4)).float()
    goal = Untargeted(model(x).argmax(1))
    usual, other = (attack(lambda x, by=by: by * model(x), x, goal, eps=BUDGET[norm]) for by in (1.0, scale))
    assert (goal.margin(model(usual)) < 0).all(), "the budget is too small for this test"
    return goal.margin(model(other)) < 0


@each_scale
@pytest.mark.parametrize(("name", "norm"), WITHIN)
def test_what_fools_within_a_budget_fools_at_any_scale(name, norm, scale):
    assert _fooled(name, norm, scale).all()


@pytest.mark.parametrize("scale", [1e30, 1e10, 1e-30])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("name", "norm"), [("fgsm", "l1"), ("pgd", "l2"), ("apgd", "linf"), ("mifgsm", "linf")])
def test_every_loss_fools_at_any_scale(name, norm, loss, scale):
    assert _fooled(name, norm, scale, loss=loss).all()


@pytest.mark.parametrize("exponent", [100, 8, -8, -100])
@pytest.mark.parametrize(("name", "norm"), [("cw", "l2"), *(("pdpgd", norm) for norm in ("l2", "l1", "l0"))])
def test_what_weighs_the_margin_against_the_size_finds_the_same_at_any_scale(name, norm, exponent):
    model, x = linear().float(), images(4, (12,)).float()
    goal, attack = Untargeted(model(x).argmax(1)), build(name, norm, 100)
    found, usual = (attack(lambda x, by=by: by * model(x), x, goal) for by in (2.0**exponent, 1.0))
    assert (goal.margin(model(found)) < 0).all()
    if name == "cw":  # weighs margins as they are unless they are extreme, and searches for the constant
        sizes = [L2().measure(x_adv - x) for x_adv in (found, usual)]
        assert (sizes[0] <= 1.03 * sizes[1]).all()
    else:
        torch.testing.assert_close(found, usual)


@each_scale
@pytest.mark.parametrize("norm", ["l2", "l1", "l0"])
def test_two_searches_find_as_near_an_image_where_logits_are_extreme(norm, scale):
    model, x = linear().float(), images(16, (12,)).float()
    goal, attack = Untargeted(model(x).argmax(1)), replace(build("pdpgd", norm), steps=600)
    found, usual = (attack(lambda x, by=by: by * model(x), x, goal) for by in (scale, 1.0))
    sizes = [NORMS[norm]().measure(x_adv - x) for x_adv in (found, usual)]
    assert (goal.margin(model(found)) < 0).all()
    assert sizes[0].mean() <= 1.05 * sizes[1].mean()


def test_steps_of_adam_do_not_depend_on_the_unit_of_the_gradients():
    gradients = [noise(4, 12) * fall for fall in (1, 50, 3e4, 1e-3, 0.5)]
    units = torch.tensor([1.0, 2.0**100, 2.0**70, 2.0**-20]).unsqueeze(1)
    plain, other = Adam(torch.zeros(4, 12)), Adam(torch.zeros(4, 12))
    for number, gradient in enumerate(gradients):
        expected, found = plain.step(gradient), other.step(gradient * units)
        torch.testing.assert_close(found[:3], expected[:3])
        assert torch.equal(found[0], expected[0]), "other images change nothing"
        torch.testing.assert_close(other.scale[:3] / units[:3], plain.scale[:3])
        if number == 2:
            kept = torch.tensor([0, 1, 2])
            units, gradients[3:] = units[kept], [each[kept] for each in gradients[3:]]
            plain.select(kept)
            other.select(kept)


def test_a_gradient_that_becomes_huge_is_followed():
    adam, exact = Adam(torch.zeros(1, 2)), Adam(torch.zeros(1, 2, dtype=torch.float64))
    for size in (0.0, 1.0, 1e30, 1e36, 3e38, 1.0):
        gradient = torch.tensor([[size, -size / 4]])
        torch.testing.assert_close(adam.step(gradient).double(), exact.step(gradient.double()))


@each_scale
@each_norm
def test_ways_to_a_plane_and_lengths_of_gradients(norm, scale):
    x, normal, rise = images(3, (12,)).float(), noise(3, 12), torch.tensor([0.3, -0.2, 9.0])
    torch.testing.assert_close(norm.to_plane(x, scale * normal, scale * rise), norm.to_plane(x, normal, rise))
    torch.testing.assert_close(norm.dual(scale * normal) / scale, norm.dual(normal))


@pytest.mark.parametrize("scale", [1e37, 1e30, 1e-30, 1e-37])
def test_a_running_sum_takes_gradients_of_any_scale(scale):
    gradient, sum_ = noise(3, 12), noise(3, 12, seed=1)
    torch.testing.assert_close(accumulate(sum_, scale * gradient, 0.5), accumulate(sum_, gradient, 0.5))


@each_scale
def test_unlikeness_to_clean_logits(scale):
    clean, goal = noise(3, 6), Untargeted(noise(3, 6).argmax(1))
    slopes = []
    for by in (1.0, scale):
        logits = (by * noise(3, 6, seed=1)).requires_grad_()
        slopes.append(by * torch.autograd.grad(unlike(by * clean)(logits, goal).sum(), logits)[0])
    torch.testing.assert_close(slopes[1], slopes[0])


def test_images_of_another_scale_change_nothing():
    gradient = noise(4, 12)
    mixed = gradient * torch.tensor([1.0, 1e30, 1e-30, 0.0]).unsqueeze(1)
    for each in (L2().dual, lambda row: L2().steepest(row, 0.5), in_range):
        assert torch.equal(each(mixed)[:1], each(gradient)[:1])


def test_without_a_gradient_the_boundary_is_far_but_not_infinitely():
    at = Slope(torch.zeros(2, 2), torch.tensor([0.5, 0.0]), torch.zeros(2, 3), torch.tensor([False, False]))
    torch.testing.assert_close(straight(L2(), torch.tensor([0.25, 0.25]), at), torch.tensor([1e12, 0.25]))

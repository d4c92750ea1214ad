"""Images and budgets on a graph: what comes back is on none, and nothing is added to their gradients."""

import pytest
import torch
from attack_table import build, each_entry
from norm_rows import EPS
from oracles import goals, images, mlp

from attacks import L0, PGD, Linf, Perturbation, TopK, Universal, masked, multi_targeted, quantize, stored
from attacks.universal.stored import StoredUniversal

SHAPE = (3, 4, 4)


@pytest.fixture(scope="module")
def model():
    return mlp(48, seed=1).float()


@pytest.fixture(scope="module")
def x():
    return images(3, SHAPE).float()


@each_entry
def test_a_budget_with_a_gradient(name, norm, model, x):
    goal, attack = goals(model(x))["untargeted"], build(name, norm, 3)
    plain = attack(model, x, goal, eps=EPS[norm])
    for eps in (torch.tensor(EPS[norm]), torch.full((3,), EPS[norm])):
        x_adv = attack(model, x, goal, eps=eps.requires_grad_())
        assert not x_adv.requires_grad
        assert eps.grad is None
        assert torch.equal(x_adv, plain)


@pytest.mark.parametrize("which", ["quantized", "stored", "masked", "towards rivals", "universal", "fitted"])
def test_images_with_a_gradient_in_attacks_made_of_others(which, model, x):
    given = Perturbation(delta=torch.full(SHAPE, 0.02), norm=Linf(), eps=0.02)
    attack = {
        "quantized": lambda: TopK(steps=5, quantized=True),
        "stored": lambda: stored(TopK(steps=5)),
        "masked": lambda: masked(PGD(steps=2), torch.ones(4, 4)),
        "towards rivals": lambda: multi_targeted(PGD(steps=2), 2),
        "universal": lambda: Universal(perturbation=given),
        "fitted": lambda: StoredUniversal(fit=2).fitted(model, images(8, SHAPE).float(), eps=0.05),
    }[which]()
    leaf = x.clone().requires_grad_()
    x_adv = attack(model, leaf, goals(model(x))["untargeted"], eps=0.05)
    assert not x_adv.requires_grad
    assert leaf.grad is None


@pytest.mark.parametrize("norm", [Linf(), L0()], ids=lambda norm: norm.name)
def test_images_with_a_gradient_that_are_rounded(norm, model, x):
    leaf = x.clone().requires_grad_()
    assert not quantize(model, leaf, leaf + 0.01, goals(model(x))["untargeted"], norm).requires_grad

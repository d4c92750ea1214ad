"""FGSM: one step of full length."""

import pytest
import torch
from oracles import convnet, goals, images, mlp

from attacks import FGSM, L0, L1, L2, Untargeted
from attacks.losses import LOSSES


def gradient(model, x, goal, loss):
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(LOSSES[loss](model(x), goal).sum(), x)
    return found


def test_linf_is_the_sign_of_the_gradient():
    model, x = convnet(seed=2), images(4, (3, 8, 8), low=0, high=1).float()
    goal = goals(model(x))["untargeted"]
    expected = (x - 0.03 * gradient(model, x, goal, "ce").sign()).clamp(0, 1)
    torch.testing.assert_close(FGSM()(model, x, goal, eps=0.03), expected)


def test_l2_is_the_gradient_without_what_leads_out_of_the_box():
    model, x = mlp(12), images(4, (12,), low=0, high=1)
    x[:, :3], x[:, 3:6] = 0, 1
    goal = goals(model(x))["untargeted"]
    slope = gradient(model, x, goal, "margin")
    slope = torch.where(((x == 0) & (slope > 0)) | ((x == 1) & (slope < 0)), 0, slope)
    step = FGSM(norm=L2(), loss="margin")(model, x, goal, eps=0.1) - x
    torch.testing.assert_close(step, -0.1 * slope / slope.norm(dim=1, keepdim=True))


def test_l1_and_l0_go_to_the_values_that_count_most():
    x, goal = torch.tensor([[0.5, 0.5, 0.5, 0.2]]), goals(torch.tensor([[1.0, 0.0]]))["untargeted"]
    weight = torch.tensor([[1.0, 3.0, 0.0, -2.0], [0.0, 0.0, 0.5, 0.0]])

    def model(x):
        return x @ weight.T + torch.tensor([9.0, 0.0])

    assert (FGSM(norm=L1())(model, x, goal, eps=0.25) - x).tolist() == [[0, -0.25, 0, 0]]
    assert FGSM(norm=L0())(model, x, goal, eps=2).tolist() == [[0.5, 0.0, 0.5, 1.0]]


def test_the_loss_matters():
    model, x = mlp(12, seed=3), images(6, (12,))
    goal = goals(model(x))["untargeted"]
    results = [FGSM(norm=L2(), loss=loss)(model, x, goal, eps=0.1) for loss in ("ce", "margin")]
    assert not torch.equal(*results)


@pytest.mark.parametrize("norm", [L2(), L1()], ids=lambda norm: norm.name)
@pytest.mark.parametrize("value", [0.3, 0.7])
def test_equal_steps_of_many_values_stay_within_the_budget(norm, value):
    x, eps = torch.full((1, 3, 224, 224), value), {"l2": 0.5, "l1": 1.0}[norm.name]

    def model(x):
        mean = x.flatten(1).mean(1)
        return torch.stack([mean, mean.new_full(mean.shape, 0.9 * value)], 1)

    x_adv = FGSM(norm=norm, loss="margin")(model, x, Untargeted(torch.tensor([0])), eps=eps)
    moved = (x_adv.double() - x.double()).flatten(1)
    size = moved.square().sum().sqrt() if norm.name == "l2" else moved.abs().sum()
    for measured in (float(size), float(norm.measure(x_adv - x))):
        assert 0.9999 * eps <= measured <= eps * (1 + 1e-5) + 1e-6

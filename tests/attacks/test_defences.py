"""Averaging over a randomised model, and a gradient in place of one that is missing."""

import math

import pytest
import torch
from oracles import convnet, goals, images, mlp

from attacks import PGD, Square, Targeted, Untargeted, expectation, straight_through
from attacks.standins.defences import identity

LEVELS = 8


def quantise(x):
    """Eight grey levels."""
    return (x * (LEVELS - 1)).round() / (LEVELS - 1)


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


# --- a step that cannot be differentiated ---


def behind(transform, model):
    return lambda x: model(transform(x))


@pytest.mark.parametrize("kind", ["untargeted", "targeted", "topk-exclusion", "label-out-of-topk", "ordered-topk"])
def test_pgd_fails_on_a_quantiser_and_works_with_a_gradient_put_through(kind):
    net, x = mlp(192, hidden=32, seed=3), quantise(images(12, (3, 8, 8), seed=3, low=0, high=1))
    with torch.no_grad():
        net[1].weight.mul_(2)
    goal, eps = goals(net(x))[kind], 0.16
    defended, through = behind(quantise, net), behind(straight_through(quantise), net)
    without = fooled(defended, goal, PGD()(defended, x, goal, eps=eps)).sum()
    with_it = fooled(defended, goal, PGD()(through, x, goal, eps=eps)).sum()
    assert without <= 3
    assert with_it >= without + 3
    if kind == "untargeted":
        assert with_it == 12


def test_what_comes_out_is_exact():
    x = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(straight_through(quantise)(x), quantise(x))
    assert torch.equal(straight_through(quantise, lambda x: 3 * x - 7)(x), quantise(x))


def test_the_gradient_is_that_of_the_stand_in():
    x = torch.rand(4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    straight_through(quantise, lambda x: x.square())(x).sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


def test_the_transform_may_leave_torch():
    def through_numpy(x):
        return torch.from_numpy(x.numpy().round(1))

    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    straight_through(through_numpy)(x).sum().backward()
    assert torch.equal(x.grad, torch.ones(3, 4))


def test_a_transform_may_work_in_place():
    def through_numpy(x):
        pixels = x.numpy()
        pixels *= 255
        return torch.from_numpy(pixels.round()) / 255

    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    before, passed = x.clone(), straight_through(through_numpy)
    torch.testing.assert_close(passed(x), (255 * before).round() / 255)
    assert torch.equal(x, before)
    x_adv = PGD(steps=3)(lambda x: 9 * passed(x), x, Untargeted(torch.zeros(3, dtype=torch.int64)), eps=0.1)
    assert torch.equal(x, before)
    assert (x_adv - x).abs().max() <= 0.1 + 1e-6


def test_a_stand_in_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected backward to give shape \(2, 3\), got \(2, 1\)"):
        straight_through(quantise, lambda x: x[:, :1])(torch.rand(2, 3))


def test_identity_is():
    x = torch.rand(2)
    assert identity(x) is x


# --- a randomised model ---


class Rippled:
    """Logits with low, steep ripples along ways drawn anew at every pass.

    Their mean is zero, but a single gradient is theirs and not the model's.
    """

    def __init__(self, net, values, height=0.01):
        self.net, self.values, self.height = net, values, height

    def __call__(self, x):
        logits = self.net(x)
        phase = 2 * math.pi * torch.rand(logits.shape, dtype=x.dtype)
        ways = torch.randn(logits.shape[1], self.values, dtype=x.dtype)
        return logits + self.height * torch.sin(x.flatten(1) @ ways.T / self.height + phase)


def test_the_mean_of_probabilities_says_how_often_a_random_model_is_right():
    """One pass in four is very sure of the other class: it leads the mean of logits, not that of probabilities."""

    def model(x):
        surprise = torch.rand(()) < 0.25
        return torch.where(surprise, torch.tensor([[-30.0, 30.0]]), torch.tensor([[3.0, -3.0]])) + 0 * x

    x = torch.zeros(1, 2)
    right = torch.sigmoid(torch.tensor([6.0, -60.0])) @ torch.tensor([0.75, 0.25])
    by_share = expectation(model, samples=2000, average="probabilities")(x).exp()
    torch.testing.assert_close(by_share[0, 0], right, atol=0.04, rtol=0)
    assert expectation(model, samples=2000)(x).argmax() == 1
    with pytest.raises(ValueError, match="expected average to be one of"):
        expectation(model, 2, average="votes")


def test_pgd_fails_on_a_randomised_model_and_works_on_its_expectation():
    net, x = mlp(192, hidden=32, seed=3), images(8, (3, 8, 8), seed=3)
    goal = goals(net(x))["untargeted"]
    model, eps = Rippled(net, 192), 0.06
    assert fooled(net, goal, PGD()(net, x, goal, eps=eps)).all()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        without = PGD()(model, x, goal, eps=eps)
    averaged = PGD()(expectation(model, samples=200), x, goal, eps=eps)
    # Judged by the model's mean: a single lucky pass is no success.
    assert fooled(net, goal, without).sum() <= 2
    assert fooled(net, goal, averaged).sum() >= 6


def test_expectation_is_the_mean_and_its_gradient():
    net, x = convnet().double(), images(2, (3, 8, 8)).requires_grad_()

    def model(x):
        return net(x) * (1 + torch.randn(()))

    torch.testing.assert_close(expectation(net, samples=3)(x), net(x))
    mean = expectation(model, samples=1500)(x)
    torch.testing.assert_close(mean, net(x), rtol=0.15, atol=0.01)
    (gradient,) = torch.autograd.grad(mean.sum(), x)
    (expected,) = torch.autograd.grad(net(x).sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=0.15, atol=0.01)


def test_every_call_draws_anew_and_a_new_wrapper_draws_the_same_again():
    def model(x):
        return torch.rand(len(x), 3) + 0 * x

    x, state = torch.rand(2, 3), torch.random.get_rng_state()
    once, again, other = expectation(model, 2, seed=5), expectation(model, 2, seed=5), expectation(model, 2, seed=6)
    first, second = once(x), once(x)
    assert not torch.equal(first, second)
    assert torch.equal(again(x), first)
    assert torch.equal(again(x), second)
    assert not torch.equal(other(x), first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_samples_of_one_call_differ():
    seen = []

    def model(x):
        seen.append(torch.rand(1).item())
        return x

    expectation(model, samples=5)(torch.rand(1, 3))
    assert len(set(seen)) == 5


@pytest.mark.parametrize("seed", [-1, 10**30])
def test_any_integer_is_a_seed(seed):
    assert expectation(lambda x: x, 1, seed)(torch.ones(1, 2)).tolist() == [[1, 1]]


def test_expectation_needs_a_sample():
    with pytest.raises(ValueError, match="expected samples >= 1, got 0"):
        expectation(lambda x: x, samples=0)


def test_both_go_together_and_with_attacks_that_need_no_gradient():
    net, x = mlp(48, seed=1), images(4, (3, 4, 4), seed=1)
    goal = Untargeted(net(x).argmax(1))

    def model(x):
        noisy = x + 0.02 * torch.randn_like(x)
        return net(straight_through(quantise)(noisy))

    averaged = expectation(model, samples=8)
    for attack in (PGD(steps=20), Square(steps=100)):
        x_adv = attack(averaged, x, goal, eps=0.4)
        assert fooled(net, goal, x_adv).all()
    assert Targeted(goal.labels).margin(net(x)).max() < 0

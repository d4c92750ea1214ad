"""The core of a model, found by watching a pass: exact answers, gradients of the network, and nothing left behind."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from tricks import DETERMINISTIC, Before, network, quantised

from attacks import PGD, Untargeted, expectation, inside

X = functional.interpolate(
    torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1)), (16, 16), mode="bilinear"
).clamp(0.1, 0.9)


def gradient(model):
    x = X.clone().requires_grad_()
    return torch.autograd.grad(model(x)[:, 0].sum(), x)[0]


def alike(one, other):
    return float(functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


GRADIENTS = ("quantised", "jpeg", "total variation", "plain function", "detached", "thermometer")
ENDS = ("logits x 1e6", "half", "probabilities", "labels", "shattered", "reversed")


@pytest.mark.parametrize("name", GRADIENTS + ENDS)
def test_the_gradient_is_nearly_that_of_the_network(name):
    net = network()
    core = inside(DETERMINISTIC[name](net), X)
    assert core.changes
    assert alike(gradient(core), gradient(net)) > 0.9, core.describe()


@pytest.mark.parametrize("name", sorted(set(DETERMINISTIC) - {"median", "logits x 1e-12"}))
def test_the_first_class_is_the_one_that_the_model_names(name):
    model = DETERMINISTIC[name](network())
    core = inside(model, X)
    assert core.changes
    assert torch.equal(core(X).argmax(1), model(X).argmax(1))
    assert torch.equal(core(X.clone().requires_grad_()).argmax(1), model(X).argmax(1))


@pytest.mark.parametrize("model", [network(), lambda x: network()(x), lambda x: x.flatten(1) @ torch.ones(768, 3)])
def test_a_model_that_hides_nothing_is_used_as_it_is(model):
    core = inside(model, X)
    assert not core.changes
    assert core.describe() == "nothing hides the gradient: the model is used as it is"
    assert torch.equal(core(X), model(X))


def test_layers_that_run_only_where_a_gradient_is_wanted_hide_nothing():
    net = network()

    def answers(x):
        own = net(x) if x.requires_grad else torch.zeros(len(x), 10)
        with torch._C.DisableTorchFunction():  # elsewhere, where nobody can watch it
            answer = net(x.detach())
            lent = own.detach()
        return answer + (own - lent)

    assert inside(answers, X).findings == ()


def test_another_size_and_order_of_channels_are_followed():
    net = network()
    plain = lambda x: net(functional.interpolate(x.flip(1), (16, 16), mode="bilinear"))  # noqa: E731
    small = functional.interpolate(X, (12, 12), mode="bilinear")
    core = inside(lambda x: plain((x * 31).round() / 31), small)
    one, other = (small.clone().requires_grad_() for _ in range(2))
    core(one)[:, 0].sum().backward()
    plain(other)[:, 0].sum().backward()
    assert alike(one.grad, other.grad) > 0.9


def test_weights_that_are_plain_tensors_are_layers_too():
    first, second = (torch.randn(shape, generator=torch.Generator().manual_seed(2)) for shape in ((768, 9), (9, 4)))
    plain = lambda x: (x.flatten(1) @ first).relu() @ second  # noqa: E731
    core = inside(lambda x: plain(quantised(x)), X)
    assert core.plain
    assert alike(gradient(core), gradient(plain)) > 0.9


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind_not_even_after_an_error(fails):
    net = network()
    calls = []
    handle = net[0].register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(net.state_dict())

    def model(x):
        logits = net((x * 31).round() / 31)
        if fails and len(calls) > 12:
            raise RuntimeError("away")
        return logits

    state = torch.random.get_rng_state()
    core = inside(model, X)
    if fails:
        with pytest.raises(RuntimeError, match="away"):
            [core(X.clone().requires_grad_()) for _ in range(20)]
    assert len(net[0]._forward_hooks) == 1
    handle.remove()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.is_grad_enabled()
    assert (X * 3).round().sum().requires_grad is False


class ChangesItself(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        with torch.no_grad():
            self.net[0].bias.mul_(0.999)
        return self.net(quantised(x))


class Shares(nn.Module):
    """A submodule that is called twice, under two names."""

    def __init__(self):
        super().__init__()
        self.net = network()
        self.again = self.net

    def forward(self, x):
        with torch.no_grad():
            return self.net(quantised(x)) + self.again(quantised(x.flip(3)))


@pytest.mark.parametrize("kind", [ChangesItself, Shares])
def test_odd_models_are_taken_as_they_are(kind):
    model = kind().requires_grad_(False)
    core = inside(model, X)
    assert core(X.clone().requires_grad_()).isfinite().all()
    assert PGD(steps=2)(core, X, Untargeted(model(X).argmax(1)), eps=0.05).isfinite().all()


class _Zero(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.clone()
        y[y < 0] = 0
        return y

    @staticmethod
    def backward(ctx, gradient):
        return 0 * gradient


class _Negated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class _Swish(torch.autograd.Function):
    """A right gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x.sigmoid() + x * x.sigmoid() * (1 - x.sigmoid()))


def _hooked(x):
    y = 1 * x
    if y.requires_grad:
        y.register_hook(torch.neg)
    return y


class Between(nn.Module):
    """A network with a step between two of its layers."""

    def __init__(self, step):
        super().__init__()
        self.net, self.step = network(), step

    def forward(self, x):
        return self.net[2:](self.step(self.net[:2](x)))


@pytest.mark.parametrize("step", [_Zero.apply, _Negated.apply, _hooked])
def test_a_gradient_that_is_falsified_between_two_layers_is_computed_anew(step):
    model, honest = Between(step), Between(lambda x: x)
    core = inside(model, X)
    assert core.honest
    assert "they are recomputed" in core.describe()
    assert alike(gradient(model), gradient(honest)) < 0.1
    assert alike(gradient(core), gradient(honest)) > 0.999
    assert torch.equal(core(X.clone().requires_grad_()), model(X))


def test_hooks_on_a_module_are_passed_over_and_left():
    model, honest = Between(lambda x: x), Between(lambda x: x)
    handle = model.net[2].register_full_backward_hook(lambda module, into, out: tuple(-each for each in into))
    assert alike(gradient(inside(model, X)), gradient(honest)) > 0.999
    assert handle.id in model.net[2]._backward_hooks
    assert alike(gradient(model), gradient(honest)) < -0.999


def test_a_function_with_a_right_backward_pass_is_no_defence():
    assert not inside(Between(_Swish.apply), X).changes


def test_goes_together_with_expectation():
    net = network()
    model = Before(lambda x: quantised(x + 0.02 * torch.randn_like(x)), net)
    core = expectation(inside(model, X), samples=8)
    assert alike(gradient(core), gradient(net)) > 0.9


def test_pictures_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"expected images in \[0, 1\]"):
        inside(network(), X * 3)

"""Models that change, remember or share parts, and hooks of the user's own: attacks take them as they are."""

import pytest
import torch
from odd_models import ODD
from test_inside import X, network
from torch import nn

from attacks import PGD, Adaptive, Linf, Standard, Untargeted, inside

FIRST = Standard(rounds=1, queries=5, targets=1, steps=4)
EPS = 0.05
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@pytest.mark.parametrize("name", ODD)
def test_the_core_of_an_odd_model_answers_and_has_a_gradient(name):
    core = inside(ODD[name](network()), X)
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(core(x).sum(), x)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
    assert PGD(steps=2)(core, X, Untargeted(core(X).argmax(1)), eps=EPS).isfinite().all()


@pytest.mark.parametrize("name", ODD)
def test_adaptive_reports_what_it_finds_in_an_odd_model(name):
    model = ODD[name](network())
    report = Adaptive(first=FIRST, draws=2, judge_draws=4).report(model, X, Untargeted(model(X).argmax(1)), eps=EPS)
    assert (Linf().measure(report.x_adv - X) <= EPS + 1e-6).all()
    assert ((report.met_share >= 0) & (report.met_share <= 1)).all()
    wavers = any("random" in finding for finding in report.findings)
    assert wavers == (name in ("ChangesItself", "Alternates", "Remembers"))


def hooked(net, calls):
    """A network with hooks of every kind, and what is registered on each of its parts."""
    for part in net:
        part.register_forward_hook(lambda *_: calls.append("forward"))
        part.register_forward_pre_hook(lambda *_: calls.append("before"))
    net[0].register_full_backward_hook(lambda *_: calls.append("backward"))
    net[3].register_full_backward_pre_hook(lambda *_: None)
    return registered(net)


def registered(net):
    return [{kind: dict(getattr(part, kind)) for kind in HOOKS} for part in net.modules()]


class Fails(nn.Module):
    def __init__(self, net, after):
        super().__init__()
        self.net, self.left = net, after

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("no more")
        return self.net((x * 15).round() / 15)


@pytest.mark.parametrize("after", [3, 20, 40, 10_000])
@pytest.mark.parametrize("attack", [Adaptive(first=FIRST), PGD(steps=3)], ids=["adaptive", "pgd"])
def test_hooks_are_left_as_they_were_also_after_an_exception(attack, after):
    net, calls = network(), []
    before = hooked(net, calls)
    goal = Untargeted(net(X).argmax(1))
    model = Fails(net, after)
    try:
        attack(model, X, goal, eps=EPS)
    except (RuntimeError, ValueError) as error:
        assert "no more" in str(error)  # noqa: PT017 - most of these do not fail
    assert registered(net) == before
    assert torch.is_grad_enabled()
    calls.clear()
    net(X)
    assert calls == ["before", "forward"] * len(net)

"""Layers that somebody has derived from torch's, and parts of networks that cannot be followed, in faster forms."""

import pytest
import torch
from fast_models import each_form, images, spread
from torch import nn
from torch.nn import functional

from attacks.speed.folding import EXACT, rewritten
from attacks.standins.fast import usable


class NormAndReLU(nn.BatchNorm2d):
    """A batch norm that applies the activation, too, and checks its input, as timm's do."""

    def forward(self, x):
        torch._assert(x.ndim == 4, f"expected 4 dimensions, got {x.ndim}")
        seen = functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, self.momentum, eps=self.eps
        )
        return functional.relu(seen)


class Renamed(nn.BatchNorm2d):
    """A batch norm and nothing else."""


class Moody(nn.BatchNorm2d):
    """A batch norm that looks at values, and so cannot be followed."""

    def forward(self, x):
        return super().forward(x if x.mean() > 0.5 else 2 * x)


class OfTheBatch(nn.BatchNorm2d):
    """A batch norm that takes the statistics of its input even in eval mode."""

    def forward(self, x):
        return functional.batch_norm(x, None, None, self.weight, self.bias, True)


class Called(nn.Module):
    """Both steps called as functions; the convolution's result is used once more or not."""

    def __init__(self, more):
        super().__init__()
        self.conv, self.norm, self.more = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), more

    def forward(self, x):
        x = functional.conv2d(x, self.conv.weight, self.conv.bias, padding=1)
        seen = functional.batch_norm(x, self.norm.running_mean, self.norm.running_var)
        return seen + x if self.more else seen


class Stages(nn.Module):
    """A network whose code looks at values between its stages, the second of which takes two inputs."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6)

        def forward(self, x, factor, shift=None):
            return self.norm(self.conv(x * factor)) + shift

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second, self.top = self.Both(), nn.Linear(6, 5)

    def forward(self, x):
        x = self.first(x)
        x = self.second(x, 0.5 if x.mean() > 0 else 1, shift=0.1)
        return self.top(x.mean((2, 3)))


def behind_a_convolution(norm):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = nn.Sequential(nn.Conv2d(3, 6, 3), norm(), nn.Flatten(), nn.Linear(216, 5))
        spread(net)
    return net.eval().requires_grad_(False)


def norms_left(net):
    steps = [node.target for node in net.graph.nodes]
    return functional.batch_norm in steps or any(isinstance(part, nn.BatchNorm2d) for part in net.modules())


def check_same(found, net, rtol=1e-4):
    x = images(3).requires_grad_()
    outputs = net(x)
    scale = float(outputs.detach().abs().max())
    torch.testing.assert_close(found(x), outputs, rtol=rtol, atol=rtol * scale)
    quick, slow = (torch.autograd.grad(each(x).square().sum(), x)[0] for each in (found, net))
    torch.testing.assert_close(quick, slow, rtol=rtol, atol=10 * rtol * float(slow.abs().max()))


@pytest.mark.parametrize(
    ("norm", "left"),
    [(NormAndReLU, False), (Renamed, False), (nn.BatchNorm2d, False), (Moody, True), (OfTheBatch, True)],
)
def test_a_derived_batch_norm_is_folded_if_that_is_what_it_is(norm, left):
    net = behind_a_convolution(lambda: norm(6))
    found = rewritten(net, "folded")
    check_same(found, net)
    assert norms_left(found) == left
    assert [each.form for each in usable(net, images(4))][:3] == ["plain", "folded", EXACT]


@pytest.mark.parametrize("more", [False, True])
def test_a_batch_norm_called_as_a_function_is_folded_where_nothing_else_needs_its_input(more):
    net = behind_a_convolution(lambda: nn.Identity())
    net[0] = Called(more)
    net[3] = nn.Linear(6 * 64, 5)
    spread(net)
    found = rewritten(net.eval().requires_grad_(False), "folded")
    check_same(found, net)
    assert norms_left(found) == more


@each_form
def test_stages_of_a_network_that_cannot_be_followed_as_a_whole_are_rewritten(form):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = Stages()
        spread(net)
    net.eval().requires_grad_(False)
    found = rewritten(net, form)
    check_same(found, net, rtol=0.05 if form == "bfloat16" else 1e-4)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in found.modules())


@pytest.mark.parametrize("name", ["mobilenetv2_050", "tf_mobilenetv3_small_075", "resnetblur18"])
def test_networks_of_timm_have_forms(name):
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = timm.create_model(name, num_classes=5)
        spread(net)
    net.eval().requires_grad_(False)
    assert [each.form for each in usable(net, torch.rand(2, 3, 64, 64))][:3] == ["plain", "folded", EXACT]
    assert not any(isinstance(part, nn.BatchNorm2d) for part in rewritten(net, "folded").modules())

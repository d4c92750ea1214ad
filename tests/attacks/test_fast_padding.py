"""Padding of its own goes into the convolution behind it, and nothing else is taken for it."""

import pytest
import torch
from fast_models import images
from torch import fx, nn
from torch.nn import functional

from attacks.speed.folding import rewritten
from attacks.speed.padding import absorb_padding


class Same(nn.Conv2d):
    """A convolution that pads as TensorFlow does, with code of its own."""

    def __init__(self, *args, sides, **kwargs):
        super().__init__(*args, **kwargs)
        self.pad = nn.ZeroPad2d(sides)

    def forward(self, x):
        return functional.conv2d(
            self.pad(x), self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Functional(nn.Module):
    """Both steps called as functions, arguments by name."""

    def __init__(self, sides, **options):
        super().__init__()
        self.weight, self.sides, self.options = nn.Parameter(torch.randn(6, 1, 3, 3)), sides, options

    def forward(self, x):
        padded = functional.pad(x, pad=self.sides, **self.options)
        return functional.conv2d(padded, self.weight, groups=3, stride=(2, 1))


class Twice(nn.Module):
    """One convolution behind two paddings; and one padding before two convolutions."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.pad = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3, bias=False), nn.ZeroPad2d(1)

    def forward(self, x):
        twice = self.one(self.pad(x)) + self.one(functional.pad(x, (0, 2, 0, 2)))
        padded = self.pad(x.tanh())
        return twice + self.other(padded) + padded[:, :, 1:-1, 1:-1]


class Standardised(nn.Conv2d):
    """A convolution whose weights are computed."""

    def forward(self, x):
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) * 2
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1)), weight, self.bias)


def depthwise(**settings):
    return nn.Conv2d(3, 6, 3, groups=3, **settings)


ABSORBED = {
    "a layer before": lambda: nn.Sequential(nn.ZeroPad2d((2, 2, 1, 1)), nn.Conv2d(3, 4, 3)),
    "constant zeros": lambda: nn.Sequential(nn.ConstantPad2d(1, 0.0), nn.Conv2d(3, 4, 3, padding=(0, 2), dilation=2)),
    "code of its own": lambda: Same(3, 4, 3, sides=(1, 1, 1, 1)),
    "code of its own, depthwise": lambda: Same(3, 3, 3, sides=(0, 1, 0, 1), stride=2, groups=3, bias=False),
    "more on one side": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 3, 1)), depthwise(stride=2)),
    "more on one side, padded twice": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), depthwise(padding=1)),
    "functions": lambda: Functional((1, 1, 2, 0)),
    "functions, zero by name": lambda: Functional((1, 1, 1, 1), mode="constant", value=0),
}  # fmt: skip
LEFT = {
    "one side of all channels": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, stride=2)),
    "one side, dilated": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), depthwise(dilation=2)),
    "not zeros": lambda: nn.Sequential(nn.ConstantPad2d(1, 0.5), nn.Conv2d(3, 4, 3)),
    "reflected": lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3)),
    "cut off": lambda: nn.Sequential(nn.ZeroPad2d(-1), nn.Conv2d(3, 4, 3)),
    "another way of padding": lambda: nn.Sequential(
        nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    ),
    "as many as come in": lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, padding="same")),
    "functions, not zeros": lambda: Functional((1, 1, 1, 1), value=1.0),
    "functions, reflected": lambda: Functional((1, 1, 1, 1), mode="reflect"),
    "channels": lambda: Functional((1, 1, 1, 1, 0, 3)),
    "in use elsewhere": Twice,
    "computed weights": lambda: Standardised(3, 4, 3),
}


def network(make):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = make()
        if isinstance(found, Functional) and len(found.sides) == 6:  # six channels come out of that
            found.weight = nn.Parameter(torch.randn(6, 2, 3, 3))
        return nn.Sequential(found, nn.ReLU(), nn.Flatten()).eval().requires_grad_(False)


def check_same(found, net):
    x = images(3).requires_grad_()
    outputs = net(x)
    torch.testing.assert_close(found(x), outputs, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(-1, 1, outputs.numel()).view_as(outputs)
    quick, slow = (torch.autograd.grad((each(x) * weights).sum(), x)[0] for each in (found, net))
    torch.testing.assert_close(quick, slow, rtol=1e-3, atol=1e-5)


def padding_steps(traced):
    layers = {name for name, layer in traced.named_modules() if "Pad" in type(layer).__name__}
    return [node.name for node in traced.graph.nodes if node.target is functional.pad or node.target in layers]


@pytest.mark.parametrize("make", ABSORBED.values(), ids=ABSORBED)
def test_a_convolution_pads_by_itself_what_was_padded_before_it(make):
    net = network(make)
    found = rewritten(net, "folded")
    check_same(found, net)
    steps = [node for node in found.graph.nodes if node.op not in ("placeholder", "output")]
    assert [type(found.get_submodule(node.target)) for node in steps] == [nn.Conv2d, nn.ReLU, nn.Flatten]


@pytest.mark.parametrize("make", LEFT.values(), ids=LEFT)
def test_what_is_no_such_padding_stays(make):
    net = network(make)
    found = fx.symbolic_trace(net)
    before = padding_steps(found)
    absorb_padding(found)
    check_same(found, net)
    assert before
    assert padding_steps(found) == before


@pytest.mark.parametrize("make", [*ABSORBED.values(), *LEFT.values()], ids=[*ABSORBED, *LEFT])
def test_forms_answer_as_the_network(make):
    net = network(make)
    check_same(rewritten(net, "channels_last"), net)


def test_a_batch_norm_behind_is_folded_too():
    net = nn.Sequential(Same(3, 3, 3, sides=(0, 1, 0, 1), stride=2, groups=3, bias=False), nn.BatchNorm2d(3)).eval()
    net[1].running_mean.fill_(0.3)
    found = rewritten(net, "folded")
    check_same(found, net)
    (layer,) = [each for each in found.modules() if not list(each.children())]
    assert (type(layer), layer.kernel_size, layer.padding) == (nn.Conv2d, (4, 4), (1, 1))

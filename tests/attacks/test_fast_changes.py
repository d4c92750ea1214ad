"""A model that changes after its faster form was made is followed."""

import pytest
import torch
from fast_models import Net, images
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from attacks import PGD, Fast, Standard, Untargeted
from attacks.speed.watch import Watch, reach


def left(net, asked, x, attack):
    goal = Untargeted(net(x).argmax(1))
    return int((goal.margin(net(attack(asked, x, goal, eps=4 / 255))) >= 0).sum())


FLIPPED = []
"""Whether the network below turns its images: a global."""


class LooksElsewhere(Net):
    def __init__(self):
        super().__init__()
        self.looks = Elsewhere()

    def seen(self, x):
        return x.flip(3) if FLIPPED or self.looks.flip else x


class Elsewhere:
    """An object with attributes."""

    flip = False


@pytest.fixture(autouse=True)
def upright():
    FLIPPED.clear()
    yield
    FLIPPED.clear()
    Elsewhere.flip = False


def flips(module, args):
    return (args[0].flip(3),)


def hidden_hook(net):
    net.conv.register_full_backward_hook(lambda module, before, after: (-before[0],))


def turned_method(net):
    net.forward = lambda x: type(net).forward(net, x.flip(3))


def written_through_data(net):
    net.top.weight.data.mul_(-1)


def element_of_an_array(net):
    net.table[0] = -2.5


def moved_in_place(net):
    net.shift.sub_(2.5)


CHANGES = {
    "flag": lambda net: setattr(net, "flip", True),
    "tensor": lambda net: setattr(net, "shift", torch.linspace(-3, 3, 8)),
    "tensor in place": moved_in_place,
    "list": lambda net: net.steps.__setitem__(0, -2.5),
    "dictionary": lambda net: net.settings.update(roll=4),
    "object": lambda net: setattr(net.looks, "flip", True),
    "hook": lambda net: net.register_forward_pre_hook(flips),
    "hook of a part": lambda net: net.conv.register_forward_pre_hook(flips),
    "backward hook": hidden_hook,
    "forward": turned_method,
    "part": lambda net: setattr(net, "top", nn.Linear(512, 5)),
    "weight norm": lambda net: weight_norm(net.conv),
    "array": element_of_an_array,
    "weights through data": written_through_data,
    "weights through data, by a little": lambda net: net.top.weight.data.mul_(1.15),
    "global": lambda net: FLIPPED.append(True),
    "class of an object": lambda net: setattr(Elsewhere, "flip", True),
}
TRACELESS = ("array", "weights through data", "weights through data, by a little", "global", "class of an object")


@pytest.mark.parametrize("form", ["folded", "bfloat16"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_any_kind_is_followed(change, form):
    net, x = LooksElsewhere(), images(40)
    quick, attack = Fast(net, form, x), PGD(steps=10)
    left(net, quick, x, attack)
    assert quick.quick_form is not None
    CHANGES[change](net)
    assert abs(left(net, quick, x, attack) - left(net, net, x, attack)) <= (2 if form == "bfloat16" else 1)
    if (found := quick.quick_form) is not None:
        assert (found(x) - net(x)).abs().max() < 0.05 * net(x).abs().max()
    found = quick.exact_form
    assert (found is None) == ("hook" in change or change == "forward")
    if found is not None:
        torch.testing.assert_close(found(x), net(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_before_an_attack_where_it_leaves_a_trace(change):
    net = LooksElsewhere()
    watch = Watch(net)
    net(images(2))
    assert not watch.changed()
    CHANGES[change](net)
    assert watch.changed() == (change not in TRACELESS)


def test_hooks_on_all_modules_and_methods_of_the_class_are_followed(monkeypatch):
    net, x, attack = Net(), images(40), PGD(steps=10)
    quick = Fast(net, "folded", x)
    hook = nn.modules.module.register_module_forward_hook(lambda module, args, out: -out)
    try:
        assert quick.quick_form is None
        assert left(net, quick, x, attack) == left(net, net, x, attack)
    finally:
        hook.remove()
    assert left(net, quick, x, attack) == left(net, net, x, attack)
    assert quick.quick_form is not None
    old = Net.forward
    monkeypatch.setattr(Net, "forward", lambda self, x: old(self, x.flip(3)))
    assert Watch(net).changed() is False
    torch.testing.assert_close(quick.quick_form(x), net(x), rtol=1e-4, atol=1e-4)


def test_a_change_back_is_followed_too():
    net, x, attack = LooksElsewhere(), images(40), PGD(steps=10)
    quick = Fast(net, "folded", x)
    for flipped in (True, False, True):
        FLIPPED[:] = [True] * flipped
        assert left(net, quick, x, attack) == left(net, net, x, attack)
        torch.testing.assert_close(quick.quick_form(x), net(x), rtol=1e-4, atol=1e-4)


def test_every_look_of_an_attack_of_attacks_is_followed():
    net, x = LooksElsewhere(), images(8)
    quick, attack = Fast(net, "folded", x), Standard(steps=5, targets=1, queries=10, rounds=1)
    FLIPPED.append(True)
    assert left(net, quick, x, attack) <= left(net, net, x, attack)


def test_forms_are_made_in_inference_mode_too():
    net, x = Net(), images(4)
    quick, goal = Fast(net, "folded"), Untargeted(net(images(4)).argmax(1))
    with torch.inference_mode():
        x_adv = PGD(steps=3)(quick, x, goal, eps=0.01)
    assert torch.equal(x_adv, PGD(steps=3)(Fast(net, "folded", x), x, goal, eps=0.01))
    assert quick.quick_form is not None


def test_what_can_be_reached():
    net = Net()
    net.back, net.places = [net], (torch.zeros(2), {"deep": [torch.ones(1)]})
    found = list(reach(net))
    assert sum(isinstance(each, torch.Tensor) for each in found) == 6 + 3 + 1 + 2
    assert sum(isinstance(each, nn.Module) for each in found) == 4

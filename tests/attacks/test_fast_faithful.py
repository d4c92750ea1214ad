"""The faster form of a model never says something else than the model, and leaves the model alone."""

import copy
import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from fast_models import Net, images
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from attacks import FMN, L2, PGD, Fast, Untargeted, fast
from attacks.speed.folding import FORMS, rewritten
from attacks.standins.fast import in_form, usable

# --- what torch.fx does not follow as it is ---


class AsksForTensors(Net):
    def seen(self, x):
        return x.flip(3) if torch.is_tensor(x) else x


class AsksForInstances(Net):
    def seen(self, x):
        return x.flip(3) if isinstance(x, torch.Tensor) else x


class AsksWhetherItIsFollowed(Net):
    def seen(self, x):
        return x if fx._symbolic_trace.is_fx_tracing() else x.flip(3)


class AsksForOneImage(Net):
    def seen(self, x):
        return x.flip(3) if isinstance(x, torch.Tensor) and len(x) == 1 else x


class AsksForGradients(Net):
    def seen(self, x):
        return x.flip(3) if isinstance(x, torch.Tensor) and x.requires_grad else x


class AsksForTheMode(Net):
    def seen(self, x):
        return x if torch.is_grad_enabled() else x.flip(3)


class TriesAnother(Net):
    def seen(self, x):
        try:
            return x.flip(3) if x.mean() > 0 else x
        except Exception:
            return x


class StraightThrough(Net):
    """Its answers are followed, its gradients are not."""

    def seen(self, x):
        with torch.no_grad():
            moved = (x * 8).round() / 8 - x
        return x + moved


class Rounds(Net):
    """The same with a gradient that is there only where somebody asks for one."""

    def seen(self, x):
        return x + ((x * 8).round() / 8 - x).detach() if isinstance(x, torch.Tensor) else (x * 8).round() / 8


class DrawsOnce(Net):
    def seen(self, x):
        return x + torch.rand(8, 8) / 1e6


class DrawsWithPython(Net):
    def seen(self, x):
        return x.flip(3) if random.random() < 1e-9 else x


class DrawsWithNumpy(Net):
    def seen(self, x):
        return x + float(np.random.rand()) / 1e6  # noqa: NPY002 - what is drawn from in the wild


class Counts(Net):
    """Turns its images from the hundredth pass on."""

    passes = 0

    def seen(self, x):
        self.passes += 1
        return x.flip(3) if self.passes > 100 else x


class CountsInABuffer(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(1))

    def seen(self, x):
        self.passes += 1
        return x + self.passes / 1e6


class CalledOtherwise(Net):
    def __call__(self, x):
        return super().__call__(x.flip(3))


class Tied(Net):
    """A weight that a batch norm is folded into is also used elsewhere."""

    def forward(self, x):
        body = torch.relu(self.norm(self.conv(x)))
        return self.top(
            functional.conv2d(body, self.conv.weight.transpose(0, 1), padding=1).repeat(1, 3, 1, 1)[:, :8].flatten(1)
        )


class Standardised(Net):
    """A layer whose own code, which can be traced, undoes what is folded into it."""

    class Conv(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight / self.weight.norm(), self.bias)

    def __init__(self):
        super().__init__()
        conv = self.Conv(3, 8, 3, padding=1)
        conv.load_state_dict(self.conv.state_dict())
        self.conv = conv
        self.norm.weight.data.mul_(3)
        self.eval()


class StandardisedInSecret(Standardised):
    """Such a layer whose code looks at a shape, so that it cannot be traced."""

    class Conv(Standardised.Conv):
        def forward(self, x):
            assert x.shape[1] == 3
            return super().forward(x)


UNFOLLOWED = [
    *(AsksForTensors, AsksForInstances, AsksWhetherItIsFollowed, AsksForOneImage, AsksForGradients, AsksForTheMode),
    *(TriesAnother, Rounds, DrawsOnce, DrawsWithPython, DrawsWithNumpy, Counts, CountsInABuffer),
    StandardisedInSecret,
]


@pytest.mark.parametrize("make", UNFOLLOWED)
def test_what_cannot_be_followed_stays_as_it_is(make):
    net, x = make(), images(8)
    assert [each.form for each in usable(net, x)] == ["plain"]
    assert fast(net, x, form="folded").form == "plain"
    assert in_form(net, "bfloat16", x).form == "plain"


def test_layers_with_their_own_code_are_traced():
    assert "folded" in [each.form for each in usable(Standardised(), images(8))]


@pytest.mark.parametrize("make", [*UNFOLLOWED, StraightThrough, CalledOtherwise, Tied, Standardised])
@pytest.mark.parametrize("example", [None, images(4)])
def test_attacks_are_as_strong_whatever_the_code_does(make, example):
    x, goal = images(40), Untargeted(make()(images(40)).argmax(1))

    def left(net, asked):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        x_adv = PGD(steps=10)(asked, x, goal, eps=4 / 255)
        return (net(x_adv).argmax(1) == goal.labels).sum()

    plain, quick = make(), make()
    assert abs(left(quick, Fast(quick, "folded", example)) - left(plain, plain)) <= 1


def test_modes_that_the_code_switches_are_not_lost():
    net, x = StraightThrough(), images(2).requires_grad_()
    lean = rewritten(net, "folded")
    (gradient,) = torch.autograd.grad(lean(x).sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(net(x).sum(), x)[0], rtol=1e-3, atol=1e-5)


def test_a_form_that_is_wrong_on_some_images_is_left_out_for_these_alone():
    class Dark(Net):
        def seen(self, x):
            return x.flip(3) if isinstance(x, torch.Tensor) and bool(x.mean() < 0.1) else x

    net, bright = Dark(), images(8)
    dark, goal = bright / 10, Untargeted(net(bright).argmax(1))
    quick = Fast(net, "folded", bright)
    attack = PGD(steps=3)
    for x, there in ((bright, True), (dark, False), (bright, True)):
        attack(quick, x, goal, eps=1e-4)
        assert (quick.quick_form is not None) == there


def test_an_attack_costs_one_more_pass_of_the_form():
    net, x = Net(), images(8)
    quick, passes = Fast(net, "folded", x), []
    quick.quick_form.register_forward_hook(lambda form, args, out: passes.append(len(args[0])))
    goal = Untargeted(net(x).argmax(1))
    PGD(steps=10)(quick, x, goal, eps=1e-5)
    assert passes == [8] * 11
    passes.clear()
    FMN(norm=L2(), steps=10)(quick, x, goal)
    assert passes == [8] * 11


def test_forms_of_a_model_that_answers_with_more_than_logits_are_used():
    class Tells(Net):
        def forward(self, x):
            return {"logits": super().forward(x), "seen": x}

    net, x = Tells(), images(4)
    quick = fast(net, x, form="folded")
    assert quick.form == "folded"
    goal = Untargeted(net(x)["logits"].argmax(1))
    PGD(steps=3)(quick, x, goal, eps=0.01)
    assert quick.quick_form is not None


# --- what becomes of the model ---


class Hands(nn.Module):
    """Hands everything that it has not through to what it is around."""

    def __init__(self, net):
        super().__init__()
        object.__setattr__(self, "inner", net)

    def __getattr__(self, name):
        return getattr(object.__getattribute__(self, "__dict__")["inner"], name)

    def forward(self, x):
        return self.inner(x)


class HandsAll(Hands):
    """Its parameters too are those of what it is around."""

    def parameters(self, recurse=True):
        return self.inner.parameters(recurse)

    def modules(self):
        return self.inner.modules()


class Around(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.inner = net

    def forward(self, x):
        return self.inner(x)


class CopiesToItself(Around):
    def __deepcopy__(self, memo):
        return self


class CopiesAround(Around):
    """Its copy is around the same network."""

    def __deepcopy__(self, memo):
        return type(self)(self.inner)


class HidesInAList(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.hidden, self.scale = [net], nn.Parameter(torch.ones(1))

    def __deepcopy__(self, memo):
        found = type(self)(self.hidden[0])
        found.hidden = self.hidden
        return found

    def forward(self, x):
        return self.hidden[0](x) * self.scale


class Closes(nn.Module):
    """Knows its network only by a function."""

    def __init__(self, net):
        super().__init__()
        self.call, self.parameters = (lambda x: net(x)), net.parameters

    def forward(self, x):
        return self.call(x)


class CopiesShallowly(Around):
    def __deepcopy__(self, memo):
        return copy.copy(self)


class Shares(nn.Module):
    """The same network twice."""

    def __init__(self, net):
        super().__init__()
        self.one, self.other = net, nn.ModuleList([net])

    def forward(self, x):
        return self.one(x) + self.other[0](x.flip(3))


def simple():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5)
    return nn.Sequential(*layers).eval()


def compiled_in_place(net):
    net.compile(backend="eager")
    return net


def normed(net):
    weight_norm(net[0])
    return net


def with_hook(net):
    net[0].register_forward_hook(lambda module, args, out: 2 * out)
    return net


WRAPPERS = {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "around compiled": lambda net: Around(torch.compile(net, backend="eager")),
    "compiled in place": compiled_in_place,
    "data parallel": nn.DataParallel,
    "graph": fx.symbolic_trace,
    "around graph": lambda net: Around(fx.symbolic_trace(net)),
    "script": lambda net: torch.jit.trace(net, images(2)),
    "around script": lambda net: Around(torch.jit.trace(net, images(2))),
    "weight norm": normed,
    "hook": with_hook,
} | {kind.__name__: kind for kind in (
    Hands, HandsAll, Around, CopiesToItself, CopiesAround, HidesInAList, Closes, CopiesShallowly, Shares
)}  # fmt: skip


def described(net):
    """All that must stay as it was."""
    modules = dict(net.named_modules(remove_duplicate=False))
    return {
        "modules": {name: (id(part), type(part), part.training) for name, part in modules.items()},
        "parameters": {name: (id(each), each.requires_grad, each.grad) for name, each in net.named_parameters()},
        "values": {name: (each.data_ptr(), each.tolist()) for name, each in net.state_dict().items()},
        "hooks": {name: [*part._forward_hooks.values()] for name, part in modules.items()},
        "attributes": {name: {**vars(part)} for name, part in modules.items()},
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore:The .grad attribute")
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_model_is_never_touched(wrap):
    net, x = simple(), images(8)
    model = wrap(net)
    answers = model(x).detach()
    before = described(net)
    goal = Untargeted(answers.argmax(1))
    plain = (goal.margin(model(PGD(steps=10)(model, x, goal, eps=0.02))) < 0).sum()
    for form in FORMS:
        with suppress(ValueError):
            fast(model, x, form=form)
        quick = in_form(model, form, x)
        assert abs((goal.margin(model(PGD(steps=10)(quick, x, goal, eps=0.02))) < 0).sum() - plain) <= 1
    assert fast(model, x).form in FORMS
    assert torch.equal(model(x), answers)
    after = described(net)
    for what, was in before.items():
        assert str(after[what]) == str(was), what


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore:The .grad attribute")
def test_wrappers_that_can_be_followed_have_forms():
    x = images(4)
    having = [name for name, wrap in WRAPPERS.items() if in_form(wrap(simple()), "folded", x).form == "folded"]
    assert having == [
        "compiled in place", "data parallel", "graph", "around graph", "weight norm", "Around", "Shares"
    ]  # fmt: skip

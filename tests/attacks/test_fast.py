"""The faster form of a model: the same answers, and no success that is not the original's."""

import copy

import oracles
import pytest
import torch
from fast_models import changed_in_place, each_form, images, perceptron, spread, with_norms
from torch import nn
from torch.nn import functional

from attacks import PGD, Fast, Untargeted, fast
from attacks.speed.folding import FORMS, rewritten
from attacks.standins.fast import computes_bfloat16, usable

each_exact_form = pytest.mark.parametrize("form", ["folded", "channels_last"])


def norms_left(net):
    return [part for part in net.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


class Looks(nn.Module):
    """A network whose path depends on what it sees: it cannot be followed as a whole, but its body can."""

    def __init__(self):
        super().__init__()
        self.body = with_norms()

    def forward(self, x):
        return self.body(x) if x.mean() > 0 else self.body(-x)


class Slim(nn.Module):
    """A convolution derived from torch's, a layer used twice, and another whose result is used twice."""

    class Padded(nn.Conv2d):
        def forward(self, x):
            return super().forward(functional.pad(x, (1, 1, 1, 1)))

    def __init__(self):
        super().__init__()
        self.first, self.norm = self.Padded(3, 6, 3), nn.BatchNorm2d(6)
        self.twice, self.one, self.other = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.shared, self.kept = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        spread(self)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        x = self.one(self.twice(x)) + self.other(self.twice(x.tanh()))
        y = self.shared(x)
        return (y + self.kept(y)).mean((2, 3))


# --- the same answers ---


@each_exact_form
@pytest.mark.parametrize("make", [with_norms, Looks, Slim, lambda: oracles.convnet().float(), perceptron])
def test_logits_and_gradients_are_those_of_the_original(make, form):
    net, x = make().eval().requires_grad_(False), images(4).requires_grad_()
    lean = rewritten(net, form)
    torch.testing.assert_close(lean(x), net(x), rtol=1e-4, atol=1e-5)
    weights = torch.linspace(-1, 1, net(x).numel()).view_as(net(x))
    (quick,) = torch.autograd.grad((lean(x) * weights).sum(), x)
    (slow,) = torch.autograd.grad((net(x) * weights).sum(), x)
    torch.testing.assert_close(quick, slow, rtol=1e-3, atol=1e-5)


def test_batch_norms_go_where_a_layer_of_their_own_stands_before_them():
    assert not norms_left(rewritten(with_norms(), "folded"))
    assert not norms_left(rewritten(Looks().eval(), "folded"))
    assert len(norms_left(rewritten(Slim().eval(), "folded"))) == 3


@each_form
def test_the_original_is_left_as_it_is(form):
    net = with_norms()
    before, parts = copy.deepcopy(net.state_dict()), [*net.modules()]
    lean = rewritten(net, form)
    lean(images(2))
    assert [*net.modules()] == parts
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(parameter.requires_grad for parameter in lean.parameters())


def test_bfloat16_is_nearly_the_original_and_its_logits_do_not_tie():
    net, x = with_norms(), images(64)
    logits = rewritten(net, "bfloat16")(x)
    assert logits.dtype == torch.float32
    assert (logits - net(x)).abs().max() < 0.05 * net(x).abs().max()
    assert (logits != logits.bfloat16().float()).any()


# --- choosing a form ---


def test_forms_that_can_be_used_begin_with_the_original():
    forms = [each.form for each in usable(with_norms(), images(4))]
    assert forms[:3] == ["plain", "folded", "channels_last"]
    assert fast(with_norms(), images(4)).form in FORMS


class Frozen(nn.Module):
    """Draws numbers; who follows it once keeps the first."""

    def __init__(self):
        super().__init__()
        self.body = with_norms()

    def forward(self, x):
        return self.body(x + torch.rand(8, 8))


class Unfollowed(nn.Module):
    """No part of it can be followed."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5, 192))

    def forward(self, x):
        return x.flatten(1) @ self.scale.T if x.sum() > 0 else x.flatten(1)[:, :5]


def hooked():
    net = with_norms()
    net[0].register_forward_hook(lambda module, args, out: 2 * out)
    return net


@pytest.mark.parametrize(
    "make",
    [
        lambda: perceptron().double(),
        Frozen,
        Unfollowed,
        hooked,
        lambda: lambda x: x.flatten(1)[:, :5],
        lambda: nn.Flatten(),
    ],
    ids=["double", "random", "unfollowed", "hooked", "function", "no-weights"],
)
def test_a_model_that_cannot_be_rewritten_stays_as_it_is(make):
    model = make().eval() if isinstance(make(), nn.Module) else make()
    dtype = next((p.dtype for p in model.parameters()), torch.float32) if isinstance(model, nn.Module) else None
    x = images(4).to(dtype or torch.float32)
    quick = fast(model, x)
    assert (quick.form, quick.quick_form) == ("plain", None)
    if not isinstance(model, Frozen):
        assert torch.equal(quick(x), model(x))


def test_half_precision_stays_as_it_is():
    model = perceptron().half()
    assert fast(model, images(2).half()).form == "plain"


def test_a_batch_norm_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"expected batch norms in eval mode, got 1 in training mode: call eval\(\)"):
        fast(with_norms().train(), images(2))
    with pytest.raises(ValueError, match="expected batch norms in eval mode"):
        fast(with_norms().train(), images(2), form="plain")


def test_an_example_on_another_device_is_refused():
    with pytest.raises(ValueError, match="expected an example on cpu, where the model is, got one on meta"):
        fast(with_norms(), images(2).to("meta"))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (None, "expected float example images .* got NoneType"),
        (images(4)[:0], "expected at least one of the example images"),
        ((255 * images(4)).byte(), "expected float example images .* got torch.uint8"),
        (255 * images(4), r"expected example images in \[0, 1\]"),
    ],
)
@pytest.mark.parametrize("form", [None, "folded"])
def test_an_example_that_is_no_images_is_refused(example, message, form):
    with pytest.raises(ValueError, match=message):
        fast(with_norms(), example, form=form)


@pytest.mark.parametrize("form", [None, *FORMS])
def test_a_form_made_in_inference_mode_has_gradients(form):
    net, x = with_norms(), images(4)
    goal = Untargeted(net(x).argmax(1))
    with torch.inference_mode():
        quick = fast(net, x, form=form)
    assert not torch.equal(PGD()(quick, x, goal, eps=0.1), x)


def test_a_form_that_there_is_not_or_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="expected a form out of plain, folded, channels_last, bfloat16, got 'int8'"):
        fast(with_norms(), images(2), form="int8")
    with pytest.raises(ValueError, match="expected a network of float32 for the form 'folded', got another"):
        Fast(perceptron().double(), "folded")
    with pytest.raises(ValueError, match=r"expected a network that torch\.fx can follow for the form 'folded'"):
        Fast(Unfollowed(), "folded")


def loaded(net):
    net.load_state_dict(with_norms(seed=1).state_dict())


def statistics_changed(net):
    net[1].running_mean += 1


def part_replaced(net):
    net[-1] = with_norms(seed=2)[-1]


def weight_replaced(net):
    net[0].weight = nn.Parameter(net[0].weight * 3)


@pytest.mark.parametrize("change", [changed_in_place, loaded, statistics_changed, part_replaced, weight_replaced])
def test_a_change_of_the_model_is_followed(change):
    net, x = with_norms(), images(4)
    quick = fast(net, x, form="folded")
    before, same = quick.quick_form(x), quick.quick_form
    assert quick.quick_form is same
    change(net)
    assert not torch.allclose(net(x), before)
    torch.testing.assert_close(quick.quick_form(x), net(x), rtol=1e-4, atol=1e-5)


def test_training_mode_after_all_is_refused():
    net = with_norms()
    quick = fast(net, images(2), form="folded")
    net.train()
    goal = Untargeted(net(images(2)).argmax(1))
    with pytest.raises(ValueError, match="expected batch norms in eval mode"):
        PGD()(quick, images(2), goal, eps=1e-4)


def test_strided_depthwise_layers_compute_in_float32_among_bfloat16():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, stride=2, groups=6), nn.Conv2d(6, 5, 1), nn.Flatten()
        )
    net, x = net.eval(), images(2).requires_grad_()
    lean = rewritten(net, "bfloat16")
    assert [part.weight.dtype for part in lean.modules() if isinstance(part, nn.Conv2d)] == [
        torch.bfloat16,
        torch.float32,
        torch.bfloat16,
    ]
    (gradient,) = torch.autograd.grad(lean(x).sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(net(x).sum(), x)[0], rtol=0.1, atol=0.02)


def test_a_torch_that_does_not_tell_is_taken_for_one_without_bfloat16(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not computes_bfloat16(torch.device("cpu"))

"""Models that treat their images, their answers or their mode in ways of their own, under every attack."""

from types import SimpleNamespace

import pytest
import torch
from attack_table import build, each_attack
from model_ways import ELSEWHERE, SHAPE, STEPS, network, pictures, run
from oracles import goals
from pairwise import each_once

from attacks import (
    ATTACKS,
    PGD,
    HopSkipJump,
    Linf,
    Square,
    Untargeted,
    fast,
    quantize,
)
from attacks.queries.derivatives import NoGradientError

WITHOUT_GRADIENT = {"square", "sparse_rs", "noise", "hop_skip_jump", "adba", "spatial"}
FALL_BACK = {"standard", "thorough", "adaptive"}
"""Attacks that go on without the gradients that they would rather have."""


# --- images worked on in place ---


def _swap(x):
    x[:, [0, 2]] = x[:, [2, 0]]


def _under_no_grad(x):
    with torch.no_grad():
        x.sub_(0.5).div_(0.5)


IN_PLACE = {
    "inverted": lambda x: x.neg_().add_(1),
    "swapped": _swap,
    "squared": lambda x: x.mul_(x),
    "shifted by the back door": lambda x: x.data.sub_(0.5),
    "normalised without a graph": _under_no_grad,
    "flattened": lambda x: x.squeeze_().unsqueeze_(0).squeeze_(0),
}


@each_once("name, way", list(ATTACKS), list(IN_PLACE))
def test_a_model_may_work_on_its_images_in_place(name, way):
    net, x = network(), pictures()

    def in_place(x):
        IN_PLACE[way](x)
        return net(x.reshape(-1, *SHAPE))

    def careful(x):
        x = x + 0
        IN_PLACE[way](x)
        return net(x.reshape(-1, *SHAPE))

    goal = goals(careful(x).detach())["untargeted"]
    attack = build(name, ATTACKS[name].norms[0], STEPS)
    assert torch.equal(run(attack, in_place, x, goal), run(attack, careful, x, goal))


# --- answers in other forms ---


def _one_buffer(net):
    """Hands out the same memory every time, where no gradient is wanted."""
    kept = {}

    def answer(x):
        logits = net(x)
        if logits.requires_grad:
            return logits
        return kept.setdefault(len(x), torch.empty_like(logits)).copy_(logits)

    return answer


def _with_a_graph(net):
    def answer(x):
        with torch.enable_grad():
            return net(x.requires_grad_())

    return answer


ANSWERS = {
    "tuple": lambda net: lambda x: (net(x), x),
    "dict": lambda net: lambda x: {"logits": net(x)},
    "object": lambda net: lambda x: SimpleNamespace(logits=net(x)),
    "squeezed": lambda net: lambda x: net(x).squeeze(),
    "double": lambda net: lambda x: net(x).double(),
    "one buffer": _one_buffer,
    "with a graph": _with_a_graph,
    "view": lambda net: lambda x: torch.cat([net(x), x.flatten(1)], 1)[:, :5],
}


@each_once("name, form", list(ATTACKS), list(ANSWERS))
def test_a_model_may_answer_in_other_forms(name, form):
    net, x = network(), pictures(1 if form == "squeezed" else 4)
    goal, attack = goals(net(x).detach())["untargeted"], build(name, ATTACKS[name].norms[0], STEPS)
    assert torch.equal(run(attack, ANSWERS[form](net), x, goal), run(attack, net, x, goal))


@each_attack
def test_a_model_that_squeezes_may_have_one_image_left(name):
    net, attack = network(), build(name, ATTACKS[name].norms[0], STEPS)
    x = pictures()
    goal = Untargeted(torch.where(torch.arange(5) == 3, net(x).argmax(1), net(x).argmin(1)))
    assert torch.equal(run(attack, ANSWERS["squeezed"](net), x, goal), run(attack, net, x, goal))


def _autocast(net):
    def answer(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return net(x)

    return answer


HALF = {
    "float16": lambda net: lambda x: net(x).half(),
    "bfloat16": lambda net: lambda x: net(x).bfloat16(),
    "autocast": _autocast,
}


@each_once("name, form", list(ATTACKS), list(HALF))
def test_a_model_may_answer_in_half_precision(name, form):
    model, x = HALF[form](network()), pictures()
    goal = goals(model(x).float())["untargeted"]
    attack = build(name, ATTACKS[name].norms[0], STEPS)
    x_adv = run(attack, model, x, goal)
    assert x_adv.dtype == x.dtype
    if attack.kind == "minimum norm":
        fooled = goal.margin(model(x_adv).float()) < 0
        assert torch.equal(x_adv[~fooled], x[~fooled])


@each_once("way, what", ["in place", *ANSWERS], list(ELSEWHERE))
def test_so_do_attacks_made_of_attacks_and_all_else_that_asks(way, what):
    net, x = network(), pictures()

    def in_place(x):
        x.sub_(0.5).div_(0.25)
        return net(x)

    plain = net if way != "in place" else lambda x: net((x - 0.5) / 0.25)
    other = ANSWERS[way](net) if way != "in place" else in_place
    before = x.clone()
    assert torch.equal(ELSEWHERE[what](other, x), ELSEWHERE[what](plain, x))
    assert torch.equal(x, before)


# --- no gradient ---


def _inside(context):
    def make(net):
        def answer(x):
            with context():
                return net(x)

        return answer

    return make


BLACK = {
    "numpy": lambda net: lambda x: torch.from_numpy(net(x).numpy()),
    "numpy of its images": lambda net: lambda x: net(torch.from_numpy(x.numpy())).detach(),
    "detached": lambda net: lambda x: torch.from_numpy(net(x).detach().numpy()),
    "no grad": _inside(torch.no_grad),
    "inference mode": _inside(torch.inference_mode),
    "weights only": lambda net: lambda x: net.requires_grad_()(x.detach()),
    "exported": lambda net: lambda x: net(torch.from_dlpack(x.__dlpack__())),
    "sign": lambda net: lambda x: net(x).argsort(1).float(),
}


@each_once("name, kind", list(ATTACKS), list(BLACK))
def test_a_model_without_a_gradient_is_asked_or_refused_in_our_words(name, kind):
    net, x = network().requires_grad_(False), pictures()
    norm = ATTACKS[name].norms[0]
    attack, model = build(name, norm, STEPS), BLACK[kind](net)
    goal = Untargeted(torch.from_numpy(model(x).detach().numpy()).argmax(1))
    if name in FALL_BACK:
        x_adv = run(attack, model, x, goal)
        assert x_adv.isfinite().all()
        assert (Linf().measure(x_adv - x) <= 0.1 + 1e-6).all()
        return
    if name not in WITHOUT_GRADIENT:
        with pytest.raises(NoGradientError, match=r"expected a model that is differentiable .*such as Square"):
            run(attack, model, x, goal)
        return
    plain = net if kind != "sign" else model
    assert torch.equal(run(attack, model, x, goal), run(attack, plain, x, goal))


class OneWay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits):
        return 2 * logits


def test_what_torch_says_of_the_gradient_is_handed_on():
    x = pictures()
    with pytest.raises(NoGradientError, match=r"got RuntimeError: Can't call numpy\(\) on Tensor that requires grad"):
        run(PGD(), BLACK["numpy"](network()), x, Untargeted(torch.zeros(5, dtype=torch.long)))
    one_way = lambda x: OneWay.apply(network()(x))  # noqa: E731
    with pytest.raises(NoGradientError, match="got NotImplementedError: You must implement either the backward"):
        run(PGD(), one_way, x, Untargeted(one_way(x).argmax(1)))


def test_a_model_may_overwrite_what_its_gradient_needs():
    net, x = network(), pictures()
    goal = goals(net(x).exp().detach())["untargeted"]
    attack = build("pgd", "linf", STEPS)
    overwriting, careful = lambda x: net(x).exp().mul_(2), lambda x: net(x).exp() * 2
    assert torch.equal(run(attack, overwriting, x, goal), run(attack, careful, x, goal))


@pytest.mark.parametrize("message", ["the server is away", "out of memory", "this layer requires grad to be patient"])
def test_other_errors_of_a_model_are_its_own(message):
    net, x = network(), pictures()

    def failing(x):
        if x.requires_grad or "patient" in message:
            raise RuntimeError(message)
        return net(x)

    with pytest.raises(RuntimeError, match=message):
        run(PGD(random_start=False), failing, x, goals(net(x).detach())["untargeted"])


@pytest.mark.parametrize("kind", ["numpy", "detached", "no grad"])
@pytest.mark.parametrize("attack", [HopSkipJump(steps=2, norm=Linf()), HopSkipJump(steps=2), Square(steps=50)])
def test_what_fools_a_model_without_a_gradient_does_so_in_8_bits_too(attack, kind):
    model, x = BLACK[kind](network().requires_grad_(False)), (pictures(8) * 255).round() / 255
    goal = Untargeted(model(x).detach().argmax(1))
    x_adv = run(attack, model, x, goal)
    fooled = goal.margin(model(x_adv).detach()) < 0
    assert fooled.any()
    x_q = quantize(model, x, x_adv, goal, attack.norm)
    assert torch.equal(x_q, (x_q * 255).round() / 255)
    assert (goal.margin(model(x_q).detach()) < 0)[fooled].all()


def test_rounding_by_answers_alone_goes_beyond_the_nearest_level_but_not_beyond_eps():
    scaled = lambda x: torch.from_numpy((x * torch.tensor([1.0, 1.0])).numpy())  # noqa: E731
    x, goal = torch.tensor([[103.0, 101.0]]) / 255, Untargeted(torch.tensor([0]))
    x_adv = x + torch.tensor([[-1.2, 1.2]]) / 255
    assert not (goal.margin(scaled((x_adv * 255).round() / 255)) < 0).any()
    x_q = quantize(scaled, x, x_adv, goal, Linf())
    assert (goal.margin(scaled(x_q)) < 0).all()
    close = quantize(scaled, x, x_adv, goal, Linf(), eps=1.3 / 255)
    assert ((close - x).abs() <= 1.3 / 255).all()


def test_a_model_without_a_gradient_is_as_fast_as_it_is():
    model, x = BLACK["numpy"](network()), pictures()
    assert fast(model, x).form == "plain"

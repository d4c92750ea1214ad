"""Models that treat their images, their answers or their mode in ways of their own, under every attack."""

import functools
from types import SimpleNamespace

import pytest
import torch
from attack_table import build, each_attack, each_entry
from oracles import goals, images, mlp
from torch import nn

from attacks import (
    ATTACKS,
    PGD,
    Fast,
    HopSkipJump,
    Linf,
    Noise,
    Square,
    UniversalDeepFool,
    UniversalPerturbation,
    Untargeted,
    binary_search_eps,
    capped,
    expectation,
    fast,
    multi_targeted,
    quantize,
    restarts,
    worst_case,
)
from attacks.queries.derivatives import NoGradientError
from attacks.queries.modes import check_mode, parts

STEPS = 4
SHAPE = (3, 2, 2)
EPS = {"linf": 0.04, "l2": 0.2, "l1": 1.0, "l0": 4.0}
WITHOUT_GRADIENT = {"square", "noise", "hop_skip_jump", "spatial"}


def network(dtype=torch.float32):
    model = mlp(12, seed=1)
    with torch.no_grad():
        model[1].weight.mul_(4)
    return model.to(dtype)


def pictures(count=5, dtype=torch.float32):
    return images(count, SHAPE, low=0, high=1).to(dtype)


def run(attack, model, x, goal, **options):
    """Candidates; the images have to stay as they were."""
    before = x.clone()
    eps = EPS[attack.norm.name] if attack.kind == "budget" else None
    x_adv = attack(model, x, goal, **({"eps": eps} | options))
    assert torch.equal(x, before)
    if eps is not None:
        assert (attack.norm.measure(x_adv - x) <= eps * (1 + 1e-5) + 1e-6).all()
    return x_adv


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


@pytest.mark.parametrize("way", IN_PLACE)
@each_attack
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


@pytest.mark.parametrize("form", ANSWERS)
@each_attack
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


@pytest.mark.parametrize("form", HALF)
@each_attack
def test_a_model_may_answer_in_half_precision(name, form):
    model, x = HALF[form](network()), pictures()
    goal = goals(model(x).float())["untargeted"]
    attack = build(name, ATTACKS[name].norms[0], STEPS)
    x_adv = run(attack, model, x, goal)
    assert x_adv.dtype == x.dtype
    if attack.kind == "minimum norm":
        fooled = goal.margin(model(x_adv).float()) < 0
        assert torch.equal(x_adv[~fooled], x[~fooled])


def wrapped_attacks():
    return {
        "capped": capped(PGD(steps=STEPS), 7),
        "worst case": worst_case([Noise(draws=2), PGD(steps=STEPS)]),
        "restarts": restarts(PGD(steps=STEPS), 2),
        "towards rivals": multi_targeted(PGD(steps=STEPS), 2),
        "search": binary_search_eps(PGD(steps=STEPS), 3),
    }


def slow_universal(model, x):
    return UniversalPerturbation(eps=0.1, steps=6, looks=2).fit(model, [x], held_out=[x]).delta


def universal_deepfool(model, x):
    return UniversalDeepFool(eps=0.1, passes=2, steps=STEPS).fit(model, [x]).delta


def rounded(model, x):
    goal = Untargeted(torch.zeros(len(x), dtype=torch.long))
    return quantize(model, x, (x + 0.03).clamp(0, 1), goal, Linf(), eps=0.05)


ELSEWHERE = {
    **{name: lambda model, x, attack=attack: run(attack, model, x, Untargeted(torch.tensor([0, 1, 2, 3, 4])))
       for name, attack in wrapped_attacks().items()},
    "universal": slow_universal,
    "universal deepfool": universal_deepfool,
    "rounding": rounded,
    "expectation": lambda model, x: run(
        PGD(steps=STEPS), expectation(model, 2), x, Untargeted(torch.tensor([0, 1, 2, 3, 4]))
    ),
}  # fmt: skip
"""What asks models beside the attacks of the table."""


@pytest.mark.parametrize("what", ELSEWHERE)
@pytest.mark.parametrize("way", ["in place", *ANSWERS])
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


@pytest.mark.parametrize("kind", BLACK)
@each_attack
def test_a_model_without_a_gradient_is_asked_or_refused_in_our_words(name, kind):
    net, x = network().requires_grad_(False), pictures()
    norm = ATTACKS[name].norms[0]
    attack, model = build(name, norm, STEPS), BLACK[kind](net)
    goal = Untargeted(torch.from_numpy(model(x).detach().numpy()).argmax(1))
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


# --- training mode ---


def normed(norm=nn.BatchNorm1d):
    layer = norm(12) if norm is not nn.BatchNorm2d else norm(3)
    body = [layer, nn.Flatten()] if norm is nn.BatchNorm2d else [nn.Flatten(), layer]
    return nn.Sequential(*body, nn.Linear(12, 5))


class OwnNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))

    def forward(self, x):
        if self.training:
            self.running_mean.lerp_(x.mean(0), 0.1)
        return x - self.running_mean


class FrozenNorm(OwnNorm):
    def forward(self, x):
        return x - self.running_mean


class Caller:
    """A wrapper that knows nothing of this library."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        return self.model(x)


class Handing(Caller):
    def __init__(self, model):
        super().__init__(model)
        self.wrapped = model


REFUSED = r"in eval mode, got .* in training mode: call eval\(\)"
LOOKS = {
    "itself": lambda net: net,
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "compiled function": lambda net: torch.compile(net.forward, backend="eager"),
    "partial": lambda net: functools.partial(lambda net, x: net(x), net),
    "bound method": lambda net: net.forward,
    "object": Caller,
    "handing on": lambda net: Handing(Handing(Caller(net))),
    "expectation": lambda net: expectation(net, 2),
    "parallel": nn.DataParallel,
    "scripted": torch.jit.script,
}


@each_attack
def test_a_batch_norm_in_training_mode_is_refused_before_any_work(name):
    norm, model, x = ATTACKS[name].norms[0], normed().train(), pictures()
    asked, state = [], [tensor.clone() for tensor in model.buffers()]
    model.register_forward_pre_hook(lambda *_: asked.append(1))
    with pytest.raises(ValueError, match="expected batch norms " + REFUSED):
        run(build(name, norm, STEPS), model, x, Untargeted(torch.zeros(5, dtype=torch.long)))
    assert not asked
    assert all(torch.equal(one, other) for one, other in zip(model.buffers(), state, strict=True))


@pytest.mark.filterwarnings("ignore:`torch.jit.script")
@pytest.mark.parametrize("look", LOOKS)
def test_it_is_seen_through_what_wraps_it(look):
    model, x = LOOKS[look](normed().train()), pictures()
    for what in ("capped", "worst case", "search", "universal", "rounding", "expectation"):
        with pytest.raises(ValueError, match=REFUSED):
            ELSEWHERE[what](model, x)


def test_a_fast_model_whose_original_is_put_in_training_mode_is_refused():
    net = normed().eval()
    quick = Fast(net, "plain")
    net.train()
    with pytest.raises(ValueError, match=REFUSED):
        run(PGD(), quick, pictures(), Untargeted(torch.zeros(5, dtype=torch.long)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(12),
        nn.BatchNorm1d(12, track_running_stats=False),
        nn.SyncBatchNorm(12),
        nn.InstanceNorm1d(12, track_running_stats=True),
        OwnNorm(12),
        nn.utils.parametrizations.spectral_norm(nn.Linear(12, 12)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_passes_change_are_refused(layer):
    model = nn.Sequential(nn.Flatten(), layer, nn.Linear(12, 5))
    check_mode(model.eval())
    with pytest.raises(ValueError, match=REFUSED):
        check_mode(model.train())


@pytest.mark.parametrize(
    "layer",
    [nn.Dropout(), nn.LayerNorm(12), nn.InstanceNorm1d(12), nn.GroupNorm(3, 12), FrozenNorm(12), nn.RReLU()],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_passes_leave_as_they_are_may_be_in_training_mode(layer):
    check_mode(nn.Sequential(nn.Flatten(), layer, nn.Linear(12, 5)).train())


def test_dropout_may_be_a_defence():
    model, x = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(12, 5)).train(), pictures()
    run(PGD(), expectation(model, 4), x, Untargeted(torch.zeros(5, dtype=torch.long)))
    assert all(part.training for part in model.modules())


def test_what_has_any_attribute_is_looked_at_once():
    class Remote:
        def __getattr__(self, name):
            return Remote()

        def __call__(self, x):
            return x

    assert list(parts(Remote())) == []
    loop = Handing(None)
    loop.wrapped = loop
    assert list(parts(loop)) == []


# --- the images ---


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@each_attack
def test_images_in_half_precision_are_refused_before_any_work(name, dtype):
    norm, asked = ATTACKS[name].norms[0], []
    with pytest.raises(ValueError, match=r"images of float32 or float64, got torch\.b?float16, .*pass x\.float\(\)"):
        build(name, norm, STEPS)(
            asked.append, pictures().to(dtype), Untargeted(torch.zeros(5, dtype=torch.long)), eps=EPS[norm]
        )
    assert not asked


@pytest.mark.parametrize("what", ELSEWHERE)
def test_so_are_they_elsewhere(what):
    with pytest.raises(ValueError, match=r"images of float32 or float64, got torch\.float16"):
        ELSEWHERE[what](network(torch.float16), pictures(dtype=torch.float16))


def as_default(dtype, ask):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return ask()
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize(
    ("dtype", "default"), [(torch.float32, torch.float64), (torch.float64, torch.bfloat16)], ids=str
)
@each_entry
def test_torchs_default_dtype_changes_nothing(name, norm, dtype, default):
    net, x, attack = network(dtype), pictures(3, dtype), build(name, norm, STEPS)
    found = goals(net(x).detach())
    for goal in (found["untargeted"], found["topk-exclusion"]):
        expected = run(attack, net, x, goal)
        assert torch.equal(as_default(default, lambda: run(attack, net, x, goal)), expected)  # noqa: B023


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("what", ELSEWHERE)
def test_nor_does_it_elsewhere(what, default):
    net, x = network(), pictures()
    expected = ELSEWHERE[what](net, x)
    assert torch.equal(as_default(default, lambda: ELSEWHERE[what](net, x)), expected)


def test_a_compiled_model_is_attacked_where_warnings_are_errors():
    net, x = network(), pictures()
    goal = goals(net(x).detach())["untargeted"]
    compiled = torch.compile(network(), backend="eager")
    assert torch.equal(run(PGD(), compiled, x, goal), run(PGD(), net, x, goal))

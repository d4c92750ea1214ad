"""Models in training mode, and images in half precision, are refused before any work."""

import functools

import pytest
import torch
from attack_table import build, each_attack, each_entry
from model_ways import ELSEWHERE, EPS, STEPS, network, pictures, run
from oracles import goals
from torch import nn

from attacks import ATTACKS, PGD, Fast, Untargeted, expectation
from attacks.queries.modes import check_mode, parts


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

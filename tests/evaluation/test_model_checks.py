"""Trust flags of models: each has a model that must raise it, and healthy ones that must raise none."""

import functools
import gzip
import json

import fakes
import numpy as np
import oracles
import pytest
import torch
from torch import nn

from advbench.evaluation.checks.model import check_model
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.records.flag import CHECKS, Flag

IMAGES = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LARGE = torch.rand(4, 3, fakes.SIZE, fakes.SIZE, generator=torch.Generator().manual_seed(0))


class Wrapped(nn.Module):
    """A healthy network with something done to its images or its answers."""

    def __init__(self, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.net, self.before, self.after = oracles.convnet(), before, after
        self.eval()

    def forward(self, x):
        return self.after(self.net(self.before(x)))


def training(kind):
    model = oracles.convnet()
    for module in model.modules():
        if isinstance(module, kind):
            module.train()
    return model


class ReadsItsMode(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.net, self.factor = oracles.convnet(), factor

    def forward(self, x):
        return self.net(x) * (self.factor if self.training else 1)


class Uncopied(nn.Module):
    """A network that cannot be copied."""

    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), *layers, nn.Linear(192, 5))

    def forward(self, x):
        return self.body(x)

    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


def in_training_mode(model):
    """The model itself, not its parts, is in training mode."""
    model.training = True
    return model


def flags(model, x=IMAGES, labels=None):
    found = check_model(model, x, labels, dataset="toy", name="net")
    assert all(flag.severity in CHECKS[flag.id].severity.split("/") for flag in found)
    return {flag.id: flag for flag in found}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (training(nn.Dropout), {"M1": "E"}),
        (training(nn.BatchNorm2d), {"M1": "E"}),
        (oracles.convnet().train(), {"M1": "E"}),
        (ReadsItsMode(2).train(), {"M1": "E"}),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.RReLU()).train(), {"M1": "E"}),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192, momentum=0.0), nn.Linear(192, 5)).train(), {"M1": "E"}),
        (functools.partial(training(nn.Dropout).forward), {"M1": "E"}),
        (Classifier(nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(192, 5)), num_classes=5).train(), {"M1": "E"}),
        (in_training_mode(Uncopied(nn.Dropout()).eval()), {"M1": "E"}),
        (Wrapped(after=lambda z: z + 0.01 * torch.randn_like(z)), {"M2": "F"}),
        (Wrapped(before=lambda x: x - x.mean(0)), {"M3": "E"}),
        (Wrapped(after=lambda z: z + torch.arange(len(z)).view(-1, 1) * torch.arange(5)), {"M3": "E"}),
        (Wrapped(after=lambda z: z.softmax(1)), {"M4": "F"}),
        (Wrapped(after=lambda z: z.half().softmax(1).float()), {"M4": "F"}),
        (Wrapped(after=torch.sigmoid), {"M4": "F"}),
        (Wrapped(after=torch.tanh), {"M4": "F"}),
        (Wrapped(after=lambda z: 100 * z.softmax(1)), {"M4": "F"}),
        (Wrapped(after=lambda z: (100 * z.softmax(1)).bfloat16().float()), {"M4": "F"}),
        (Wrapped(after=lambda z: 100 * z.sigmoid()), {"M4": "F"}),
        (Wrapped(after=lambda z: z / 0), {"M5": "E"}),
        (Wrapped(after=lambda z: torch.where(z > z.mean(), torch.nan, z)), {"M5": "E"}),
        (Wrapped(before=lambda x: x.detach()), {"M6": "F"}),
        (Wrapped(before=lambda x: (x * 7).round() / 7), {"M6": "F"}),
        (Wrapped(after=lambda z: z * 1e6), {"M6": "F"}),
        (oracles.Constant(torch.tensor([1.0, 2.0, 3.0])).eval(), {"M6": "F"}),
        (lambda x: torch.stack([x.flatten(1).sum(1), (x.flatten(1) * 0).sqrt().sum(1)], 1), {"M5": "E"}),
    ],
)
def test_a_model_that_must_raise_a_flag(model, expected):
    assert {name: flag.severity for name, flag in flags(model).items()} == expected


@pytest.mark.parametrize("name", ["tiny", "probabilities", "not_finite", "randomised", "constant"])
def test_the_classifiers_that_misbehave(name):
    expected = {"probabilities": {"M4"}, "not_finite": {"M5"}, "randomised": {"M2"}, "constant": {"M6"}}
    found = check_model(fakes.classifier(name), LARGE, dataset="toy")
    assert {flag.id for flag in found} == expected.get(name, set())
    assert all((flag.model, flag.dataset) == (name, "toy") for flag in found)


def healthy():
    """Models without a fault, the same in every process: some have weights that are drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [
            oracles.convnet(),
            oracles.mlp(3 * 8 * 8).float(),
            oracles.linear(values=3 * 8 * 8).float().eval(),
            Wrapped(after=lambda z: z * 20),
            Wrapped(after=lambda z: z.log_softmax(1)),
            Wrapped(after=lambda z: z.log_softmax(1).half().float()),
            Wrapped(after=lambda z: 30 * (z / 30).tanh()),  # a bound that no answer comes near
            Wrapped(after=lambda z: nn.functional.normalize(z)),  # cosines
            Wrapped(after=lambda z: torch.stack([z[:, 0], 0 * z[:, 1]], 1)),  # one logit made two
            Wrapped(after=lambda z: z - z.mean(1, keepdim=True)),
            Wrapped(after=lambda z: nn.functional.softplus(20 * z)),
            lambda x: x.flatten(1)[:, :5],
            lambda x: {"logits": x.sub_(0.5).flatten(1)[:, :5].double()},
            nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).train(),
            nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.LayerNorm(192), nn.Linear(192, 5)).train(),
            ReadsItsMode(1),
            in_training_mode(oracles.convnet()),
            torch.compile(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).train(), backend="eager"),
        ]


@pytest.mark.parametrize("model", healthy())
def test_a_healthy_model_raises_none(model):
    assert flags(model) == {}
    assert flags(model, labels=torch.zeros(12, dtype=torch.long)) == {}
    assert flags(model, IMAGES[:1]) == {}


def test_looking_at_the_mode_leaves_a_model_as_it_is():
    model = ReadsItsMode(2).train()
    model.net[0].eval()
    before = [(part.training, *map(torch.Tensor.clone, part.state_dict().values())) for part in model.modules()]
    flags(model)
    after = [(part.training, *part.state_dict().values()) for part in model.modules()]
    for (mode, *state), (now, *rest) in zip(before, after, strict=True):
        assert mode == now
        assert all(torch.equal(one, other) for one, other in zip(state, rest, strict=True))


def test_parts_that_change_nothing_are_not_blamed():
    uncopied = Uncopied(nn.ReLU()).eval()
    uncopied.body.train()
    assert flags(uncopied) == {}
    for layers in ((nn.Dropout(), nn.ReLU()), (nn.Dropout(),)):
        assert "body.1 (Dropout) and " in flags(Uncopied(*layers).train())["M1"].message


def test_the_embedded_model_is_healthy():
    model = load_model("efficientnet_lite0")
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert check_model(model, x, dataset="noise") == []


def test_messages_say_how_much_and_what_next():
    assert str(flags(training(nn.Dropout))["M1"]) == (
        "M1 net on toy: 6 (Dropout) in training mode; call model.eval() first"
    )
    saturated = flags(Wrapped(after=lambda z: z * 1e6))["M6"]
    assert saturated.message.startswith("zero cross-entropy gradient on ")
    assert "zero margin gradient on 0.0% of the images" in saturated.message
    assert saturated.advice.endswith("use a margin loss")
    missing = flags(Wrapped(before=lambda x: x.detach()))["M6"]
    assert missing.message.startswith("there is no gradient: ")
    assert missing.value == 1
    randomised = flags(Wrapped(after=lambda z: z + torch.randn_like(z)))["M2"]
    assert 0.01 < randomised.value < 2


def test_flags_are_plain_data():
    for flag in check_model(Wrapped(after=lambda z: z.softmax(1)), IMAGES, dataset="toy"):
        assert Flag.from_dict(json.loads(json.dumps(flag.as_dict(), allow_nan=False))) == flag
        assert flag.model == "Wrapped"


def test_the_model_and_the_generator_are_left_as_they_were():
    model = Wrapped(after=lambda z: z + 0.01 * torch.randn_like(z))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.get_rng_state()
    one, two = (check_model(model, IMAGES, dataset="toy") for _ in range(2))
    assert one == two
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert IMAGES.grad is None
    assert not IMAGES.requires_grad


PUBLISHED = (
    *("mnist-lenet5-clean", "mnist-lenet5-adv-linf0.3", "mnist-kw-linf0.1", "mnist-cnn-a-adv", "mnist-mlp-clean"),
    *("cifar10-resnet20", "cifar10-cnn-a-adv", "cifar10-kw-linf8", "cifar10-kw-l2-36", "cifar10-resnet2b-adv2"),
)
DEAD = {"cifar10-kw-linf8"}
"""Certified: on some images all units behind are dead, so that the gradient is zero."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models(shared, monkeypatch, name):
    monkeypatch.syspath_prepend(str(shared / "models"))
    archs = pytest.importorskip("archs", reason="needs the models beside the repository")
    net, mean, std = archs.build(name)
    model = Classifier(net, num_classes=10, mean=_channels(mean), std=_channels(std), name=name)
    if name.startswith("mnist"):
        x = torch.stack([_picture(shared, "mnist", i) for i in range(16)])
    else:
        data = np.load(shared / "data" / "cifar10" / "cifar10-original-test1000.npz")
        x = torch.from_numpy(data["images"][:32].copy()).float() / 255
        x = x.permute(0, 3, 1, 2) if x.shape[-1] == 3 else x
    assert [flag.id for flag in check_model(model, x, dataset="d")] == (["M6"] if name in DEAD else [])
    for squash in (lambda z: z.half().softmax(1).float(), lambda z: 100 * z.softmax(1), torch.tanh):
        found = check_model(lambda x, squash=squash: squash(model(x)), x, dataset="d", name="squashed")
        assert "M4" in {flag.id for flag in found}


def _channels(values):
    return [values] if isinstance(values, float) else list(values)


def _picture(shared, name, number):
    raw = gzip.decompress((shared / "data" / name / "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, 784, 16 + 784 * number)
    return torch.from_numpy(pixels.copy()).view(1, 28, 28).float() / 255

"""Networks of the user's own that answer in every usual form: each is attacked as the plain network is."""

from pathlib import Path

import pytest
import torch

import attacks
from advbench import Classifier, load_model
from advbench.evaluation.checks.model import check_model

NETS = '''
from collections import OrderedDict
from types import SimpleNamespace

import torch
from torch import nn

SIDE = 8


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5)).eval()


def two():
    return Answer(one_logit(), lambda z: torch.cat([torch.zeros_like(z), z], 1))


class Answer(nn.Module):
    """A network whose answer is changed."""

    def __init__(self, network, change, before=lambda x: x):
        super().__init__()
        self.network, self.change, self.before = network, change, before

    def forward(self, x):
        return self.change(self.network(self.before(x)))


def answer_tuple():
    return Answer(plain(), lambda y: (y, y.flip(1)))


def answer_list():
    return Answer(plain(), lambda y: [y, 3 * y])


def answer_dict():
    return Answer(plain(), lambda y: {"features": y.flip(1), "logits": y})


def answer_output():
    return Answer(plain(), lambda y: SimpleNamespace(loss=None, logits=y))


def named_output():
    return Answer(plain(), lambda y: {"features": y.flip(1), "scores": y})


def log_probabilities():
    return Answer(plain(), lambda y: y.log_softmax(1))


def probabilities():
    return nn.Sequential(plain(), nn.Softmax(1))


def squeezed():
    return Answer(plain(), lambda y: y.squeeze())


def half():
    return plain().half()


def double():
    return plain().double()


def parallel():
    return nn.DataParallel(plain())


def compiled():
    return torch.compile(plain(), backend="eager")


def with_transforms():
    from torchvision.transforms import v2

    return nn.Sequential(v2.Normalize([0.5] * 3, [0.25] * 3), Answer(plain(), lambda y: y, lambda x: x * 0.25 + 0.5))


def function():
    network = plain()
    return lambda x: network(x)


instance = plain()


class Class(Answer):
    """A network that is named by its class."""

    def __init__(self):
        super().__init__(plain(), lambda y: y)


def one_logit():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 1)).eval()


def one_number():
    return Answer(one_logit(), lambda z: z.squeeze())


def one_probability():
    return nn.Sequential(one_logit(), nn.Sigmoid())
'''
LIKE_PLAIN = (
    *("answer_tuple", "answer_list", "answer_dict", "answer_output", "named_output", "log_probabilities"),
    *("probabilities", "squeezed", "half", "double", "parallel", "compiled", "with_transforms", "function", "instance"),
    "Class",
)
LIKE_TWO = ("one_logit", "one_number", "one_probability")
FLAGGED = ("probabilities", "one_probability")
EPS = 0.02


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("own") / "nets.py"
    file.write_text(NETS)
    return file


def images() -> torch.Tensor:
    return torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def loaded(nets: Path, name: str) -> Classifier:
    return load_model(f"{nets}:{name}", input_size=8, output="scores" if name == "named_output" else None)


def fooled(model: Classifier, labels: torch.Tensor) -> torch.Tensor:
    x = images()
    x_adv = attacks.PGD(steps=10)(model, x, attacks.Untargeted(labels), eps=EPS)
    assert float((x_adv - x).abs().max()) <= EPS + 1e-6
    return model(x_adv).argmax(1) != labels


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # as an error it would stop torch's compiler
@pytest.mark.parametrize(("name", "like"), [*((n, "plain") for n in LIKE_PLAIN), *((n, "two") for n in LIKE_TWO)])
def test_the_same_images_are_fooled(nets: Path, name: str, like: str) -> None:
    plain, model = loaded(nets, like), loaded(nets, name)
    labels = plain(images()).argmax(1)
    assert model.num_classes == plain.num_classes
    assert torch.equal(model(images()).argmax(1), labels)
    expected = fooled(plain, labels)
    assert 0 < int(expected.sum()) < len(labels)
    assert torch.equal(fooled(model, labels), expected)
    assert torch.equal(model(images()[:1]).argmax(1), labels[:1]), "one image is understood as many are"


@pytest.mark.parametrize("name", ["plain", "two", "log_probabilities", "squeezed", "one_logit", *FLAGGED])
def test_probabilities_are_turned_into_logarithms_and_flagged(nets: Path, name: str) -> None:
    model = loaded(nets, name)
    flags = [flag.id for flag in check_model(model, images(), dataset="noise")]
    assert flags == (["M4"] if name in FLAGGED else [])
    assert any("logarithms" in note for note in model.notes) is (name in FLAGGED)


def test_what_was_assumed_is_said(nets: Path) -> None:
    assert load_model(f"{nets}:plain", input_size=8, mean=0.5, std=[0.5, 0.25, 0.5]).notes == ()
    assert "images are passed unnormalised, from 0 to 1" in load_model(f"{nets}:plain", input_size=8).notes[0]

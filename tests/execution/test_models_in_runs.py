"""Models that treat their images, their answers or their gradients in ways of their own, in the harness."""

import pytest
import torch
from oracles import convnet
from PIL import Image
from torch import nn

import advbench
from advbench.errors import UserError
from advbench.evaluation.evaluate import Remembered, evaluate, evaluate_quickly
from advbench.evaluation.judge import judge
from advbench.explain.attribution import require_gradient
from advbench.explain.maximise import class_images
from advbench.models.classifier import Classifier
from advbench.planning.cost.footprint import footprint
from attacks import PGD, HopSkipJump, Linf, Square, Untargeted
from attacks.queries.derivatives import NoGradientError
from attacks.queries.randomness import LOOKS

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
NET = convnet().requires_grad_(False)


def normalised(x):
    return NET((x - 0.5) / 0.25)


def autocast(x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return NET(x)


WAYS = {
    "in place": (lambda x: NET(x.sub_(0.5).div_(0.25)), normalised),
    "tuple": (lambda x: (NET(x), x), NET),
    "dict": (lambda x: {"logits": NET(x)}, NET),
    "double": (lambda x: NET(x).double(), NET),
    "squeezed": (lambda x: NET(x).squeeze(), NET),
}
"""Name -> a model, and one that says the same and is like all others."""


def numpy(x):
    return torch.from_numpy(NET(x).numpy())


def assert_same(one, other):
    assert torch.equal(one.x_adv, other.x_adv)
    assert torch.equal(one.x_8bit, other.x_8bit)
    assert torch.equal(one.forwards, other.forwards)
    for mine, theirs in zip(one.verdicts, other.verdicts, strict=True):
        pairs = [(mine[name], theirs[name]) for name in mine] if isinstance(mine, dict) else [(mine, theirs)]
        for a, b in pairs:
            assert torch.equal(a, b)
            assert a.dtype == b.dtype


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("attack", [PGD(steps=5), Square(steps=20)], ids=["pgd", "square"])
@pytest.mark.parametrize("count", [1, 4])
def test_they_are_evaluated_like_others(count, attack, way):
    (model, plain), x = WAYS[way], X[:count].clone()
    goal = Untargeted(plain(x).argmax(1))
    found, expected = (evaluate(each, attack, x, goal, eps=8 / 255, seed=0) for each in (model, plain))
    assert_same(found, expected)
    clean = plain(x)
    found, expected = (evaluate_quickly(each, attack, x, clean, goal, eps=8 / 255, seed=0) for each in (model, plain))
    assert_same(found, expected)
    assert torch.equal(x, X[:count])


def test_half_precision_is_judged_in_that_of_the_images():
    goal = Untargeted(autocast(X).argmax(1))
    result = evaluate(autocast, PGD(steps=5), X, goal, eps=32 / 255, seed=0)
    assert result.verdicts.adv_logits.dtype == torch.float32
    assert result.verdicts.met.any()


def test_what_is_remembered_is_not_asked_again():
    asked = []
    known = Remembered(lambda x: asked.append(len(x)) or NET(x), X, NET(X))
    x_adv = X.clone()
    x_adv[1] = 0
    known.learn(x_adv)
    judge(known, X, x_adv, Untargeted(NET(X).argmax(1)), Linf(), None, X)
    # one image that is new, looks at one to see whether answers are random, and the new one as it is when it is rounded
    assert asked == [1] * (1 + 1 + LOOKS + 1)


@pytest.mark.parametrize("attack", [HopSkipJump(steps=2, directions=20), Square(steps=100)], ids=["hsj", "square"])
def test_successes_on_a_black_box_of_numpy_count(attack):
    goal, eps = Untargeted(NET(X).argmax(1)), None if attack.kind == "minimum norm" else 0.5
    found, expected = (evaluate(model, attack, X, goal, eps=eps, seed=0) for model in (numpy, NET))
    assert torch.equal(found.x_adv, expected.x_adv)
    assert found.verdicts.met.any()
    assert found.verdicts.met_8bit[found.verdicts.met].all()


def test_gradient_attacks_refuse_a_black_box_of_numpy():
    with pytest.raises(NoGradientError, match=r"expected a model that is differentiable .*Can't call numpy\(\)"):
        evaluate(numpy, PGD(), X, Untargeted(NET(X).argmax(1)), eps=0.1, seed=0)


def black_box():
    return Classifier(numpy, num_classes=5, input_size=8, name="black box")


def test_a_black_box_of_numpy_is_planned_and_run(tmp_path):
    net = advbench.load_model("mnist_convnet").module
    model = Classifier(lambda x: torch.from_numpy(net(x).numpy()), num_classes=10, mean=[0.1307], std=[0.3081])
    assert footprint(model, torch.rand(1, 28, 28)).kept == 0
    suite = {"name": "toy", "models": "m", "datasets": "mnist", "images": 3, "eps": {"linf": ["64/255"]}}
    run = advbench.run(suite | {"attacks": ["noise", "square"]}, models={"m": model}, out=tmp_path / "run")
    assert set(run.frame.status) == {"ok"}


def test_pictures_of_several_sizes_are_refused_before_the_run(tmp_path):
    for name, size in {"a": (20, 16), "b": (16, 20)}.items():
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", size).save(tmp_path / "val" / name / "0.png")
    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 2))
    model = Classifier(network, num_classes=2, classes=["a", "b"])
    data = {"name": "folder", "path": str(tmp_path / "val")}
    suite = {"name": "toy", "models": "m", "datasets": data, "attacks": "noise"}
    expected = "images of folder have 2 sizes, such as 20 x 16 and 16 x 20 pixels, and m does not resize them"
    with pytest.raises(UserError, match=expected):
        advbench.run(suite, models={"m": model}, out=tmp_path / "run")


def test_what_explains_by_gradients_says_that_there_are_none():
    with pytest.raises(UserError, match="black box has no gradient, but this needs one"):
        require_gradient(black_box(), X)
    with pytest.raises(UserError, match="black box has no gradient, so no pictures can be generated"):
        class_images(black_box(), [[0]], steps=1)

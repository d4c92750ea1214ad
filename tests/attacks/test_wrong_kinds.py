"""What goals, attacks made of attacks, and stand-ins for models are given by mistake is refused in one sentence."""

import numpy as np
import pytest
import torch
from torch import nn

from attacks import (
    DDN,
    FGSM,
    PGD,
    AnyLabelFlips,
    LabelOff,
    LabelOutOfTopK,
    LabelsEqual,
    Linf,
    OrderedTopK,
    Spared,
    Square,
    Targeted,
    TopKExclusion,
    Untargeted,
    binary_search_eps,
    capped,
    ensemble,
    expectation,
    inside,
    jpeg,
    multi_targeted,
    quantize,
    restarts,
    stored,
    straight_through,
    with_gradients_of,
    worst_case,
)

X = torch.tensor([[0.6, 0.5, 0.4], [0.1, 0.9, 0.3]])
Y = torch.tensor([0, 1])


def model(x):
    return 4 * x


@pytest.mark.parametrize("given", [[0, 1], (0, 1), np.array([0, 1])], ids=["list", "tuple", "array"])
@pytest.mark.parametrize("goal", [Untargeted, Targeted, TopKExclusion, OrderedTopK, LabelOff, LabelsEqual])
def test_a_goal_says_how_its_classes_become_a_tensor(goal, given):
    with pytest.raises(ValueError, match=f"tensor.*, got {type(given).__name__}: torch.as_tensor makes one of it"):
        goal(given)


@pytest.mark.parametrize("given", [None, 3, 0.5, "cat"])
@pytest.mark.parametrize("goal", [Untargeted, OrderedTopK, LabelOff, LabelsEqual, AnyLabelFlips])
def test_a_goal_refuses_what_is_no_tensor(goal, given):
    with pytest.raises(ValueError, match=f"expected .* as .*tensor.*, got {type(given).__name__}$"):
        goal(given)


@pytest.mark.parametrize("ids", [None, "a", [0, 1], torch.tensor([0.0, 1.0]), torch.tensor([True, False])], ids=str)
def test_ids_are_whole_numbers(ids):
    with pytest.raises(ValueError, match="expected ids as an int64 tensor, got"):
        Untargeted(Y, ids=ids)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([[1.0, 2.0]], "expected logits as a tensor"),
        (torch.tensor([1.0, 2.0]), r"expected logits \(N, C\), got torch.float32 with shape \(2,\)"),
        (torch.tensor([[1, 2]]), r"expected logits \(N, C\), got torch.int64"),
        (torch.tensor([[1.0, torch.nan]]), "expected finite logits, got NaN or infinity"),
    ],
    ids=["list", "one image", "integers", "nan"],
)
def test_goals_are_made_of_logits_alone(logits, message):
    for make in (lambda: TopKExclusion.from_logits(logits, k=1), lambda: AnyLabelFlips.from_logits(logits)):
        with pytest.raises(ValueError, match=message):
            make()


WHOLE = {
    "k of a label": lambda n: LabelOutOfTopK(Y, n),
    "k of logits": lambda n: TopKExclusion.from_logits(X, n),
    "restarts": lambda n: restarts(PGD(), n),
    "targets": lambda n: multi_targeted(PGD(), n),
    "max_passes": lambda n: capped(PGD(), n),
    "steps": lambda n: binary_search_eps(PGD(), n),
    "samples": lambda n: expectation(model, n),
    "quality": lambda n: jpeg(torch.rand(1, 1, 8, 8), n),
}


@pytest.mark.parametrize("value", [1.5, "3", None, True])
@pytest.mark.parametrize("what", WHOLE)
def test_a_count_is_a_whole_number(what, value):
    with pytest.raises(ValueError, match=f"to be a whole number, got {value!r}"):
        WHOLE[what](value)


@pytest.mark.parametrize("what", WHOLE)
def test_a_count_may_be_a_number_of_any_kind(what):
    for one in (np.int64(1), torch.tensor(1)):
        WHOLE[what](one)


def test_what_a_goal_keeps_of_a_number_is_pythons_own():
    assert type(LabelOutOfTopK(Y, np.int64(2)).k) is int
    assert type(Spared(Untargeted(Y), torch.tensor(0.5)).kappa) is float


@pytest.mark.parametrize("kappa", [None, "3", [1.0], True, float("nan"), float("inf"), -1])
def test_a_margin_to_spare_is_a_finite_number(kappa):
    for make in (lambda: Spared(Untargeted(Y), kappa), lambda: stored(PGD(), kappa)):
        with pytest.raises(ValueError, match=r"expected kappa (to be a number|>= 0 logits), got"):
            make()


def test_a_margin_to_spare_needs_a_goal():
    with pytest.raises(ValueError, match="expected a goal such as Untargeted"):
        Spared(None, 1.0)


@pytest.mark.parametrize("thresholds", ["high", None, [[0.0], [0.0, 1.0]]], ids=str)
def test_thresholds_are_numbers(thresholds):
    with pytest.raises(ValueError, match="expected thresholds as a finite number or one for each label, got"):
        LabelOff(Y, thresholds=thresholds)


MADE = {
    "restarts": lambda attack: restarts(attack, 2),
    "multi_targeted": multi_targeted,
    "worst_case": lambda attack: worst_case([FGSM(), attack]),
    "capped": lambda attack: capped(attack, 5),
    "binary_search_eps": binary_search_eps,
    "stored": stored,
}


@pytest.mark.parametrize(
    ("attack", "got"),
    [(PGD, "the class PGD: call it"), (None, "NoneType"), ("pgd", "str"), (model, "function"), (Untargeted(Y), "Unt")],
    ids=["class", "none", "name", "model", "goal"],
)
@pytest.mark.parametrize("made", MADE)
def test_attacks_are_made_of_attacks(made, attack, got):
    with pytest.raises(ValueError, match=f"expected an attack such as PGD\\(\\), got {got}"):
        MADE[made](attack)


@pytest.mark.parametrize("attacks", [None, 3, PGD()], ids=["none", "number", "attack"])
def test_the_worst_case_is_of_a_list(attacks):
    with pytest.raises(ValueError, match="expected a list of attacks, got"):
        worst_case(attacks)


ASKED = {
    "an attack": lambda wrong: PGD(steps=1)(wrong, X, Untargeted(Y), eps=0.1),
    "its images in 8 bits": lambda wrong: quantize(wrong, X, X, Untargeted(Y), Linf()),
    "inside": lambda wrong: inside(wrong, X),
    "ensemble": lambda wrong: ensemble([model, wrong]),
    "expectation": lambda wrong: expectation(wrong, 2),
    "twin": lambda wrong: with_gradients_of(model, wrong),
    "owner of a twin": lambda wrong: with_gradients_of(wrong, model),
    "straight_through": lambda wrong: straight_through(wrong),
    "backward": lambda wrong: straight_through(model, wrong),
}


@pytest.mark.parametrize("wrong", [None, "net.pt", nn.Linear(3, 3).state_dict()], ids=["none", "text", "state dict"])
@pytest.mark.parametrize("who", ASKED)
def test_a_model_is_something_that_can_be_called(who, wrong):
    with pytest.raises(ValueError, match=f"expected a model, images -> logits, got {type(wrong).__name__}"):
        ASKED[who](wrong)


def test_a_single_network_is_no_ensemble_of_its_layers():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(
        ValueError, match=r"expected a list of models, got Sequential: write \[model\] for a single one"
    ):
        ensemble(net)
    assert len(ensemble([net]).members) == 1
    assert len(ensemble(nn.ModuleList([net, net])).members) == 2


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8).half()], ids=str
)
def test_a_jpeg_is_of_floats(images):
    with pytest.raises(ValueError, match=f"expected images as a tensor of float32 or float64, got {images.dtype}"):
        jpeg(images, 90)


@pytest.mark.parametrize(
    ("x_adv", "message"),
    [
        (X[:1], r"expected adversarial images of shape \(2, 3\), got \(1, 3\)"),
        (X.numpy(), "expected adversarial images as a tensor .* got ndarray"),
    ],
    ids=["shape", "array"],
)
def test_only_images_are_rounded(x_adv, message):
    with pytest.raises(ValueError, match=message):
        quantize(model, X, x_adv, Untargeted(Y), Linf())


@pytest.mark.parametrize("eps", [torch.tensor(0.1), torch.tensor([0.1, 0.2])], ids=["one", "each"])
def test_an_eps_with_a_graph_is_a_number_like_others(eps):
    goal = Untargeted(Y)
    expected = PGD(steps=3)(model, X, goal, eps=eps)
    found = PGD(steps=3)(model, X, goal, eps=eps.clone().requires_grad_())
    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_no_images_at_all_are_called_that():
    with pytest.raises(ValueError, match=r"expected at least one of the images, got shape \(0, 3\)"):
        PGD()(model, X[:0], Untargeted(Y[:0]), eps=0.1)


def test_a_limit_may_be_larger_than_any_number_of_a_tensor():
    goal = Untargeted(Y)
    found = capped(PGD(steps=3), 10**400)(model, X, goal, eps=0.1)
    assert torch.equal(found, PGD(steps=3)(model, X, goal, eps=0.1))


NET = nn.Sequential(nn.Flatten(), nn.Linear(3, 4)).eval()
CONVERT = {
    "pass x.float()": (NET, X.double()),
    "pass x.double()": (nn.Sequential(nn.Linear(3, 4)).double().eval(), X),
    r"such as lambda x: model\(x.to\(torch.bfloat16\)\)": (nn.Sequential(nn.Linear(3, 4)).bfloat16().eval(), X),
    r"pass x.to\('meta'\)": (nn.Sequential(nn.Linear(3, 4)).to("meta").eval(), X),
}
"""What to do -> a network that takes images of another dtype or elsewhere, and images."""


@pytest.mark.parametrize("advice", CONVERT)
@pytest.mark.parametrize(
    "attack", [FGSM(), PGD(), DDN(), Square(steps=5), capped(PGD(), 20)], ids=lambda a: type(a).__name__
)
def test_images_of_another_dtype_or_device_than_the_network_takes(attack, advice):
    """They ended in torch's own sentence about Double and Float, from inside of the network."""
    net, x = CONVERT[advice]
    eps = {"eps": 0.1} if attack.kind == "budget" else {}
    with pytest.raises(ValueError, match=f"expected (images|a model for images) .*{advice}"):
        attack(net, x, Untargeted(Y), **eps)


@pytest.mark.parametrize("advice", CONVERT)
def test_a_function_around_such_a_network_is_seen_through(advice):
    net, x = CONVERT[advice]
    if "meta" not in advice:  # where a function takes its images is not known
        with pytest.raises(ValueError, match=advice):
            FGSM()(lambda x: net(x), x, Untargeted(Y), eps=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_network_that_converts_its_images_takes_any(dtype):
    net = nn.Sequential(nn.Linear(3, 4)).to(dtype).eval()
    x_adv = FGSM()(lambda x: net(x.to(dtype)), X, Untargeted(Y), eps=0.1)
    assert x_adv.dtype == X.dtype


def test_another_error_of_a_model_stays_what_it_is():
    def broken(x):
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        FGSM()(broken, X, Untargeted(Y), eps=0.1)


def test_whole_numbers_are_to_be_divided():
    with pytest.raises(
        ValueError, match=r"got torch.uint8 .*: pass x.float\(\), divided by the value of white, such as 255"
    ):
        FGSM()(NET, (255 * X).byte(), Untargeted(Y), eps=0.1)


def test_a_goal_on_another_device():
    with pytest.raises(ValueError, match=r"expected a goal on cpu, as the images are, got one on meta: .*labels.to\("):
        FGSM()(NET, X, Untargeted(Y.to("meta")), eps=0.1)

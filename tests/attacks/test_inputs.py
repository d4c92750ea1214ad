"""What attacks refuse, in which words, and that they refuse it before any work."""

import dataclasses
import math
from functools import cache

import numpy as np
import pytest
import torch
from attack_table import NEED_PLANES, build, each_attack, each_entry
from oracles import goals, images, linear
from pairwise import each_once

from attacks import (
    APGD,
    ATTACKS,
    DDN,
    FGSM,
    FMN,
    L0,
    L1,
    L2,
    PGD,
    LabelOutOfTopK,
    Linf,
    Noise,
    OrderedTopK,
    Targeted,
    TopK,
    TopKExclusion,
    Untargeted,
    binary_search_eps,
    capped,
    multi_targeted,
    restarts,
    worst_case,
)
from attacks.queries.gradients import asked_ids
from attacks.queries.inputs import clean_logits

X = images(2, (3, 2, 2)).float()
GOAL = Untargeted(torch.tensor([0, 1]))
NAN = float("nan")


EVERY = ATTACKS | {
    "restarts": lambda: restarts(PGD(), 2),
    "worst-case": lambda: worst_case([PGD(), Noise()]),
    "multi-targeted": lambda: multi_targeted(APGD(loss="dlr"), 2),
    "searched": lambda: binary_search_eps(PGD(), 2),
    "capped": lambda: capped(PGD(), 100),
}
"""Those of the table, and those made of others: name -> what makes it."""

TAKE_PROBABILITIES = {"standard", "adaptive"}
"""Attacks that take the logarithm of probabilities; what is behind that: ``test_fallbacks.py``."""
each_of_all = pytest.mark.parametrize("name", EVERY)


class Counting:
    """Three classes; counts the calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x.flatten(1)[:, :3] * 5


def with_value(value):
    x = X.clone()
    x[1, 2, 0, 1] = value
    return x


# --- parameters ---


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: PGD(steps=0), "expected steps of PGD > 0, got 0"),
        (lambda: PGD(steps="ten"), "expected steps of PGD to be a whole number, got 'ten'"),
        (lambda: PGD(steps=2.5), "expected steps of PGD to be a whole number, got 2.5"),
        (lambda: PGD(steps=True), "expected steps of PGD to be a whole number, got True"),
        (lambda: PGD(random_start=1), "expected random_start of PGD to be True or False, got 1"),
        (lambda: PGD(relative_step="a"), "expected relative_step of PGD to be a number, got 'a'"),
        (lambda: PGD(loss=3), "expected loss of PGD to be a text, got 3"),
        (lambda: PGD(steps=-3), "expected steps of PGD > 0, got -3"),
        (lambda: PGD(relative_step=0.0), "expected relative_step of PGD > 0, got 0.0"),
        (lambda: PGD(relative_step=NAN), "expected relative_step of PGD > 0, got nan"),
        (lambda: PGD(loss="hinge"), "expected loss of PGD to be one of margin, ce, dlr, pm, got 'hinge'"),
        (lambda: PGD(norm="linf"), "expected norm of PGD to be a norm such as Linf\\(\\), got 'linf'"),
        (lambda: PGD(norm=Linf), "expected norm of PGD to be a norm such as Linf\\(\\), got <class .*Linf'>"),
        (lambda: PGD(norm=L0()), "expected norm of PGD to be one of linf, l2, l1, got l0: SPGD is made for it"),
        (lambda: APGD(steps=0), "expected steps of APGD > 0, got 0"),
        (lambda: APGD(rho=-0.5), "expected rho of APGD > 0, got -0.5"),
        (lambda: APGD(norm=L0()), "expected norm of APGD to be one of linf, l2, l1, got l0: SPGD is made for it"),
        (lambda: FGSM(loss=""), "expected loss of FGSM to be one of margin, ce, dlr, pm, got ''"),
        (lambda: Noise(draws=0), "expected draws of Noise > 0, got 0"),
        (lambda: DDN(norm=Linf()), "expected norm of DDN to be one of l2, got linf"),
        (lambda: DDN(gamma=0), "expected gamma of DDN > 0, got 0"),
        (lambda: DDN(init_eps=-1), "expected init_eps of DDN > 0, got -1"),
        (lambda: FMN(step_size=0), "expected step_size of FMN > 0, got 0"),
        (lambda: TopK(temperature=0), "expected temperature of TopK > 0, got 0"),
        (lambda: TopK(step_size=-1), "expected step_size of TopK > 0, got -1"),
    ],
)
def test_refuses_parameters(construct, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        construct()


@each_attack
def test_parameters_are_named_and_fixed(name):
    attack = ATTACKS[name]()
    with pytest.raises(TypeError, match="positional argument"):
        ATTACKS[name](Linf())
    with pytest.raises(dataclasses.FrozenInstanceError, match="norm"):
        attack.norm = L2()
    assert attack == ATTACKS[name]()
    assert type(attack).__name__ in repr(attack)


def test_a_flag_is_no_number():
    assert PGD(random_start=False).random_start is False


# --- images, goals and eps: refused before the model is asked ---

UNASKED = [
    (X.mul(255).byte(), GOAL, 0.1, r"expected float images \(N, ...\), got torch.uint8 with shape \(2, 3, 2, 2\)"),
    (torch.rand(2), GOAL, 0.1, r"expected float images \(N, ...\), got torch.float32 with shape \(2,\)"),
    (torch.rand(2, 0), GOAL, 0.1, r"expected float images \(N, ...\), got torch.float32 with shape \(2, 0\)"),
    (torch.rand(0, 3), GOAL, 0.1, r"expected at least one of the images, got shape \(0, 3\)"),
    (X * 255, GOAL, 0.1, r"expected images in \[0, 1\], got values from \S+ to \S+"),
    (with_value(-0.01), GOAL, 0.1, r"expected images in \[0, 1\], got values from -0.01 to"),
    (with_value(1.01), GOAL, 0.1, r"expected images in \[0, 1\], got values from \S+ to 1.01"),
    (with_value(NAN), GOAL, 0.1, r"expected images in \[0, 1\], got values from nan to nan"),
    (with_value(math.inf), GOAL, 0.1, r"expected images in \[0, 1\], got values from \S+ to inf"),
    (X, Untargeted(torch.tensor([0])), 0.1, "expected a goal for 2 images, got one for 1"),
    (X, Untargeted(torch.tensor([0, 1, 2])), 0.1, "expected a goal for 2 images, got one for 3"),
    (X, GOAL.labels, 0.1, r"expected a goal such as Untargeted\(labels\), or one .*, got Tensor"),
    (X, GOAL, "8/255", r"expected eps as a number or of shape \(2,\), got '8/255'"),
    (X, GOAL, True, r"expected eps as a number or of shape \(2,\), got True"),
    (X, GOAL, 0.0, "expected eps > 0 and finite, got 0.0"),
    (X, GOAL, -0.1, "expected eps > 0 and finite, got -0.1"),
    (X, GOAL, NAN, "expected eps > 0 and finite, got nan"),
    (X, GOAL, math.inf, "expected eps > 0 and finite, got inf"),
    (X, GOAL, torch.tensor([0.1, 0.0]), "expected eps > 0 and finite, got tensor"),
    (X, GOAL, torch.tensor([0.1]), r"expected eps as a number or of shape \(2,\), got shape \(1,\)"),
    (X, GOAL, torch.full((2, 1), 0.1), r"expected eps as a number or of shape \(2,\), got shape \(2, 1\)"),
]
UNASKED_IDS = [
    *("bytes", "one axis", "no values", "no images", "0 to 255", "below 0", "above 1", "nan", "inf"),
    *(
        "goal for one",
        "goal for three",
        "labels",
        "eps a text",
        "eps a flag",
        "eps 0",
        "eps < 0",
        "eps nan",
        "eps inf",
        "an eps of 0",
        "one eps",
        "eps grid",
    ),
]


@each_once(
    "name, x, goal, eps, message",
    list(EVERY),
    [pytest.param(*row, id=name) for name, row in zip(UNASKED_IDS, UNASKED, strict=True)],
)
def test_refuses_arguments_before_the_model_is_asked(name, x, goal, eps, message):
    model = Counting()
    with pytest.raises(ValueError, match=message):
        EVERY[name]()(model, x, goal, eps=eps)
    assert model.calls == 0


@each_of_all
def test_a_budget_attack_without_a_budget_is_refused(name):
    attack, model = EVERY[name](), Counting()
    if attack.kind == "budget":
        with pytest.raises(ValueError, match="expected eps for a budget attack, got None"):
            attack(model, X, GOAL, eps=None)
        assert model.calls == 0
    else:
        assert attack.kind == "minimum norm"


@each_once("name, seed", list(EVERY), [1.5, 1.0, True, "1", None, torch.tensor(1)])
def test_a_seed_is_a_whole_number(name, seed):
    model = Counting()
    with pytest.raises(ValueError, match="expected seed to be a whole number, got "):
        EVERY[name]()(model, X, GOAL, eps=0.1, seed=seed)
    assert model.calls == 0


def test_a_seed_may_be_one_of_numpy():
    attack, model = PGD(steps=3), linear(3)
    goal = Untargeted(model(X.double()).argmax(1))
    assert torch.equal(*(attack(model, X.double(), goal, eps=0.01, seed=seed) for seed in (7, np.int64(7))))


@pytest.mark.parametrize("eps", [8, torch.tensor([0.1, 8.0])], ids=["number", "tensor"])
@each_of_all
def test_eight_is_taken_for_eight_levels(name, eps):
    if (attack := EVERY[name]()).norm.name != "linf":
        return
    model = Counting()
    with pytest.raises(ValueError, match=r"expected eps of at most 1 for linf .*, got 8: did you mean 8/255\?"):
        attack(model, X, GOAL, eps=eps)
    assert model.calls == 0


@pytest.mark.parametrize("norm", [L2(), L1()])
def test_eight_is_a_size_like_others_where_values_add_up(norm):
    assert PGD(norm=norm, steps=1)(Counting(), X, GOAL, eps=8).shape == X.shape


def test_an_eps_of_one_is_the_whole_box():
    assert PGD(steps=1)(Counting(), X, GOAL, eps=1).shape == X.shape


# --- models ---


def logits(*rows):
    return lambda x: torch.tensor(rows) + 0 * x.sum()


UNFIT = [
    (lambda x: x.flatten(1).sum(1), GOAL, r"expected logits of shape \(2, number of classes >= 2\), got \(2,\)"),
    (lambda x: x.flatten(1)[:, :1], GOAL, r"expected logits of shape \(2, .*\), got \(2, 1\)"),
    (lambda x: x[:1].flatten(1), GOAL, r"expected logits of shape \(2, .*\), got \(1, 12\)"),
    (lambda x: x, GOAL, r"expected logits of shape \(2, .*\), got \(2, 3, 2, 2\)"),
    (lambda x: {"a": x.flatten(1), "b": x}, GOAL, "expected logits as a float tensor, got dict"),
    (lambda x: x.flatten(1).long(), GOAL, "expected logits as a float tensor, got torch.int64"),
    (logits([1.0, NAN, 0], [1, 2, 3]), GOAL, "expected finite logits, got NaN or infinity from the model"),
    (logits([1.0, -math.inf, 0], [1, 2, 3]), GOAL, "expected finite logits, got NaN or infinity from the model"),
    (lambda x: x.flatten(1).softmax(1), GOAL, r"expected logits, got probabilities .* before the softmax"),
    (Counting(), Untargeted(torch.tensor([0, 3])), "expected labels from 0 to 2, got 0 to 3"),
    (Counting(), Targeted(torch.tensor([-1, 0])), "expected targets from 0 to 2, got -1 to 0"),
    (Counting(), TopKExclusion(torch.tensor([[0, 1]] * 2)), r"expected k <= 1 \(half of 3 classes\), got 2"),
    (Counting(), LabelOutOfTopK(torch.tensor([0, 1]), k=3), "expected k <= 2 for 3 classes, got 3"),
    (Counting(), OrderedTopK(torch.tensor([[0, 1, 2]] * 2)), "expected at most 2 targets for 3 classes, got 3"),
]
UNFIT_IDS = [
    *("one number", "one class", "one row", "an image", "two outputs", "integers", "nan", "inf", "probabilities"),
    *("label", "target", "exclusion", "top-k", "order"),
]


@each_once(
    "name, model, goal, message",
    list(EVERY),
    [pytest.param(*row, id=name) for name, row in zip(UNFIT_IDS, UNFIT, strict=True)],
)
def test_refuses_models_that_do_not_fit(name, model, goal, message):
    asked = []
    if name in TAKE_PROBABILITIES and "probabilities" in message:
        return
    with pytest.raises(ValueError, match=message):
        EVERY[name]()(lambda x: asked.append(len(x)) or model(x), X, goal, eps=0.1)
    assert asked == [2], "the clean images are all that it takes to see it"


@pytest.mark.parametrize("rows", [([0.5, 0.5, 0.0], [1.0, 2.0, 3.0]), ([1.5, -0.5, 0.0], [0.0, 2.0, -1.0])], ids=str)
def test_logits_that_could_be_probabilities_in_part_are_logits(rows):
    assert clean_logits(logits(*rows), X, GOAL, Linf(), 0.1).tolist() == list(rows)


def test_clean_logits_are_asked_for_once_and_booked_on_the_images():
    heard = []
    goal = Untargeted(torch.tensor([0, 1]), ids=torch.tensor([8, 9]))
    clean_logits(lambda x: heard.append(asked_ids().tolist()) or x.flatten(1), X, goal, Linf(), None)
    assert heard == [[8, 9]]


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "ddn", "fmn", "topk"])
def test_refuses_models_without_gradient(name):
    with pytest.raises(ValueError, match=r"expected a model that is differentiable.*such as Square"):
        ATTACKS[name]()(lambda x: x.detach().flatten(1), X, Untargeted(X.flatten(1).argmax(1)), eps=0.1)


def test_noise_needs_no_gradient():
    x = torch.tensor([[0.55, 0.5]])
    x_adv = Noise()(lambda x: x.detach(), x, Untargeted(torch.tensor([0])), eps=0.1)
    assert x_adv.argmax(1).tolist() == [1]


# --- what must work ---


@cache
def few_classes(num_classes, norm):
    """A model, images, and for each kind of goal the goal and three times the size it needs."""
    model, x = linear(num_classes, seed=1), images(4, (3, 2, 2))
    return model, x, [(goal, 3 * model.smallest(x, goal, norm)) for goal in goals(model(x), k=1).values()]


@pytest.mark.parametrize("num_classes", [2, 3])
@each_entry
def test_few_classes_are_enough(name, norm, num_classes):
    model, x, situations = few_classes(num_classes, norm)
    succeeds = name in ("pgd", "apgd", "ddn", "fmn", "topk")
    attack = build(name, norm, most=60 if succeeds else 5)
    for goal, eps in situations:
        x_adv = attack(model, x, goal, eps=eps)
        assert x_adv.shape == x.shape
        if succeeds:
            assert (goal.margin(model(x_adv)) < 0).all(), goal


@each_attack
def test_images_without_channels_and_on_the_ends_of_their_range(name):
    model = linear(3, values=6, seed=1)
    x = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.5, 1.0], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    x = x.view(2, 1, 2, 3) if name in NEED_PLANES else x
    x_adv = build(name, ATTACKS[name].norms[0], most=50)(model, x, Untargeted(model(x).argmax(1)), eps=0.5)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1

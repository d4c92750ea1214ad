"""What a person asks for is understood or refused before anything heavy is imported."""

import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advbench.catalog import ATTACKS
from advbench.config.attack import AttackConfig, attack_config
from advbench.config.budgets import NORMS, parse_eps
from advbench.config.goals import GoalSpec, parse_goal
from advbench.errors import UserError


def configured(**options) -> AttackConfig:
    given_ = {"model": "vgg16", "attack": "topk", "goal": "untargeted", "norm": None, "eps": None, "paths": ("a.jpg",)}
    return attack_config(**(given_ | options))


@pytest.mark.parametrize(
    ("text", "norm", "eps"),
    [
        ("2/255", "linf", 2 / 255),
        ("8/255", "linf", 8 / 255),
        (" 2 / 255 ", "linf", 2 / 255),
        ("0.5/255", "linf", 0.5 / 255),
        ("0.5", "l2", 0.5),
        ("1e-2", "linf", 0.01),
        ("1", "linf", 1.0),
        ("12", "l1", 12.0),
        ("50", "l0", 50.0),
    ],
)
def test_reads_an_eps_as_people_write_it(text, norm, eps):
    assert parse_eps(text, norm) == eps


@pytest.mark.parametrize(
    "number",
    [Fraction(1, 32), Decimal("0.03125"), np.float32(1 / 32), np.array(1 / 32), torch.tensor(1 / 32), 0.03125],
    ids=lambda number: type(number).__name__,
)
def test_an_eps_is_a_number_of_any_kind(number):
    assert parse_eps(number, "linf") == 1 / 32
    assert type(parse_eps(number, "linf")) is float
    with pytest.raises(UserError, match=r"--eps 32 is more than the whole range .*\n.*--eps 32/255\?"):
        parse_eps(number * 1024, "linf")


@pytest.mark.parametrize("number", [True, None, [0.1], torch.zeros(2), Decimal("NaN"), 10**400, float("inf")])
def test_what_is_no_number_is_no_eps(number):
    with pytest.raises(UserError, match="is not a number\nwrite it like --eps 2/255"):
        parse_eps(number, "linf")


@pytest.mark.parametrize(
    ("text", "norm", "message"),
    [
        ("2", "linf", r"more than the whole range.*\n.*did you mean --eps 2/255\?"),
        ("255", "linf", r"did you mean --eps 255/255\?"),
        ("300", "linf", r"more than the whole range.*\nwrite it like --eps 2/255"),
        ("510/255", "linf", r"more than the whole range.*\nwrite it like --eps 2/255"),
        ("0", "linf", "not above zero"),
        ("-1/255", "linf", "not above zero"),
        ("1e-999", "l2", "not above zero"),
        ("0.5", "l0", "l0 counts changed values"),
        *((text, "l2", "is not a number.*\n.*--eps 0.5") for text in ("", "two", "1/2/3", "/255", "2/", "0x2", "½")),
        *((text, "linf", "is not a number.*\n.*--eps 2/255") for text in ("nan", "inf", "-inf", "1e999", "2/0")),
        # as an exact fraction these would fill the memory
        *((text, "linf", "is not a number") for text in ("1e999999999", "1e999999999/255")),
    ],
)
def test_refuses_an_eps_and_says_how_to_write_it(text, norm, message):
    with pytest.raises(UserError, match=rf"(?s)--eps.*{message}"):
        parse_eps(text, norm)


@given(st.floats(min_value=1e-6, max_value=1), st.integers(1, 1000))
def test_a_fraction_is_a_division(top, bottom):
    eps = parse_eps(f"{top}/{bottom}", "l2")
    assert eps == top / bottom
    assert math.isclose(eps, Fraction(top) / bottom)


@given(st.text(max_size=8), st.sampled_from(NORMS))
def test_no_text_makes_anything_but_a_size_or_a_refusal(text, norm):
    try:
        eps = parse_eps(text, norm)
    except UserError:
        return
    assert 0 < eps < math.inf


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("untargeted", GoalSpec("untargeted")),
        (" Untargeted ", GoalSpec("untargeted")),
        ("topk-exclusion:7", GoalSpec("topk-exclusion", k=7)),
        ("label-out-of-topk:05", GoalSpec("label-out-of-topk", k=5)),
        ("targeted:tiger", GoalSpec("targeted", classes=("tiger",))),
        ("targeted:292", GoalSpec("targeted", classes=("292",))),
        ("targeted:crane, the bird", GoalSpec("targeted", classes=("crane, the bird",))),
        ("targeted:a:b", GoalSpec("targeted", classes=("a:b",))),
        ("ordered-topk:tiger, 12 ,Brain Coral", GoalSpec("ordered-topk", classes=("tiger", "12", "Brain Coral"))),
    ],
)
def test_reads_a_goal(text, spec):
    assert parse_goal(text) == spec
    assert parse_goal(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown goal ''"),
        ("top-k-exclusion:7", r"unknown goal.*\ndid you mean topk-exclusion:K\?"),
        ("untargetted", r"unknown goal.*\ndid you mean untargeted\?"),
        ("nonsense", r"goals: untargeted, targeted:CLASS, topk-exclusion:K"),
        ("untargeted:3", "takes no argument, got '3'"),
        ("targeted", "needs an argument\nwrite it as targeted:CLASS"),
        ("topk-exclusion:", "needs an argument\nwrite it as topk-exclusion:K"),
        ("ordered-topk:a,,b", "empty class name"),
        *((f"topk-exclusion:{k}", "K is a whole number >= 1") for k in ("0", "-1", "seven", "7.5", "²", "٣", "00")),
        ("label-out-of-topk:" + "9" * 5000, "K is a whole number >= 1"),
    ],
)
def test_refuses_a_goal_and_says_what_to_write(text, message):
    with pytest.raises(UserError, match=f"(?s){message}"):
        parse_goal(text)


OWN = [card for card in ATTACKS.values() if card.source == "advbench"]
"""Attacks that take any goal."""


@pytest.mark.parametrize("card", OWN, ids=lambda card: card.name)
def test_each_attack_has_defaults_that_work(card):
    if card.kind == "budget" and card.norms[0] != "linf":
        pytest.skip("needs a budget")
    config = configured(attack=card.name, goal=None)
    assert config.norm == card.norms[0]
    assert config.eps == (2 / 255 if config.norm == "linf" else None)
    assert config.goal == AttackConfig(paths=()).goal == parse_goal("topk-exclusion:7")


@pytest.mark.parametrize(
    ("model", "goal"), [("lenet", "untargeted"), ("vgg16", "topk-exclusion:7"), ("net.onnx", "topk-exclusion:7")]
)
def test_few_classes_leave_no_room_for_the_usual_goal(model, goal):
    assert str(configured(model=model, goal=None).goal) == goal
    assert str(configured(model=model, goal="topk-exclusion:3").goal) == "topk-exclusion:3"


@pytest.mark.parametrize("card", OWN, ids=lambda card: card.name)
@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_is_taken_or_refused_with_the_attacks_that_take_it(card, norm):
    if norm in card.norms:
        assert configured(attack=card.name, norm=norm, eps="1").norm == norm
        return
    with pytest.raises(UserError, match=f"attack '{card.name}' works in .*, not in {norm}\nfor {norm}: .*(topk|pgd)"):
        configured(attack=card.name, norm=norm)


def test_only_linf_has_a_bound_of_its_own():
    assert {norm: configured(norm=norm).eps for norm in NORMS} == {"linf": 2 / 255, "l2": None, "l1": None, "l0": None}


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_budget_attack_needs_a_budget(norm):
    with pytest.raises(UserError, match=f"attack 'pgd' needs a budget in {norm}\ngive one, such as --eps"):
        configured(attack="pgd", norm=norm)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"model": "vgg61"}, r"unknown model 'vgg61'\ndid you mean vgg16"),
        ({"model": "TIGER\n"}, r"unknown model 'TIGER\\n'"),
        ({"attack": "dnn"}, r"unknown attack 'dnn'\ndid you mean ddn"),
        ({"eps": "2"}, "did you mean --eps 2/255"),
        ({"goal": "targetted:tiger"}, "did you mean targeted:CLASS"),
    ],
)
def test_refuses_what_it_does_not_know(option, message):
    with pytest.raises(UserError, match=message):
        configured(**option)


def test_other_options_are_passed_on():
    config = configured(paths=("a", "b"), seed=3, device="cpu", batch_size=2, out=Path("x"), weights=Path("w"))
    assert (config.paths, config.seed, config.device) == (("a", "b"), 3, "cpu")
    assert (config.batch_size, config.out, config.weights) == (2, Path("x"), Path("w"))

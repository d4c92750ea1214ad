"""Attacks on models whose smallest perturbation is known: none does with less, and most come close to it."""

import math
from functools import cache

import pytest
import torch
from attack_table import ENTRIES, SLOW, build, each_entry
from oracles import Ball, Linear, goals, images, linear, separable

from attacks import ATTACKS, NORMS, TopK, TopKExclusion, Untargeted

BLACK_BOX = {"noise", "square", "sparse_rs", "hop_skip_jump", "adba", "spatial"}
"""Without gradients nothing close to the smallest perturbation can be asked for in few queries."""

TRANSFER = {"tifgsm", "difgsm", "mef", "sia", "bsr"}
"""Gradients blurred or taken elsewhere on purpose, for other models than the one at hand."""

PLACED = {"patch"}
"""Changes one part of the image alone, which need not be where little is enough."""

REACH = {("pgd", "l2"): 1.1}
"""Where 1 % more than the radius is not enough: the steps of PGD do not wear off its random start in L2."""

BESIDE = {("pdpgd", "l2"): 1.06}
"""Where a size within 5 % of the smallest is not reached: Adam's last steps are a hundredth of its first, a value."""

WHITE_BOX = [entry for entry in ENTRIES if entry[0] not in BLACK_BOX | TRANSFER | PLACED | SLOW]
BUDGET = [entry for entry in WHITE_BOX if ATTACKS[entry[0]].kind == "budget"]
MIN_NORM = [entry for entry in WHITE_BOX if ATTACKS[entry[0]].kind == "minimum norm"]
ENDS_THERE = {"ddn", "fmn", "sigma_zero", "superdeepfool", "fab", "closest", "topk"}
"""Minimum-norm attacks that end on the nearest boundary of a linear model of many classes."""

EXACT = [entry for entry in MIN_NORM if entry[0] in ENDS_THERE]


def entries(table, slow=()):
    cases = [
        pytest.param(*entry, id="-".join(entry), marks=pytest.mark.slow if entry[0] in slow else ()) for entry in table
    ]
    return pytest.mark.parametrize(("name", "norm"), cases)


@cache
def known(kind, norm, *, num_classes=5, count=12, shape=(3, 2, 2)):
    """A linear model, images, a goal, and the size of the smallest perturbations."""
    model, x = linear(num_classes, math.prod(shape), seed=1), images(count, shape, seed=1)
    goal = goals(model(x))[kind]
    return model, x, goal, model.smallest(x, goal, norm)


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


# --- nothing works below the radius ---


@pytest.mark.parametrize("kind", ["untargeted", "targeted", "topk-exclusion", "label-out-of-topk", "ordered-topk"])
@each_entry
def test_nobody_succeeds_below_the_radius(name, norm, kind):
    model, x, goal, radius = known(kind, norm, count=4)
    eps = radius - 0.5 if norm == "l0" else 0.99 * radius
    x_adv = build(name, norm, most=10)(model, x, goal, eps=eps)
    assert not fooled(model, goal, x_adv).any()


# --- budget attacks work just above it ---


@pytest.mark.parametrize("kind", ["untargeted", "targeted"])
@entries(BUDGET)
def test_budget_attacks_succeed_just_above_the_radius(name, norm, kind):
    # L1 steps are sparse: they spend all of eps on the value that counts most, which is what is best here.
    model, x, goal, radius = known(kind, norm, num_classes=2)
    eps = radius if norm == "l0" else REACH.get((name, norm), 1.01) * radius
    assert fooled(model, goal, build(name, norm)(model, x, goal, eps=eps)).all()


@entries([entry for entry in BUDGET if entry[1] == "l2"], slow=("standard", "adaptive"))
def test_budget_attacks_leave_the_ball(name, norm):
    # In the other norms every corner of theirs is a dead end, and where a random start leads is chance.
    model, x = Ball(torch.full((12,), 0.5, dtype=torch.float64), 0.3), images(6, (3, 2, 2), low=0.45, high=0.55)
    goal = Untargeted(torch.zeros(6, dtype=torch.int64))
    radius = model.smallest(x, norm)
    attack = build(name, norm)
    assert not fooled(model, goal, attack(model, x, goal, eps=0.99 * radius)).any()
    # The tangential part of the random start of PGD wears off slowly.
    above = 1.5 if name == "pgd" else 1.1
    assert fooled(model, goal, attack(model, x, goal, eps=above * radius)).all()


# --- minimum-norm attacks come close to it ---


@pytest.mark.parametrize("kind", ["untargeted", "targeted"])
@entries(MIN_NORM)
def test_minimum_norm_attacks_find_the_radius_of_two_classes(name, norm, kind):
    model, x, goal, radius = known(kind, norm, num_classes=2)
    x_adv = build(name, norm)(model, x, goal)
    size = NORMS[norm]().measure(x_adv - x)
    assert fooled(model, goal, x_adv).all()
    if norm == "l0":
        assert ((size - radius >= 0) & (size - radius <= 1)).all()
    else:
        assert (size >= radius).all()
        assert (size <= BESIDE.get((name, norm), 1.05) * radius).all()


@entries(EXACT)
def test_minimum_norm_attacks_find_the_radius_of_many_classes(name, norm):
    model, x, goal, radius = known("untargeted", norm)
    x_adv = build(name, norm)(model, x, goal)
    size = NORMS[norm]().measure(x_adv - x)
    assert fooled(model, goal, x_adv).all()
    if norm == "l0":
        assert ((size - radius >= 0) & (size - radius <= 1)).all()
    else:
        assert (size >= radius).all()
        assert (size / radius).median() <= 1.01
        assert (size / radius).max() <= 1.1


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", ["ddn", "fmn", "closest", "topk"])
def test_minimum_norm_attacks_leave_the_ball(name, norm):
    if norm not in ATTACKS[name].norms:
        pytest.skip("another norm")
    model, x = Ball(torch.full((12,), 0.5, dtype=torch.float64), 0.3), images(6, (3, 2, 2), low=0.45, high=0.55)
    goal = Untargeted(torch.zeros(6, dtype=torch.int64))
    x_adv, radius = build(name, norm)(model, x, goal), model.smallest(x, norm)
    size = NORMS[norm]().measure(x_adv - x)
    assert fooled(model, goal, x_adv).all()
    assert (size >= radius * (1 - 1e-9)).all()
    # In L1 the way out along the wrong axis is a boundary too, and only a little longer.
    assert (size / radius).median() <= (1.3 if norm == "l1" else 1.02)


# --- top-k exclusion ---


def topk(norm):
    """The attack; where a handful of values is all there is, the first steps in L1 must be shorter than its own."""
    return TopK(norm=NORMS[norm](), step_size=0.5 if norm == "l1" else None)


@pytest.mark.parametrize("kind", ["topk-exclusion", "label-out-of-topk", "ordered-topk", "targeted"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_topk_finds_the_radius_for_every_goal(norm, kind):
    model, x, goal, radius = known(kind, norm)
    x_adv = topk(norm)(model, x, goal)
    size = NORMS[norm]().measure(x_adv - x)
    assert fooled(model, goal, x_adv).all()
    assert (size >= radius).all()
    if norm == "l0":
        assert (size - radius).median() == 0
        assert (size <= radius + 2).all()
    else:
        assert (size / radius).median() <= 1.05


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_topk_excludes_k_classes_at_the_radius_of_a_separable_model(norm, k):
    model, x = separable(num_classes=8, values_each=3), images(6, (24,), seed=5, low=0.45, high=0.55)
    goal = TopKExclusion.from_logits(model(x), k)
    x_adv, radius = topk(norm)(model, x, goal), model.smallest(x, goal, norm)
    size = NORMS[norm]().measure(x_adv - x)
    assert fooled(model, goal, x_adv).all()
    assert (size >= radius).all()
    assert (size / radius).median() <= 1.05


# --- an image on the boundary ---


@entries(EXACT)
def test_an_image_on_the_boundary_itself_needs_next_to_nothing(name, norm):
    # All logits are zero: a tie, which does not count, and no scale to measure anything by.
    weight = torch.tensor([[1.0, -1, 0, 0], [0, 1, -1, 0], [0, 0, 1, -1]], dtype=torch.float64)
    model, x = Linear(weight, torch.zeros(3).double()), torch.full((1, 4), 0.5, dtype=torch.float64)
    goal = Untargeted(torch.tensor([0]))
    x_adv = build(name, norm)(model, x, goal)
    assert fooled(model, goal, x_adv).all()
    assert NORMS[norm]().measure(x_adv - x).item() <= (1 if norm == "l0" else 0.02)


# --- noise is the baseline ---


@entries([entry for entry in WHITE_BOX if entry[1] != "l0"])
def test_noise_of_the_same_size_does_less(name, norm):
    model, x, goal, radius = known("untargeted", norm, shape=(3, 8, 8))
    eps = 1.5 * radius
    by_noise = fooled(model, goal, build("noise", norm, most=30)(model, x, goal, eps=eps))
    by_attack = fooled(model, goal, build(name, norm)(model, x, goal, eps=eps))
    assert by_attack.sum() >= 10
    assert by_noise.sum() <= 4

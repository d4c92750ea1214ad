"""Goals for several labels at once: margins, what is refused, and every attack against models with a known optimum."""

import itertools
import math

import pytest
import torch
from attack_table import ENTRIES, build, each_entry
from hypothesis import given
from hypothesis import strategies as st
from norm_rows import SOLVERS
from oracles import images, linear

from attacks import (
    FMN,
    NORMS,
    PGD,
    AnyLabelFlips,
    Goal,
    LabelOff,
    LabelOn,
    LabelsEqual,
    TopK,
    foolbox,
    losses,
    multi_targeted,
)
from attacks.goals import met
from attacks.objectives.rivals import distinct_aims, ways_to

SHAPE = (3, 2, 2)
GOALS = ("off", "on", "equal", "any")
finite = st.floats(-5, 5, width=32)


def goal_of(kind, logits, thresholds=0.0):
    """A goal of this kind that ``logits`` (N, C) do not meet."""
    goal = AnyLabelFlips.from_logits(logits, thresholds=thresholds)
    above = goal.above(logits)
    match kind:
        case "off":
            return LabelOff(above.argmax(1), thresholds=thresholds)
        case "on":
            return LabelOn(above.argmin(1), thresholds=thresholds)
        case "equal":
            wanted = goal.labels.clone()
            wanted[:, :2] = 1 - wanted[:, :2]
            return LabelsEqual(wanted, thresholds=thresholds)
    return goal


@given(st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=3), st.tuples(finite, finite, finite))
def test_margins_are_negative_exactly_where_the_goal_is_met(rows, thresholds):
    logits = torch.tensor(rows, dtype=torch.float64)
    sides = (logits - torch.tensor(thresholds, dtype=torch.float64)).sign()
    wanted = torch.tensor([[1, 0, 1]]).expand(len(rows), 3)
    label = torch.ones(len(rows), dtype=torch.int64)
    on, off = sides > 0, sides < 0
    expected = {
        LabelOff(label, thresholds=thresholds): off[:, 1],
        LabelOn(label, thresholds=thresholds): on[:, 1],
        LabelsEqual(wanted, thresholds=thresholds): torch.where(wanted == 1, on, off).all(1),
        AnyLabelFlips(wanted.bool(), thresholds=thresholds): torch.where(wanted == 1, off, on).any(1),
    }
    for goal, says in expected.items():
        assert isinstance(goal, Goal)
        goal.check(3)
        assert torch.equal(goal.margin(logits) < 0, says)
        assert torch.equal(goal.gaps(logits).amax(1), goal.margin(logits))
        assert torch.equal(losses.dlr(logits, goal), goal.margin(logits))


@pytest.mark.parametrize("kind", GOALS)
def test_losses_fall_towards_the_goal(kind):
    logits = torch.tensor([[2.0, -1.0, 0.5], [-0.5, 3.0, -2.0]], requires_grad=True)
    goal = goal_of(kind, logits, [0.25, 0.0, -0.25])
    for loss in (losses.margin, losses.cross_entropy):
        (gradient,) = torch.autograd.grad(loss(logits, goal).sum(), logits)
        lower = loss(logits - 0.01 * gradient, goal)
        assert (lower < loss(logits, goal)).all()
        far = (logits - 1e3 * gradient).detach()
        assert kind == "equal" or met(goal, far).all()


@pytest.mark.parametrize("kind", GOALS)
def test_rows_may_be_chosen_and_keep_their_thresholds(kind):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    goal, rows = goal_of(kind, logits, [0.5, 0.0, -0.5]), torch.tensor([2, 0])
    some = goal.select(rows)
    assert torch.equal(some.margin(logits[rows]), goal.margin(logits)[rows])
    assert (some.thresholds, some.ids.tolist()) == ((0.5, 0.0, -0.5), [2, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelOff(torch.tensor([[0]])), "expected labels as an int64 tensor with 1 dimension"),
        (lambda: LabelsEqual(torch.tensor([1, 0])), r"expected labels as bool, or int64 of 0 and 1, \(N, C\)"),
        (lambda: LabelsEqual(torch.tensor([[2, 0]])), "expected labels as bool, or int64 of 0 and 1"),
        (lambda: AnyLabelFlips(torch.tensor([[0.5, 1.0]])), "got torch.float32"),
        (lambda: LabelOn(torch.tensor([0]), thresholds=math.nan), "expected thresholds as a finite number"),
        (lambda: LabelOn(torch.tensor([0]), thresholds=[]), "expected thresholds as a finite number"),
        (lambda: LabelOn(torch.tensor([3])).check(3), "expected labels from 0 to 2, got 3 to 3"),
        (lambda: LabelOn(torch.tensor([0]), thresholds=[0.0, 1.0]).check(3), "expected 3 thresholds, .* got 2"),
        (lambda: LabelsEqual(torch.tensor([[1, 0]])).check(3), "expected labels of 3 columns, .* got 2"),
        (lambda: AnyLabelFlips(torch.tensor([[1, 0]]), ids=torch.arange(3)), "expected 1 ids"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_model_with_other_labels_is_refused_before_it_is_attacked():
    x, goal = torch.rand(1, 4), LabelsEqual(torch.tensor([[1, 0, 1]]))
    with pytest.raises(ValueError, match="expected labels of 4 columns, one for each label, got 3"):
        PGD()(lambda x: x, x, goal, eps=0.1)


# --- every attack ---


def smallest(model, x, goal, norm):
    """Size (N,) of the smallest perturbation that meets a goal on a linear model, by programs."""
    above, weight = goal.above(model(x)), model.weight
    sizes = []
    for row, image in enumerate(x.flatten(1).numpy()):
        match goal:
            case LabelOff():
                ways = [[(int(goal.labels[row]), -1)]]
            case LabelOn():
                ways = [[(int(goal.labels[row]), 1)]]
            case AnyLabelFlips():
                ways = [[(i, -1 if on else 1)] for i, on in enumerate(goal.labels[row].tolist())]
            case _:
                ways = [[(i, 1 if on else -1) for i, on in enumerate(goal.labels[row].tolist())]]
        best = math.inf
        for way in ways:
            labels, signs = [i for i, _ in way], torch.tensor([float(sign) for _, sign in way], dtype=x.dtype)
            rows = (signs.unsqueeze(1) * weight[labels]).numpy()
            best = min(best, SOLVERS[norm](rows, (-signs * above[row, labels]).numpy(), image))
        sizes.append(best)
    return torch.tensor(sizes, dtype=x.dtype)


def problem(kind, norm, count=4):
    model, x = linear(4, 12, seed=2), images(count, SHAPE, seed=3)
    goal = goal_of(kind, model(x), [0.05, 0.0, -0.05, 0.0])
    return model, x, goal, smallest(model, x, goal, norm)


EVERY = [(*entry, kind) for entry, kind in itertools.product(ENTRIES, GOALS)]
QUICK = {("pgd", "linf"), ("fmn", "l2"), ("standard", "linf"), ("sigma_zero", "l0"), ("square", "linf")}


@pytest.mark.parametrize(
    ("name", "norm", "kind"),
    [case if case[:2] in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in EVERY],
)
def test_nobody_succeeds_below_the_radius(name, norm, kind):
    model, x, goal, radius = problem(kind, norm)
    eps = (radius - 0.5).clamp_min(0.4) if norm == "l0" else 0.99 * radius
    x_adv = build(name, norm, most=10)(model, x, goal, eps=eps)
    assert not (goal.margin(model(x_adv)) < 0).any()


NEAREST = {"off": FMN, "on": FMN, "equal": TopK, "any": lambda norm: multi_targeted(FMN(norm=norm))}
"""Goal -> an attack that finds the smallest perturbation of a linear model for it."""


@pytest.mark.parametrize("kind", GOALS)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_nearest_image_is_found(norm, kind):
    model, x, goal, radius = problem(kind, norm)
    x_adv = NEAREST[kind](norm=NORMS[norm]())(model, x, goal)
    assert (goal.margin(model(x_adv)) < 0).all()
    size = NORMS[norm]().measure(x_adv - x)
    assert (size >= radius * (1 - 1e-6)).all()
    assert (size <= 1.03 * radius).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacks_that_weigh_ways_find_the_nearest_flip(norm):
    model, x, goal, radius = problem("any", norm, count=8)
    for name in ("deepfool", "fab"):
        x_adv = build(name, norm)(model, x, goal)
        assert (NORMS[norm]().measure(x_adv - x) <= 1.05 * radius).all()
        assert (goal.margin(model(x_adv)) < 0).all()
    if norm == "linf":
        x_adv = build("standard", norm, most=10)(model, x, goal, eps=1.01 * radius)
        assert (goal.margin(model(x_adv)) < 0).all()


def test_ways_to_flip_are_the_labels_the_nearest_first():
    logits = torch.tensor([[3.0, -1.0, 2.0], [-0.5, -4.0, 1.0]])
    goal = AnyLabelFlips.from_logits(logits)
    first, second, third = distinct_aims(goal, logits, 9)
    assert [way.margin(logits).tolist() for way in (first, second, third)] == [[1, 0.5], [2, 1], [3, 4]]
    assert torch.equal(first.margin(logits), goal.margin(logits))
    some = ways_to(goal, logits, 4).of(torch.tensor([1, 0]), torch.tensor([1, 3]))
    assert some.margin(logits[[1, 0]]).tolist() == [1, 1]
    assert len(distinct_aims(LabelOff(torch.tensor([0, 2])), logits, 9)) == 1


@pytest.mark.parametrize("kind", ["off", "on"])
def test_budget_attacks_succeed_just_above_the_radius(kind):
    model, x, goal, radius = problem(kind, "linf", count=6)
    for attack in (PGD(), PGD(loss="ce"), build("apgd", "linf"), build("mifgsm", "linf")):
        assert (goal.margin(model(attack(model, x, goal, eps=1.02 * radius))) < 0).all()


@pytest.mark.slow
@each_entry
def test_every_attack_takes_them(name, norm):
    model, x = linear(4, 192, seed=2), images(3, (3, 8, 8), seed=3)
    for kind in GOALS:
        goal = goal_of(kind, model(x))
        x_adv = build(name, norm, most=4)(model, x, goal, eps=2.0 if norm == "l0" else 0.1)
        assert x_adv.shape == x.shape


def test_attacks_of_foolbox_that_compare_classes_refuse_them():
    model, x = linear(4, 12, seed=2), images(2, SHAPE, seed=3)
    with pytest.raises(ValueError, match=r"expected a goal that foolbox/linf-pgd takes .* got LabelOff"):
        foolbox.get("linf-pgd")(model, x, goal_of("off", model(x)), eps=0.1)


def test_losses_of_competing_classes_are_the_margin_also_towards_one_label():
    logits, seen = torch.tensor([[3.0, -1.0, 0.5, 2.0, -4.0]]), []
    labels = AnyLabelFlips.from_logits(logits)
    for goal in (labels, LabelsEqual(labels.labels == 0), LabelOff(torch.tensor([0])), LabelOn(torch.tensor([1]))):
        for name in ("dlr", "pm"):
            assert torch.equal(losses.LOSSES[name](logits, goal), goal.margin(logits))

    class Looks(PGD):
        def __call__(self, model, x, goal, **given):
            seen.append(goal)
            return super().__call__(model, x, goal, **given)

    x = torch.tensor([[0.9, 0.1, 0.6, 0.7, 0.2]])
    multi_targeted(Looks(steps=1), 5)(lambda x: 4 * x - 2, x, AnyLabelFlips.from_logits(4 * x - 2), eps=0.01)
    assert len(seen) == 5
    for way in seen:
        assert torch.equal(losses.dlr(logits, way), way.margin(logits))

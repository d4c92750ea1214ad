"""Losses: every one points at the goal, and each keeps its own promise."""

import pytest
import torch
from goal_kinds import KINDS, each_kind
from oracles import goals

from attacks import AnyLabelFlips, LabelOff, LabelOutOfTopK, Targeted, Untargeted
from attacks.goals import met
from attacks.losses import LOSSES, cross_entropy, dlr, hinge, margin, probability_margin


def logits(rows=6, num_classes=7, seed=0):
    return 3 * torch.randn(rows, num_classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_table():
    assert {"margin": margin, "ce": cross_entropy, "dlr": dlr, "pm": probability_margin} == LOSSES


@each_kind
@pytest.mark.parametrize("loss", LOSSES)
def test_one_number_an_image_with_the_sign_of_the_margin(loss, kind):
    goal = goals(logits(), k=3)[kind]
    for z in (logits(), -logits()):
        value = LOSSES[loss](z, goal)
        assert value.shape == (6,)
        assert value.isfinite().all()
        if loss != "ce":
            assert torch.equal(value.sign(), goal.margin(z).sign())


# The ratio has a gap of its own in its gradient: far from a target it does not lead there, in the paper neither.
@pytest.mark.parametrize(
    ("loss", "kind"), [*((loss, kind) for loss in ("margin", "ce") for kind in KINDS), ("dlr", "untargeted")]
)
def test_falls_towards_the_goal(loss, kind):
    z = logits().requires_grad_()
    goal = goals(z, k=3)[kind]
    value = LOSSES[loss](z, goal)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    (to_goal,) = torch.autograd.grad(goal.margin(z).sum(), z)
    assert ((gradient * to_goal).sum(1) > 0).all()


@each_kind
def test_margin_and_cross_entropy_are_the_goals_own(kind):
    goal = goals(logits())[kind]
    assert torch.equal(margin(logits(), goal), goal.margin(logits()))
    assert torch.equal(cross_entropy(logits(), goal), goal.cross_entropy(logits()))


CONFIDENT = [
    Untargeted(torch.tensor([0])),
    LabelOff(torch.tensor([0])),
    AnyLabelFlips(torch.tensor([[1, 0, 0]])),
    AnyLabelFlips(torch.tensor([[1, 0, 0]])).choice(torch.tensor([0])),
]
"""Goals whose cross-entropy is the log-probability of what the network is certain of."""


def _slope_of(loss, z, goal):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z, goal).sum(), z)[0]


@pytest.mark.parametrize("goal", CONFIDENT, ids=lambda goal: type(goal).__name__)
@pytest.mark.parametrize("loss", ["ce", "pm"])
@pytest.mark.parametrize("lead", [18.0, 60.0, 200.0, 1e10, 1e30])
def test_no_certainty_takes_the_gradient_from_a_loss(loss, goal, lead):
    z = lead * torch.tensor([[1.0, -1.5, -2.0]])
    slope = _slope_of(LOSSES[loss], z, goal)
    assert slope[0, 0] > 1e-9
    assert (slope[0, 1:] <= 0).all()
    falls = [LOSSES[loss](z * part, goal).item() for part in (1.0, 0.9, 0.5, 0.01)]
    assert falls == sorted(falls, reverse=True)
    assert falls[0] > falls[1] > falls[2]


@pytest.mark.parametrize("lead", [0.0, 5.0, 9.0, 12.0, 15.0, 20.0, 200.0])
def test_the_gradient_of_the_cross_entropy_points_where_exact_numbers_say(lead):
    z = torch.tensor([[lead, 0.0, -1.0, -4.0]])
    goal = Untargeted(torch.tensor([0]))
    found = _slope_of(cross_entropy, z, goal).double()
    others = z.double()[:, 1:].softmax(1)  # the label's probability only decides how long the gradient is
    torch.testing.assert_close(found / found[:, :1], torch.cat([torch.ones(1, 1), -others], 1), rtol=2e-3, atol=0)


def test_a_confident_image_changes_nothing_for_the_others():
    z, goal = logits().float(), Untargeted(logits().argmax(1))
    sure = torch.cat([torch.tensor([[1e4, *[0.0] * 6]]), z[1:]])
    for loss in (cross_entropy, probability_margin):
        assert torch.equal(loss(sure, goal)[1:], loss(z, goal)[1:])
        assert torch.equal(_slope_of(loss, sure, goal)[1:], _slope_of(loss, z, goal)[1:])


@each_kind
def test_dlr_is_indifferent_to_scale_and_shift(kind):
    goal = goals(logits())[kind]
    torch.testing.assert_close(dlr(1000 * logits() - 7, goal), dlr(logits(), goal))
    torch.testing.assert_close(dlr(1e-30 * logits(), goal), dlr(logits(), goal))


def test_dlr_is_the_formula_of_the_paper():
    z = logits()
    label = z.argmax(1)
    first, second, third, fourth = z.sort(dim=1, descending=True).values[:, :4].T
    torch.testing.assert_close(dlr(z, Untargeted(label)), (first - second) / (first - third))
    wrong = z.argsort(dim=1)[:, 0]
    own = z.gather(1, wrong.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(dlr(z, Untargeted(wrong)), (own - first) / (first - third))
    torch.testing.assert_close(dlr(z, Targeted(wrong)), (first - own) / (first - (third + fourth) / 2))


def test_the_margin_of_probabilities_is_between_the_label_and_the_next_class():
    z = logits()
    label = z.argmax(1)
    first, second = z.softmax(1).sort(dim=1, descending=True).values[:, :2].T
    torch.testing.assert_close(probability_margin(z, Untargeted(label)), first - second)
    torch.testing.assert_close(probability_margin(z + 7, Untargeted(label)), first - second)  # a shift changes nothing


@pytest.mark.parametrize("goal", [Targeted(torch.tensor([2])), LabelOutOfTopK(torch.tensor([0]), 2)])
def test_dlr_has_a_gradient_where_the_third_logit_decides(goal):
    z = torch.tensor([[4.0, 3.0, 2.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(dlr(z, goal).sum(), z)
    (to_goal,) = torch.autograd.grad(goal.margin(z).sum(), z)
    assert (gradient * to_goal).sum() > 0


@pytest.mark.parametrize(("num_classes", "kind"), [(2, Untargeted), (2, Targeted), (3, Targeted)])
def test_dlr_is_the_margin_where_there_are_too_few_classes(num_classes, kind):
    z = logits(num_classes=num_classes)
    goal = kind(z.argmin(1) if kind is Targeted else z.argmax(1))
    assert torch.equal(dlr(z, goal), goal.margin(z))


def test_dlr_is_finite_where_logits_are_equal():
    z = torch.zeros(1, 4, requires_grad=True)
    value = dlr(z, Untargeted(torch.tensor([0])))
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert value.tolist() == [0]
    assert gradient.isfinite().all()


@each_kind
def test_the_hinge_is_the_margin_until_the_goal_is_met(kind):
    goal = goals(logits(), k=3)[kind]
    for z in (logits(), -logits(), torch.zeros(6, 7, dtype=torch.float64)):
        z = z.requires_grad_()
        done, value = met(goal, z), hinge(z, goal)
        assert torch.equal(value, torch.where(done, 0.0, goal.margin(z)))
        (gradient,) = torch.autograd.grad(value.sum(), z)
        # On the boundary itself, too, there is a way to go.
        assert torch.equal(gradient.abs().sum(1) > 0, ~done)

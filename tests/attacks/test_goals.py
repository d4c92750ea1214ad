"""Goals against their definition class by class, the goals of parts of a batch, and what makes no sense."""

import math
import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from goal_kinds import WANTING, build, each_kind, orders, situations
from hypothesis import given
from hypothesis import strategies as st

from attacks import LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted
from attacks.goals import GOALS, met
from attacks.objectives.gaps import soft_maximum
from attacks.objectives.ranking import SLACK


def is_met(kind, scores, classes, k):
    """The goal's definition for one image: which classes stand above which, without ties."""
    goal = build(kind, torch.tensor([classes]), k)
    return any(all(scores[a] > scores[b] for a, b in pairs) for pairs in orders(goal, 0, len(scores)))


@each_kind
@given(data=st.data())
def test_margin_is_negative_exactly_where_the_goal_is_met(kind, data):
    logits, classes, k = data.draw(situations(kind))
    margin = build(kind, classes, k).margin(logits)
    expected = [is_met(kind, *row, k) for row in zip(logits.tolist(), classes.tolist(), strict=True)]
    assert (margin < 0).tolist() == expected


@each_kind
def test_a_tie_of_all_classes_is_not_met(kind):
    goal = build(kind, torch.tensor([[0, 1, 2, 3]]), k=2)
    assert goal.margin(torch.zeros(1, 4)).tolist() == [0]
    assert met(goal, torch.zeros(1, 4)).tolist() == [False]


@pytest.mark.parametrize(
    ("kind", "expected"),
    # the classes named are 2 (first) and 0 (second), k = 2
    [
        ("untargeted", 4.0 - 5.0),
        ("targeted", 5.0 - 4.0),
        ("topk-exclusion", 4.0 - 3.0),
        ("label-out-of-topk", 4.0 - 3.0),
        ("ordered-topk", 5.0 - 1.0),
    ],
)
def test_margins_are_in_units_of_logits(kind, expected):
    logits, classes = torch.tensor([[1.0, 5.0, 4.0, 3.0]]), torch.tensor([[2, 0, 1, 3]])
    goal = build(kind, classes, k=2)
    assert goal.margin(logits).item() == expected
    assert goal.margin(10 * logits + 3).item() == 10 * expected


@given(data=st.data())
def test_k_of_one_is_the_plain_goal(data):
    logits, classes, _ = data.draw(situations("untargeted"))
    predicted = logits.argmax(1)
    plain = Untargeted(predicted).margin(logits)
    assert torch.equal(TopKExclusion.from_logits(logits, k=1).margin(logits), plain)
    assert torch.equal(LabelOutOfTopK(predicted, k=1).margin(logits), plain)
    assert torch.equal(OrderedTopK(classes[:, :1]).margin(logits), Targeted(classes[:, 0]).margin(logits))


# --- cross-entropies ---


def test_cross_entropies_are_the_log_likelihoods_in_their_docstrings():
    logits = torch.tensor([[1.0, 5.0, 4.0, 3.0, 0.5]], dtype=torch.float64)
    weights = [math.exp(score) for score in logits[0].tolist()]
    p = [weight / sum(weights) for weight in weights]
    classes = torch.tensor([[2, 0, 1, 3, 4]])
    first_then_second = p[2] * p[0] / (1 - p[2])
    expected = {
        "untargeted": math.log(p[2]),
        "targeted": -math.log(p[2]),
        "topk-exclusion": math.log(p[2] + p[0]) - (math.log(p[1]) + math.log(p[3])) / 2,
        "label-out-of-topk": math.log(p[2]) - (math.log(p[1]) + math.log(p[3])) / 2,
        "ordered-topk": -math.log(first_then_second),
    }
    found = {kind: build(kind, classes, k=2).cross_entropy(logits).item() for kind in expected}
    assert found == pytest.approx(expected)


@each_kind
@given(data=st.data())
def test_cross_entropies_and_their_gradients_are_finite(kind, data):
    logits, classes, k = data.draw(situations(kind, st.sampled_from([-1e4, -300.0, 0.0, 1.0, 300.0, 1e4])))
    logits = logits.float().requires_grad_()
    value = build(kind, classes, k).cross_entropy(logits)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.shape == logits.shape[:1]
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@each_kind
@pytest.mark.parametrize("loss", ["margin", "smooth", "cross_entropy"])
def test_descending_any_form_leads_to_the_goal(kind, loss):
    logits = 3 * torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    goal = build(kind, logits.argsort(dim=1, descending=kind not in WANTING), k=3)
    assert (goal.margin(logits) > 0).all()
    for _ in range(600):
        logits = logits.detach().requires_grad_()
        temperature = torch.full((20,), 0.3)
        value = {
            "margin": lambda z: goal.margin(z),
            "smooth": lambda z: soft_maximum(goal.gaps(z), temperature),  # noqa: B023 used in this turn of the loop
            "cross_entropy": lambda z: goal.cross_entropy(z),
        }[loss](logits)
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        logits = logits - 0.1 * gradient / gradient.norm(dim=1, keepdim=True)
    assert (goal.margin(logits) < 0).all()


# --- met ---


@each_kind
def test_met_is_a_hair_stricter_than_the_margin(kind):
    goal = build(kind, torch.tensor([[0, 1, 2, 3]]), k=1)
    winner, loser = (0, 1) if kind in WANTING else (1, 0)
    for ahead, expected in [(0.5 * SLACK, False), (1.5 * SLACK, True)]:
        logits = torch.tensor([[-50.0] * 4], dtype=torch.float64)
        logits[0, winner], logits[0, loser] = 100.0, 100.0 - 100 * ahead
        assert goal.margin(logits).item() < 0
        assert met(goal, logits).tolist() == [expected]


def test_met_keeps_no_graph():
    logits = torch.tensor([[1.0, 2.0]], requires_grad=True)
    assert not met(Untargeted(torch.tensor([0])), logits).requires_grad


# --- parts of a batch ---


@each_kind
@pytest.mark.parametrize(
    "index",
    [
        torch.tensor([True, False, True, False]),
        torch.tensor([3, 1]),
        torch.tensor([2, 2, 0, 2]),
        torch.tensor([], dtype=torch.int64),
        torch.tensor([False] * 4),
    ],
    ids=["mask", "positions", "repeated", "none", "mask of none"],
)
def test_select_gives_the_goal_of_some_images(kind, index):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 6, generator=generator)
    classes = torch.rand(4, 6, generator=generator).argsort(dim=1)
    goal = build(kind, classes, k=2, ids=torch.tensor([70, 71, 72, 73]))
    part = goal.select(index)
    assert type(part) is type(goal)
    assert part.ids.tolist() == goal.ids[index].tolist()
    assert torch.equal(part.margin(logits[index]), goal.margin(logits)[index])
    assert torch.equal(part.cross_entropy(logits[index]), goal.cross_entropy(logits)[index])
    part.check(num_classes=6)


@each_kind
def test_an_image_is_identified_by_its_place_unless_told(kind):
    classes = torch.tensor([[0, 1, 2, 3]] * 3)
    assert build(kind, classes, k=2).ids.tolist() == [0, 1, 2]
    assert build(kind, classes, k=2).select(torch.tensor([2])).ids.tolist() == [2]
    assert build(kind, classes, k=2, ids=torch.tensor([5, 9, 5])).ids.tolist() == [5, 9, 5]


def test_from_logits_takes_the_first_k_and_no_graph():
    logits = torch.tensor([[1.0, 5.0, 4.0, 3.0], [9.0, 0.0, 8.0, 1.0]], requires_grad=True)
    goal = TopKExclusion.from_logits(logits, k=2)
    assert goal.classes.tolist() == [[1, 2], [0, 2]]
    assert goal.ids.tolist() == [0, 1]
    assert (goal.margin(logits) > 0).all()
    assert TopKExclusion.from_logits(logits, k=2, ids=torch.tensor([4, 2])).ids.tolist() == [4, 2]


def test_ids_of_any_kind_of_whole_numbers_draw_the_same():
    goal = Untargeted(torch.tensor([0, 1]), ids=torch.tensor([3, 300], dtype=torch.int32))
    assert (goal.ids.dtype, goal.ids.tolist()) == (torch.int64, [3, 300])


# --- what makes no sense ---


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: Untargeted(torch.tensor([0.0])), r"expected labels as an int64 tensor with 1 dim.*got torch.float32"),
        (lambda: Untargeted(torch.tensor([0], dtype=torch.int32)), r"expected labels as an int64 .*got torch.int32"),
        (lambda: Untargeted(torch.tensor(0)), r"expected labels .* 1 dim.* shape \(\)"),
        (lambda: Targeted(torch.tensor([[0]])), r"expected targets .* 1 dim.* shape \(1, 1\)"),
        (lambda: LabelOutOfTopK(torch.tensor([[0]]), k=1), r"expected labels .* shape \(1, 1\)"),
        (lambda: LabelOutOfTopK(torch.tensor([0]), k=0), r"expected k >= 1, got 0"),
        (lambda: LabelOutOfTopK(torch.tensor([0]), k=2.0), r"expected k to be a whole number, got 2.0"),
        (lambda: TopKExclusion(torch.tensor([0])), r"expected classes .* 2 dim.* shape \(1,\)"),
        (lambda: TopKExclusion(torch.zeros(3, 0, dtype=torch.int64)), r"expected classes .* shape \(3, 0\)"),
        (lambda: OrderedTopK(torch.tensor([0])), r"expected targets .* 2 dim.* shape \(1,\)"),
        (lambda: OrderedTopK(torch.zeros(3, 0, dtype=torch.int64)), r"expected targets .* shape \(3, 0\)"),
        (lambda: OrderedTopK(torch.tensor([[0, 1], [2, 2]])), r"expected different targets in each row"),
        (lambda: OrderedTopK(torch.tensor([[2, 0, 2]])), r"expected different targets in each row"),
        (lambda: Untargeted(torch.tensor([0]), ids=torch.tensor([0, 1])), r"expected 1 ids, got shape \(2,\)"),
        (
            lambda: Untargeted(torch.tensor([0]), ids=torch.tensor([7.0])),
            r"expected ids as an int64 .*torch.float32",
        ),
        (lambda: TopKExclusion.from_logits(torch.zeros(1, 5), k=2.0), r"expected k to be a whole number, got 2.0"),
        (lambda: TopKExclusion.from_logits(torch.zeros(1, 5), k=0), r"expected 1 <= k <= 2 \(half of the.*got 0"),
        (lambda: TopKExclusion.from_logits(torch.zeros(1, 5), k=3), r"expected 1 <= k <= 2 \(half of the.*got 3"),
    ],
)
def test_refuses_bad_goals_at_once(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()


@pytest.mark.parametrize(
    ("goal", "num_classes", "message"),
    [
        (Untargeted(torch.tensor([0, 5])), 5, r"expected labels from 0 to 4, got 0 to 5"),
        (Untargeted(torch.tensor([-1, 2])), 5, r"expected labels from 0 to 4, got -1 to 2"),
        (Targeted(torch.tensor([3])), 3, r"expected targets from 0 to 2, got 3 to 3"),
        (TopKExclusion(torch.tensor([[0, 6]])), 6, r"expected classes from 0 to 5, got 0 to 6"),
        (TopKExclusion(torch.tensor([[0, 1]])), 3, r"expected k <= 1 \(half of 3 classes\), got 2"),
        (LabelOutOfTopK(torch.tensor([4]), 1), 4, r"expected labels from 0 to 3, got 4 to 4"),
        (LabelOutOfTopK(torch.tensor([1]), 4), 4, r"expected k <= 3 for 4 classes, got 4"),
        (OrderedTopK(torch.tensor([[1, 4]])), 4, r"expected targets from 0 to 3, got 1 to 4"),
        (OrderedTopK(torch.tensor([[1, 0]])), 2, r"expected at most 1 targets for 2 classes, got 2"),
    ],
)
def test_check_refuses_what_the_model_cannot_do(goal, num_classes, message):
    with pytest.raises(ValueError, match=message):
        goal.check(num_classes)


@each_kind
@given(data=st.data())
def test_check_accepts_whatever_has_a_margin(kind, data):
    logits, classes, k = data.draw(situations(kind))
    goal = build(kind, classes, k)
    goal.check(logits.shape[1])
    assert goal.margin(logits).isfinite().all()


# --- what attacks ask ---


@each_kind
def test_a_goal_says_which_classes_fall_or_which_come_first(kind):
    goal = build(kind, torch.tensor([[2, 0, 1, 3, 4, 5]]), k=2)
    assert (goal.exclusion is None) == (kind in WANTING)
    assert (goal.order is None) == (kind not in WANTING)
    named = goal.order if goal.exclusion is None else goal.exclusion.classes
    assert named.tolist() in ([[2]], [[2, 0]])
    assert GOALS[kind] is type(goal)


def test_a_goal_derived_from_another_is_not_known_by_its_name():
    class Sure(Untargeted):
        pass

    assert (Sure(torch.tensor([0])).name, Untargeted.name) == ("", "untargeted")


def test_no_attack_asks_for_the_class_of_a_goal_or_a_norm():
    asks = re.compile(r"(isinstance|type)\((\w+\.)*(goal|aim|norm)\b(?!\)\.__name__)|match (\w+\.)*(goal|aim|norm)\b")
    folder = Path(str(files("attacks")))
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.py") if asks.search(path.read_text("utf-8"))}
    # The first checks what a person gave, the second looks at layers of a network.
    assert found <= {"queries/inputs.py", "speed/folding.py"}

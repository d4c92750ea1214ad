"""One attack on one batch: metered, rounded, judged; and goals as a person writes them, bound to a model's classes."""

from dataclasses import replace

import fakes
import pytest
import torch

from advbench.config.goals import GoalSpec, parse_goal
from advbench.datasets.images.ids import content_ids
from advbench.errors import UserError
from advbench.evaluation.evaluate import evaluate, evaluate_quickly
from advbench.evaluation.goals import goal_maker
from attacks import (
    ATTACKS,
    FMN,
    L0,
    L2,
    NORMS,
    PGD,
    LabelOutOfTopK,
    Linf,
    OrderedTopK,
    Targeted,
    TopK,
    TopKExclusion,
    Untargeted,
)

MODEL = fakes.classifier()


def exclusion(x, k=7):
    return TopKExclusion.from_logits(MODEL(x), k, content_ids(x))


def evaluated(attack, x, eps=2 / 255, model=MODEL, seed=0):
    return evaluate(model, attack, x, exclusion(x), eps=eps, seed=seed)


@pytest.fixture(scope="module")
def attacked():
    """The default attack on four images."""
    return evaluated(TopK(), fakes.images(4))


def test_what_is_reported_can_be_measured_again(attacked):
    x, result = fakes.images(4), attacked
    goal = exclusion(x)
    assert result.verdicts.met.all()
    assert result.verdicts.met_8bit.all()
    assert torch.equal(result.verdicts.met, goal.margin(MODEL(result.x_adv)) < 0)
    assert torch.equal(result.verdicts.sizes["linf"], (result.x_adv - x).abs().flatten(1).amax(1))
    assert (result.verdicts.sizes["linf"] <= 2 / 255).all()


def test_the_8bit_images_are_8bit_and_do_the_job(attacked):
    x, levels = fakes.images(4), attacked.x_8bit * 255
    assert torch.equal(levels.round() / 255, levels / 255)
    assert ((levels - x * 255).abs().flatten(1).amax(1).round() <= 2).all()
    assert (exclusion(x).margin(MODEL(levels.round() / 255)) < 0).all()


def test_surviving_means_the_same_with_and_without_a_search_for_8_bits():
    x, attack = fakes.images(8), FMN(steps=300)
    goal = exclusion(x)
    searched = evaluate(MODEL, attack, x, goal, eps=None, seed=0)
    quick = evaluate_quickly(MODEL, attack, x, MODEL(x), goal, eps=None, seed=0)
    rounded = (searched.x_adv * 255).round() / 255
    held = goal.margin(MODEL(rounded)) < 0
    assert searched.verdicts.met.all()
    assert 0 < held.sum() < 8, "else this shows nothing"
    for result in (searched, quick):
        assert torch.equal(result.verdicts.survives_8bit, held)
    assert torch.equal(quick.x_8bit, rounded)
    assert searched.verdicts.met_8bit.all(), "a search finds more"


def test_rounding_and_judging_cost_the_attack_nothing():
    x, counting = fakes.images(4), fakes.Counting(MODEL)
    result = evaluate(counting, TopK(steps=9), x, exclusion(x), eps=2 / 255, seed=0)
    assert result.forwards.tolist() == [11] * 4
    assert result.backwards.tolist() == [9] * 4
    assert counting.forward_rows > 44
    assert result.seconds > 0


def test_each_forward_pass_is_told():
    x, told = fakes.images(2), []
    evaluate(MODEL, TopK(steps=5), x, exclusion(x), eps=None, seed=0, on_pass=lambda: told.append(1))
    assert len(told) == 7


@pytest.mark.parametrize("name", ["noise", "fgsm", "pgd", "apgd", "ddn", "topk"])
def test_a_seed_decides_and_the_batch_does_not(name):
    # in double precision, because sums of another batch size are rounded otherwise and every step builds on the last
    model, x = fakes.classifier().double(), fakes.images(3).double()
    attack = fakes.quick(name, ATTACKS[name].norms[0])
    goal = Untargeted(model(x).argmax(1), ids=content_ids(x))

    def attacked(rows):
        return evaluate(model, attack, x[rows], goal.select(rows), eps=0.05, seed=5)

    together = attacked(torch.arange(3))
    assert torch.equal(together.x_adv, attacked(torch.arange(3)).x_adv)
    for rows in (torch.tensor([2, 0]), torch.tensor([1])):
        apart = attacked(rows)
        torch.testing.assert_close(apart.x_adv, together.x_adv[rows], rtol=0, atol=1e-9)
        torch.testing.assert_close(apart.x_8bit, together.x_8bit[rows], rtol=0, atol=1e-9)
        assert torch.equal(apart.verdicts.met, together.verdicts.met[rows])
        assert torch.equal(apart.forwards, together.forwards[rows])


def test_another_seed_gives_another_result():
    x, attack = fakes.images(4), PGD(steps=2)
    assert not torch.equal(evaluated(attack, x, 1 / 255).x_adv, evaluated(attack, x, 1 / 255, seed=1).x_adv)


@pytest.mark.parametrize("cheat", [fakes.OutOfBox, fakes.OverBudget, fakes.NotANumber])
@pytest.mark.parametrize("norm", [Linf(), L2(), L0()])
def test_cheats_are_found_out(cheat, norm):
    x = fakes.images(4)
    result = evaluated(cheat(norm=norm), x, eps=5.0 if norm == L0() else 2 / 255)
    assert not result.verdicts.valid.any()
    assert not result.verdicts.met.any()


@pytest.mark.parametrize("cheat", [fakes.WrongShape, fakes.WrongDtype, fakes.NoTensor])
def test_what_is_no_batch_of_candidates_is_refused_before_any_other_work(cheat):
    counting, x = fakes.Counting(MODEL), fakes.images(4)
    with pytest.raises(ValueError, match=r"expected candidates torch\.float32 \(4, 3, 32, 32\) on cpu from the attack"):
        evaluated(cheat(), x, model=counting)
    assert counting.calls == 1


def test_an_attack_that_does_nothing_meets_no_goal():
    result = evaluated(fakes.Fake(), fakes.images(4))
    assert result.verdicts.valid.all()
    assert not result.verdicts.met.any()
    assert result.verdicts.sizes["linf"].tolist() == [0] * 4


def test_an_attack_cannot_move_the_point_it_is_measured_from():
    x = fakes.images(4)
    kept = x.clone()
    result = evaluated(fakes.MovesOriginals(), x)
    assert torch.equal(x, kept)
    assert not result.verdicts.valid.any()
    assert (result.verdicts.sizes["linf"] > 10 / 255).all()


def test_candidates_come_without_their_graph():
    result = evaluated(fakes.KeepsGraph(), fakes.images(4))
    assert not result.x_adv.requires_grad
    assert not result.x_8bit.requires_grad


@pytest.mark.parametrize(
    ("name", "message"), [("probabilities", "got probabilities"), ("not_finite", "expected finite logits, got NaN")]
)
def test_a_model_that_gives_no_logits_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        evaluated(TopK(), fakes.images(4), model=fakes.classifier(name))


def test_a_model_that_cannot_be_moved_is_not_fooled():
    model, x = fakes.classifier("constant"), fakes.images(4)
    goal = TopKExclusion.from_logits(model(x), 7, content_ids(x))
    result = evaluate(model, TopK(steps=20), x, goal, eps=2 / 255, seed=0)
    assert result.verdicts.valid.all()
    assert not result.verdicts.met.any()
    assert not result.verdicts.survives_8bit.any()
    assert not result.verdicts.met_8bit.any()


def test_a_model_that_wavers_breaks_nothing():
    torch.manual_seed(0)
    result = evaluated(TopK(steps=20), fakes.images(4), model=fakes.classifier("randomised"))
    assert result.verdicts.valid.all()


@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
def test_an_image_that_meets_the_goal_already_is_left_alone(norm):
    x = fakes.images(4)
    goal = Targeted(MODEL(x).argmax(1), ids=content_ids(x))
    result = evaluate(MODEL, TopK(norm=norm()), x, goal, eps=None, seed=0)
    assert torch.equal(result.x_adv, x)
    assert torch.equal(result.x_8bit, x)
    assert result.verdicts.met.all()
    assert result.verdicts.survives_8bit.all()
    assert not any(sizes.any() for sizes in (*result.verdicts.sizes.values(), result.verdicts.size_8bit))
    assert result.forwards.tolist() == [1] * 4


def made(text, x):
    return goal_maker(parse_goal(text), MODEL)(MODEL(x), content_ids(x))


def test_goals_start_from_the_clean_answer():
    x = fakes.images(4)
    first, order = MODEL(x).argmax(1), MODEL(x).topk(7).indices
    ids = content_ids(x)
    untargeted, label, exclusion_ = (
        made(text, x) for text in ("untargeted", "label-out-of-topk:5", "topk-exclusion:7")
    )
    assert isinstance(untargeted, Untargeted)
    assert torch.equal(untargeted.labels, first)
    assert isinstance(label, LabelOutOfTopK)
    assert torch.equal(label.labels, first)
    assert label.k == 5
    assert isinstance(exclusion_, TopKExclusion)
    assert torch.equal(exclusion_.classes, order)
    assert all(torch.equal(goal.ids, ids) for goal in (untargeted, label, exclusion_))


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("targeted:tiger", [0]),
        ("targeted:Brain Coral", [3]),
        ("targeted:12", [12]),
        ("targeted:=HYPERLINK()", [5]),
        ("ordered-topk:tiger shark,0,class 19", [2, 0, 19]),
        ("ordered-topk:[red]x[/red],$x^2$", [6, 7]),
    ],
)
def test_classes_are_found_by_name_or_index(text, indices):
    x = fakes.images(2)
    goal = made(text, x)
    wanted = goal.targets if isinstance(goal, Targeted) else goal.targets[0]
    assert isinstance(goal, Targeted if text.startswith("targeted") else OrderedTopK)
    assert wanted.reshape(-1)[: len(indices)].tolist() == indices[: wanted.numel()]
    assert torch.equal(goal.ids, content_ids(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("targeted:tigre", r"tiny has no class 'tigre'\ndid you mean tiger \(0\)"),
        ("targeted:20", r"no class '20'\n.*index from 0 to 19"),
        ("ordered-topk:tiger,sharp", r"no class 'sharp'"),
        ("targeted:shark", r"did you mean tiger shark \(2\)"),
        ("ordered-topk:tiger,0", "names the same class twice"),
        ("topk-exclusion:11", r"goal 'topk-exclusion:11': k is at most 10 for the 20 classes of tiny"),
        ("topk-exclusion:999999999", "k is at most 10"),
        ("label-out-of-topk:20", "k is at most 19 for the 20 classes of tiny"),
        (f"ordered-topk:{','.join(map(str, range(20)))}", "k is at most 19"),
    ],
)
def test_a_goal_that_the_model_cannot_have_is_refused_before_any_pass(text, message):
    with pytest.raises(UserError, match=message):
        goal_maker(parse_goal(text), MODEL)


@pytest.mark.parametrize(
    "spec", ["topk-exclusion:10", "label-out-of-topk:19", f"ordered-topk:{','.join(map(str, range(19)))}"]
)
def test_the_largest_k_is_allowed(spec):
    x = fakes.images(2)
    made(spec, x).check(20)


@pytest.mark.parametrize("kind", ["untargeted", "targeted", "label-out-of-topk", "topk-exclusion", "ordered-topk"])
def test_two_classes_are_enough_for_every_goal(kind):
    model = fakes.few_classes(2)
    x = fakes.images(2)
    other = tuple({"0", "1"} - {str(int(model(x[:1]).argmax()))})
    spec = replace(GoalSpec(kind), classes=other if kind in ("targeted", "ordered-topk") else ())
    goal = goal_maker(spec, model)(model(x), content_ids(x))
    result = evaluate(model, TopK(steps=40), x, goal, eps=None, seed=0)
    assert result.verdicts.met.all()
    assert (result.verdicts.flipped[0], bool(result.verdicts.valid.all())) == (True, True)

"""The judge measures and is not talked into anything: known models, known distances, and attacks that cheat."""

import fakes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from advbench.evaluation.evaluate import evaluate_quickly
from advbench.evaluation.judge import Verdicts, check_candidates, judge
from advbench.records.record import EPS_ABSOLUTE, EPS_RELATIVE
from attacks import L0, L1, L2, NORMS, Linf, Noise, Targeted, TopKExclusion, Untargeted
from attacks.queries.randomness import LOOKS


def identity(x):
    return x.flatten(1)


FIRST = Untargeted(torch.tensor([0]))
X = torch.tensor([[0.6, 0.4, 0.0]])


def judged(x_adv, *, goal=FIRST, norm=None, eps=None, x=X, x_8bit=None):
    return judge(identity, x, torch.as_tensor(x_adv), goal, norm or Linf(), eps, x_8bit)


unit = st.floats(0, 1, width=32)


@given(arrays(np.float32, (2, 3, 2, 2), elements=unit), arrays(np.float32, (2, 3, 2, 2), elements=unit))
def test_sizes_are_those_of_numpy(x, x_adv):
    goal = Untargeted(torch.tensor([0, 0]))
    verdicts = judge(identity, torch.tensor(x), torch.tensor(x_adv), goal, Linf(), None)
    delta = (x_adv - x).reshape(2, -1).astype(np.float64)
    expected = {
        "l0": (delta != 0).sum(1),
        "l1": np.abs(delta).sum(1),
        "l2": np.sqrt((delta**2).sum(1)),
        "linf": np.abs(delta).max(1),
    }
    for name, sizes in expected.items():
        np.testing.assert_allclose(verdicts.sizes[name].numpy(), sizes, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize(
    ("x_adv", "valid", "met"),
    [
        ([[0.4, 0.6, 0.0]], True, True),
        ([[0.6, 0.4, 0.0]], True, False),
        ([[0.5, 0.5, 0.0]], True, False),  # a tie is not met
        ([[0.4, 0.7, 0.0]], False, False),  # beyond eps
        ([[0.4, 0.6, -0.1]], False, False),
        ([[0.4, 0.6, -1e-7]], False, False),
        ([[0.4, torch.nan, 0.0]], False, False),
        ([[0.4, 0.6, torch.nan]], False, False),
        ([[0.4, torch.inf, 0.0]], False, False),
        ([[0.4, 0.6, -torch.inf]], False, False),
    ],
)
def test_only_a_valid_candidate_meets_the_goal(x_adv, valid, met):
    verdicts = judged(x_adv, eps=0.2)
    assert (bool(verdicts.valid), bool(verdicts.met)) == (valid, met)


@pytest.mark.parametrize("top", [1.0 + 1e-6, 1.5, torch.inf])
def test_the_box_ends_at_one_also_without_a_bound(top):
    verdicts = judged([[0.6, top, 0.0]])
    assert not verdicts.valid
    assert not verdicts.met
    assert judged([[0.6, 1.0, 0.0]]).met


@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
@pytest.mark.parametrize(("excess", "valid"), [(0, True), (0.5, True), (1.5, False), (1000, False)])
def test_a_rounding_error_is_forgiven_and_no_more(norm, excess, valid):
    eps = 1.0 if norm is L0 else 0.25
    size = eps * (1 + excess * EPS_RELATIVE) + excess * EPS_ABSOLUTE
    x = torch.zeros(1, 4, dtype=torch.float64)
    x_adv = x.clone()
    if norm is L0:
        x_adv[0, : 1 + (not valid)] = 0.5
    else:
        x_adv[0, 1] = 1
        x_adv *= size / norm().measure(x_adv)
    assert bool(judged(x_adv, x=x, norm=norm(), eps=eps).valid) is valid


@pytest.mark.parametrize("eps", [2 / 255, 8 / 255, 0.3])
def test_float32_clipping_to_eps_is_honest(eps):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (50, 1000), generator=generator) / 255
    x_adv = (x + eps * torch.randn(x.shape, generator=generator).sign()).clamp(0, 1)
    verdicts = judge(identity, x, x_adv, Untargeted(torch.zeros(50, dtype=torch.int64)), Linf(), eps)
    assert verdicts.valid.all()
    assert (verdicts.sizes["linf"] > eps).any(), "nothing was rounded up: this shows nothing"


def test_flipped_is_not_met():
    goal = Targeted(torch.tensor([2]))
    verdicts = judged([[0.4, 0.6, 0.0]], goal=goal)
    assert verdicts.flipped
    assert not verdicts.met
    verdicts = judged([[0.4, 0.6, 0.0]], eps=0.1)
    assert verdicts.flipped
    assert not verdicts.valid


def test_topk_exclusion_asks_for_all_k():
    x = torch.tensor([[0.9, 0.8, 0.5, 0.4]])
    goal = TopKExclusion.from_logits(x, k=2)
    half, whole = torch.tensor([[0.3, 0.8, 0.5, 0.4]]), torch.tensor([[0.3, 0.2, 0.5, 0.4]])
    assert not judge(identity, x, half, goal, Linf(), None).met
    assert judge(identity, x, whole, goal, Linf(), None).met


def test_a_clean_image_that_meets_the_goal_needs_no_change():
    verdicts = judged(X, goal=Targeted(torch.tensor([0])), eps=0.1)
    assert verdicts.met
    assert [float(size) for size in verdicts.sizes.values()] == [0, 0, 0, 0]


def test_without_an_8bit_image_the_nearest_levels_count():
    x = torch.tensor([[100.0, 99.0]]) / 255
    near = torch.tensor([[99.4, 99.45]]) / 255
    verdicts = judge(identity, x, near, FIRST, Linf(), None)
    assert verdicts.met
    assert not verdicts.survives_8bit  # 99 and 99: a tie
    assert verdicts.size_8bit * 255 == pytest.approx(1)


@pytest.mark.parametrize(
    ("levels", "survives"), [([99.0, 100.0], True), ([100.0, 99.0], False), ([98.0, 101.0], False)]
)
def test_the_8bit_image_is_judged_on_its_own(levels, survives):
    x, x_8bit = torch.tensor([[100.0, 99.0]]) / 255, torch.tensor([levels]) / 255
    verdicts = judge(identity, x, x, FIRST, Linf(), 1 / 255, x_8bit)
    assert bool(verdicts.met_8bit) is survives
    assert not verdicts.met
    assert not verdicts.survives_8bit, "what is not met does not survive"


@pytest.mark.parametrize(
    ("near", "eps", "survives"),
    [
        ([99.0, 100.0], 1.0, True),
        ([99.2, 99.8], 1.0, True),
        ([99.2, 99.8], 0.9, False),  # met, but rounded it leaves the ball
        ([99.6, 99.8], 1.0, False),  # both round to 100
        ([99.4, 99.45], 1.0, False),
    ],
)
@pytest.mark.parametrize("kept", [None, [99.0, 100.0], [100.0, 99.0]], ids=str)
def test_to_survive_is_to_be_rounded_to_the_nearest_levels_whatever_is_kept(near, eps, survives, kept):
    x, near = torch.tensor([[100.0, 99.0]]) / 255, torch.tensor([near]) / 255
    x_8bit = None if kept is None else torch.tensor([kept]) / 255
    verdicts = judge(identity, x, near, FIRST, Linf(), eps / 255, x_8bit)
    assert verdicts.met
    assert bool(verdicts.survives_8bit) is survives
    if kept is None:
        assert bool(verdicts.met_8bit) is survives


@pytest.mark.parametrize(("norm", "size"), [(Linf(), 3), (L1(), 5), (L2(), 13**0.5), (L0(), 2 * 255)])
def test_the_8bit_images_size_is_in_the_norm_of_eps(norm, size):
    x, x_8bit = torch.tensor([[100.0, 99.0]]) / 255, torch.tensor([[97.0, 101.0]]) / 255
    verdicts = judge(identity, x, x, FIRST, norm, None, x_8bit)
    assert verdicts.size_8bit * 255 == pytest.approx(size, rel=1e-5)


@pytest.mark.parametrize(
    ("x_adv", "got"),
    [
        (torch.zeros(1, 2), r"torch\.float32 \(1, 2\)"),
        (torch.zeros(2, 3), r"torch\.float32 \(2, 3\)"),
        (torch.zeros(1, 3).double(), r"torch\.float64 \(1, 3\)"),
        (torch.zeros(1, 3).half(), r"torch\.float16 \(1, 3\)"),
        (torch.zeros(1, 3, device="meta"), "on meta"),
        (np.zeros((1, 3), np.float32), "ndarray"),
        ((X, X), "tuple"),
        (None, "NoneType"),
    ],
)
def test_no_batch_of_candidates_is_a_broken_attack(x_adv, got):
    with pytest.raises(
        ValueError, match=rf"expected candidates torch\.float32 \(1, 3\) on cpu from the attack, got .*{got}"
    ):
        judge(identity, X, x_adv, FIRST, Linf(), None)
    with pytest.raises(ValueError, match="expected candidates"):
        check_candidates(X, x_adv)


def test_asks_the_model_itself_and_leaves_no_graph():
    model = fakes.Counting(fakes.classifier())
    x = torch.rand(3, 3, fakes.SIZE, fakes.SIZE)
    verdicts = judge(model, x, x, Untargeted(torch.tensor([0, 1, 2])), Linf(), None)
    assert model.forward_rows == 3 + 3 + 1 + LOOKS + 3  # clean, candidates, looks at one of them, nearest levels
    *others, sizes = verdicts
    assert not any(tensor.requires_grad for tensor in (*others, *sizes.values()))
    assert all(len(tensor) == 3 for tensor in (*others, *sizes.values()))


def test_a_wavering_model_is_judged_by_the_answer_it_gives_the_judge():
    torch.manual_seed(0)
    model, x = fakes.classifier("randomised"), torch.rand(8, 3, fakes.SIZE, fakes.SIZE)
    goal = Untargeted(model(x).argmax(1))
    verdicts = judge(model, x, x, goal, Linf(), None)
    assert torch.equal(verdicts.met, goal.margin(verdicts.adv_logits) < 0)


def test_verdicts_have_a_row_for_each_image():
    assert Verdicts._fields[:2] == ("clean_logits", "adv_logits")
    x = torch.rand(4, 3)
    verdicts = judge(identity, x, x, Untargeted(torch.arange(4) % 3), Linf(), None)
    *others, sizes = verdicts[2:]
    assert {tensor.shape for tensor in (*others, *sizes.values())} == {(4,)}


@pytest.mark.parametrize("norm", [Linf(), L1()])
def test_sizes_are_the_same_however_few_images_are_measured_at_a_time(norm, monkeypatch):
    x, model = torch.rand(7, 3, 5, 5), nn.Sequential(nn.Flatten(), nn.Linear(75, 4))
    x_adv, goal = torch.rand_like(x), Untargeted(model(x).argmax(1))
    whole = judge(model, x, x_adv, goal, norm, eps=30.0)
    monkeypatch.setattr("advbench.evaluation.judge._CACHED", 1)
    single = judge(model, x, x_adv, goal, norm, eps=30.0)
    assert all(torch.equal(a, b) for a, b in zip(whole[:-1], single[:-1], strict=True))
    assert all(torch.equal(whole.sizes[name], single.sizes[name]) for name in ("l0", "l1", "l2", "linf"))


def test_nothing_more_is_asked_about_images_that_are_not_fooled():
    asked = []

    def model(x):
        asked.append(len(x))
        return x

    x = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3]])
    x_adv = torch.tensor([[0.4, 0.6], [0.8, 0.2], [0.7, 0.3]])
    assert judge(model, x, x_adv, Untargeted(torch.tensor([0, 0, 0])), Linf(), eps=0.5).met.tolist() == [1, 0, 0]
    # one candidate again, to see whether the model is random, and one rounded to 8 bits
    assert asked == [3, 3, *[1] * (1 + LOOKS), 1]


def test_a_random_model_is_judged_by_many_passes():
    def model(x):
        return x + torch.tensor([[0.0, 0.1]]) * (torch.rand(len(x), 1) - 0.5)

    x = torch.tensor([[0.9, 0.1]]).repeat(3, 1)
    x_adv = torch.tensor([[0.4, 0.6], [0.5, 0.5], [0.6, 0.4]])
    torch.manual_seed(0)
    verdicts = judge(model, x, x_adv, Untargeted(torch.tensor([0, 0, 0])), Linf(), eps=0.6)
    assert verdicts.judge_draws.tolist() == [20] * 3
    assert verdicts.met_share[[0, 2]].tolist() == [1.0, 0.0]
    assert 0.2 < float(verdicts.met_share[1]) < 0.8
    assert torch.equal(verdicts.met, verdicts.met_share >= 0.5)
    assert torch.equal(verdicts.met, verdicts.adv_logits.argmax(1) == 1), "the recorded answers show the verdict"


def test_a_model_that_is_not_random_is_judged_once():
    verdicts = judged([[0.4, 0.6, 0.0]])
    assert (verdicts.judge_draws.tolist(), verdicts.met_share.tolist()) == ([1], [1.0])


def test_a_model_that_was_steady_is_looked_at_once_the_next_time():
    model = fakes.Counting(fakes.classifier())
    x, goal = torch.rand(3, 3, fakes.SIZE, fakes.SIZE), Untargeted(torch.tensor([0, 1, 2]))
    passes = []
    for _ in range(3):
        before = model.forward_rows
        judge(model, x, x, goal, Linf(), None)
        passes.append(model.forward_rows - before)
    assert passes == [passes[1] + LOOKS, passes[1], passes[1]]


@pytest.mark.parametrize("images", [1, 3])
def test_answers_that_are_remembered_do_not_hide_that_a_model_is_random(images):
    x = torch.full((images, 4), 0.5)
    model = lambda x: x[:, :2] + torch.tensor([0.3, 0]) + torch.randn(len(x), 2)  # noqa: E731
    goal = Untargeted(torch.zeros(images, dtype=torch.int64))
    torch.manual_seed(0)
    found = evaluate_quickly(model, Noise(draws=1), x, model(x), goal, eps=0.1, seed=0).verdicts
    assert found.judge_draws.tolist() == [20] * images
    assert ((found.met_share > 0) & (found.met_share < 1)).all()

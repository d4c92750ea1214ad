"""Where decision-based attacks begin: what they draw, what they are given, what they say where they find none."""

import pytest
import torch
from oracles import Constant, assert_unmixed, images, linear

from attacks import (
    DDN,
    L2,
    NORMS,
    AttackError,
    HopSkipJump,
    Targeted,
    Untargeted,
    capped,
    foolbox,
    restarts,
    worst_case,
)
from attacks.cap import Capped
from attacks.searches.patterns import pattern
from attacks.searches.starts import find_starts, needs_start, takes_starts, with_starts

KINDS = 8
NEVER = Constant(torch.tensor([2.0, 0.0]))
"""A model that nothing moves."""


KEY = (torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(4)) > 0.5).float()
"""An image that nobody would draw."""


class Locked:
    """Images like the key are of class 1; so an attack can start from given ones alone."""

    def __init__(self, within=0.2):
        self.within, self.asked = within, 0

    def __call__(self, x):
        self.asked += len(x)
        margin = self.within - (x - KEY).flatten(1).abs().mean(1)
        return 9 * torch.stack([-margin, margin], 1)


def bright(x):
    """Bright images are of class 1."""
    margin = x.flatten(1).mean(1) - 0.85
    return 9 * torch.stack([-margin, margin], 1)


def dim(count):
    return images(count, (3, 6, 6), low=0.2, high=0.4).float(), Untargeted(torch.zeros(count, dtype=torch.int64))


def hop(**options):
    return HopSkipJump(steps=2, directions=10, **options)


# --- nothing to start from is nothing known ---


def test_an_image_without_a_start_is_reported_and_the_others_are_attacked():
    model, x = linear(num_classes=3, seed=1), images(3, (12,), seed=1)
    second = model(x).argsort(dim=1, descending=True)[:, 1].tolist()

    def with_a_class_that_never_wins(x):
        logits = model(x)
        return torch.cat([logits, logits.amin(1, keepdim=True) - 1], 1)

    goal = Targeted(torch.tensor([second[0], 3, second[2]]))
    with pytest.raises(
        AttackError, match=r"1 of 3 images: no start: none of 100 drawn images meets the goal"
    ) as caught:
        HopSkipJump(steps=3)(with_a_class_that_never_wins, x, goal)
    assert list(caught.value.errors) == [1]
    met = goal.margin(with_a_class_that_never_wins(caught.value.x_adv)) < 0
    assert met.tolist() == [True, False, True]
    assert torch.equal(caught.value.x_adv[1], x[1])


def test_rows_of_the_report_are_those_of_the_whole_batch():
    x, goal = dim(3)
    x[0] = KEY[0]
    with pytest.raises(AttackError) as caught:
        hop(start_draws=2)(Locked(), x, goal)
    assert list(caught.value.errors) == [1, 2]


def test_no_more_is_asked_for_a_start_than_is_said():
    x, goal = dim(2)
    model = Locked(within=-1.0)
    with pytest.raises(AttackError, match="none of 5 given and 7 drawn images"):
        hop(start_draws=7, starts=images(5, (3, 6, 6)).float())(model, x, goal)
    assert model.asked == 2 * (1 + 5 + 7)


@pytest.mark.parametrize("wrap", [lambda attack: capped(attack, 5000), lambda attack: restarts(attack, 2)])
def test_attacks_made_of_it_report_it_too(wrap):
    x, goal = dim(2)
    with pytest.raises(AttackError, match="no start") as caught:
        wrap(hop(start_draws=3))(NEVER, x, goal)
    assert list(caught.value.errors) == [0, 1]


@pytest.mark.parametrize("name", ["hop-skip-jump", "boundary", "pointwise"])
def test_an_attack_of_foolbox_that_is_cut_off_before_it_has_a_start_says_so(name):
    x, goal = dim(2)
    with pytest.raises(AttackError, match="no start was found before its limit of 9 passes was reached") as caught:
        capped(foolbox.get(name), 9)(NEVER, x, goal)
    assert list(caught.value.errors) == [0, 1]


def test_cut_off_before_a_start_is_unknown_and_cut_off_after_it_is_not():
    x, goal = dim(2)
    starts, model = torch.stack([x[0], KEY[0]]), Locked()
    with pytest.raises(AttackError, match="no start was found before its limit"):
        capped(hop(), 20)(model, x, goal)
    x_adv = capped(hop(starts=starts), 20)(model, x, goal)
    assert (goal.margin(model(x_adv)) < 0).all()
    within = capped(hop(starts=starts), 20)(model, x, goal, eps=0.01)
    assert torch.equal(within, x), "it began, and found nothing that near"


def test_an_attack_with_a_gradient_that_is_cut_off_has_tried():
    x, goal = dim(2)
    assert torch.equal(capped(DDN(), 5)(Locked(), x, goal, eps=1e-6), x)


# --- given images ---


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_nearest_given_image_that_meets_the_goal_is_taken(norm):
    x, ids = torch.tensor([[0.5, 0.5], [0.1, 0.1]]), torch.arange(2)
    starts = torch.tensor([[0.9, 0.9], [0.8, 0.8], [0.6, 0.6], [0.1, 0.1]])
    asked = []

    def fools(x_adv, rows):
        asked.append((rows.tolist(), x_adv[:, 0].tolist()))
        return x_adv[:, 0] > 0.7

    start, found = find_starts(fools, NORMS[norm](), x, ids, starts=starts, seed=0, draws=0)
    assert found.all()
    assert torch.equal(start, starts[[1, 1]])
    assert [rows for rows, _ in asked] == [[0, 1], [0, 1]]
    assert asked[0][1] == pytest.approx([0.6, 0.6]), "the second image is among them and does not ask about itself"


def test_given_images_are_booked_on_the_image_that_asks():
    x, goal = dim(1)
    model, starts = Locked(), torch.stack([x[0], x[0] + 0.01, KEY[0]])
    find_starts(lambda x_adv, rows: goal.margin(model(x_adv)) < 0, L2(), x, goal.ids, starts=starts, seed=0, draws=9)
    assert model.asked == 2, "not about itself, then the nearer, then the one that fools"


def test_a_target_that_no_drawn_image_meets_is_met_with_images_of_its_class():
    x, goal = dim(3)
    goal = Targeted(torch.ones(3, dtype=torch.int64))
    model = Locked()
    x_adv = hop(starts=torch.cat([x, KEY]))(model, x, goal)
    assert (goal.margin(model(x_adv)) < 0).all()
    assert (L2().measure(x_adv - x) < L2().measure(KEY - x)).all()


@pytest.mark.parametrize("name", ["hop-skip-jump", "boundary", "pointwise"])
def test_attacks_of_foolbox_take_them_where_their_own_start_fails(name):
    x, goal = dim(2)
    model = Locked()
    settings = {"steps": 1} if name != "pointwise" else {}
    with pytest.raises(AttackError, match="NoStartError: no start: none of 100 drawn images"):
        foolbox.get(name, **settings)(model, x, goal)
    x_adv = foolbox.get(name, starts=KEY, **settings)(model, x, goal)
    assert (goal.margin(model(x_adv)) < 0).all()


def test_foolbox_draws_what_its_own_start_does_not_try():
    x, goal = dim(2)
    x_adv = foolbox.get("boundary", steps=1, init_attack="gaussian-blur")(bright, x, goal)
    assert (goal.margin(bright(x_adv)) < 0).all()


def test_starts_do_not_mix_images():
    assert_unmixed(hop(starts=images(20, (3, 8, 8), seed=9).float()))


def test_given_images_are_checked():
    x, goal = dim(1)
    with pytest.raises(ValueError, match=r"expected starts in \[0, 1\], got values from 2 to 2"):
        HopSkipJump(starts=torch.full((1, 3, 6, 6), 2.0))
    with pytest.raises(ValueError, match="expected float starts"):
        foolbox.get("boundary", starts=torch.zeros(2, 3, 6, 6, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"expected starts of the shape of the images, \(3, 6, 6\), got \(3, 5, 5\)"):
        HopSkipJump(starts=torch.zeros(1, 3, 5, 5))(Locked(), x, goal)
    with pytest.raises(ValueError, match="expected no starts for foolbox/ddn"):
        foolbox.get("ddn", starts=x)


def test_an_attack_with_starts_prints_and_compares_as_the_one_without():
    attack = HopSkipJump(starts=torch.rand(2, 3))
    assert attack == HopSkipJump()
    assert "starts" not in repr(attack)


def test_starts_reach_the_attacks_inside():
    starts = torch.rand(3, 12)
    attack = with_starts(capped(worst_case([DDN(), HopSkipJump()]), 9), starts)
    assert isinstance(attack, Capped)
    assert attack.attack.attacks == (DDN(), HopSkipJump())
    assert torch.equal(attack.attack.attacks[1].starts, starts)
    assert with_starts(plain := DDN(), starts) is plain
    assert takes_starts(attack)
    assert not needs_start(attack), "DDN begins anywhere"
    assert needs_start(restarts(foolbox.get("boundary"), 2))
    assert not takes_starts(foolbox.get("ddn"))


# --- drawn images ---


@pytest.mark.parametrize("shape", [(12,), (7, 4), (3, 6, 6), (1, 5, 9), (2, 3, 4, 4)], ids=str)
def test_drawn_images_are_images_and_belong_to_the_image(shape):
    x, ids = images(4, shape, low=0, high=1).float(), torch.tensor([3, 1, 4, 1])
    x[3] = x[1]
    for draw in range(6 * KINDS):
        drawn = pattern(5, ids, draw, x)
        assert drawn.shape == x.shape
        assert ((drawn >= 0) & (drawn <= 1)).all()
        assert torch.equal(drawn[1], drawn[3])
        assert torch.equal(pattern(5, ids[2:3], draw, x[2:3]), drawn[2:3])


def test_noise_comes_in_grains_of_several_sizes():
    ids, x = torch.arange(3), torch.zeros(3, 2, 12, 12)
    for turn, distinct in enumerate([4, 16, 64, 4]):
        assert [len(plane.unique()) for plane in pattern(0, ids, turn * KINDS, x).flatten(0, 1)] == [144] * 6
        assert [len(plane.unique()) for plane in pattern(0, ids, turn * KINDS + 1, x).flatten(0, 1)] == [distinct] * 6


def test_drawn_images_are_of_many_kinds():
    x = torch.full((1, 1, 16, 16), 0.25)
    kinds = [pattern(0, torch.tensor([1]), draw, x) for draw in range(KINDS)]
    values = [len(image.unique()) for image in kinds]
    assert values[2] == 1
    assert values[3:6] == [2, 2, 2]
    assert values[6] > 50
    assert torch.equal(kinds[7], 1 - x)
    stark = [pattern(0, torch.tensor([1]), KINDS + draw, x) for draw in range(2, 7)]
    assert all(set(image.unique().tolist()) <= {0.0, 1.0} for image in stark)


def test_a_model_that_no_noise_moves_has_a_start_all_the_same():
    def bright_in_the_middle(x):
        rim = torch.cat([x[:, :, :2].flatten(1), x[:, :, -2:].flatten(1)], 1).mean(1)
        return 9 * torch.stack([torch.full_like(rim, 0.35), x[:, :, 6:10, 6:10].flatten(1).mean(1) - rim], 1)

    x, goal = torch.full((6, 1, 16, 16), 0.2), Untargeted(torch.zeros(6, dtype=torch.int64), ids=torch.arange(6))
    assert (goal.margin(bright_in_the_middle(torch.rand(1, 1, 16, 16).expand(6, -1, -1, -1))) > 0).all()
    assert (goal.margin(bright_in_the_middle(hop()(bright_in_the_middle, x, goal))) < 0).all()

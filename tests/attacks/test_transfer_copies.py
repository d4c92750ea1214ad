"""Transfer attacks with gradients averaged over copies or neighbours, BSR, SIA, VMI, MEF, and their closed forms."""

import math

import pytest
import torch
from oracles import RowByRow, convnet, goals, images
from torch.nn import functional

from attacks import BSR, L2, MEF, MIFGSM, SIA, VMI, Linf, Untargeted
from attacks.geometry.blocks import Strips, numbers_for, proportional, shuffle_and_rotate
from attacks.sia import ACROSS, DIMMED, DOWN, MIRRORED, NOISE, NOISY, TURNED, UPSIDE_DOWN, change_blocks

CLASSES = [VMI, MEF, SIA, BSR]
each = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
FEW = {VMI: {"neighbours": 3}, MEF: {"neighbours": 3}, SIA: {"copies": 3}, BSR: {"copies": 3}}


def case(count=3, shape=(3, 8, 8)):
    model, x = convnet().double(), images(count, shape)
    return model, x, goals(model(x))["untargeted"]


def uniform_numbers(count, numbers, seed=0):
    return torch.rand(count, numbers, generator=torch.Generator().manual_seed(seed))


# --- what equals momentum alone ---


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=lambda norm: norm.name)
@pytest.mark.parametrize(
    "attack",
    [
        lambda norm: BSR(norm=norm, blocks=1, rotation=1e-30, copies=2),
        lambda norm: VMI(norm=norm, radius=1e-30, neighbours=2),
        lambda norm: MEF(norm=norm, radius=1e-30, inner_step=1e-30, decay=1.0, neighbours=2),
    ],
    ids=["BSR", "VMI", "MEF"],
)
def test_without_any_change_they_are_mifgsm(attack, norm):
    model, x, goal = case()
    plain = MIFGSM(norm=norm, relative_step=0.1)(model, x, goal, eps=0.1)
    torch.testing.assert_close(attack(norm)(model, x, goal, eps=0.1), plain)


@each
def test_with_their_changes_they_are_not(kind):
    model, x, goal = case()
    plain = MIFGSM(relative_step=0.1)(model, x, goal, eps=0.1)
    assert not torch.equal(kind(**FEW[kind])(model, x, goal, eps=0.1), plain)


def test_vmi_is_the_papers_recursion():
    model, x, goal = case(1)
    attack = VMI(steps=3, neighbours=4, radius=1.5, decay=0.7, relative_step=0.3)
    eps = torch.tensor([0.1]).double()

    def gradient(at):
        at = at.clone().requires_grad_()
        return torch.autograd.grad(goal.cross_entropy(model(at)).sum(), at)[0]

    x_adv, g, v = x, torch.zeros_like(x), torch.zeros_like(x)
    for step in range(3):
        own = gradient(x_adv)
        g = 0.7 * g + (own + v) / (own + v).abs().sum()
        # The attack draws the neighbours of a step once it is known that there is another.
        draws = range((step + 1) * 4, (step + 2) * 4)
        moves = [Linf().random(x.shape[1:], 1.5 * eps, 0, goal.ids, draw).to(x) for draw in draws]
        v = sum(gradient((x_adv + move).clamp(0, 1)) for move in moves) / 4 - own
        x_adv = (x + (x_adv - 0.03 * g.sign() - x).clamp(-0.1, 0.1)).clamp(0, 1)
    torch.testing.assert_close(attack(model, x, goal, eps=0.1), x_adv)


# --- blocks ---


def test_strips_say_where_each_place_lies():
    strips = Strips.of(torch.tensor([[0, 2, 2, 5], [0, 1, 4, 5]]), side=5)
    assert strips.strip.tolist() == [[0, 0, 2, 2, 2], [0, 1, 1, 1, 2]]
    assert strips.offset.tolist() == [[0, 1, 0, 1, 2], [0, 0, 1, 2, 0]]
    assert strips.length.tolist() == [[2, 2, 3, 3, 3], [1, 3, 3, 3, 1]]


def test_shuffled_strips_are_those_of_the_image_in_another_order():
    row = torch.arange(6)
    strips = Strips.shuffled(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 0, 1]]), side=6)
    assert (strips.start + strips.offset).tolist() == [[3, 4, 5, 0, 1, 2]]
    assert sorted((strips.start + strips.offset)[0].tolist()) == row.tolist()


def test_lengths_are_whole_and_add_up():
    lengths = proportional(1 + uniform_numbers(200, 3), side=17)
    assert (lengths.sum(1) == 17).all()
    assert lengths.min() >= 3  # no strip is more than twice as long as another
    assert lengths.max() <= 9


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 7, 12), (2, 3, 2)], ids=str)
def test_without_rotation_pixels_change_places_alone(shape):
    x = images(5, shape).float()
    moved = shuffle_and_rotate(x, uniform_numbers(5, numbers_for(2)), 2, 0.0)
    assert not torch.equal(moved, x)
    torch.testing.assert_close(moved.flatten(2).sort().values, x.flatten(2).sort().values)


def test_one_block_is_turned_as_the_whole_image():
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 7] = 1.0
    random = torch.full((1, numbers_for(1)), 0.5)
    random[0, 2] = 1.0  # the largest angle
    turned = shuffle_and_rotate(x, random, 1, 90.0)
    assert turned[0, 0].argmax() == 1 * 9 + 4  # from the right to the top: counter-clockwise
    torch.testing.assert_close(turned.sum(), torch.tensor(1.0))


def test_beyond_a_turned_block_it_is_black():
    moved = shuffle_and_rotate(torch.ones(50, 1, 20, 20), uniform_numbers(50, numbers_for(2)), 2, 24.0)
    assert 0.02 < (moved == 0).float().mean() < 0.3
    assert moved.max() <= 1 + 1e-6


def test_each_image_has_its_own_blocks():
    x = images(1, (3, 8, 8)).float().expand(2, -1, -1, -1)
    moved = shuffle_and_rotate(x, uniform_numbers(2, numbers_for(2)), 2, 24.0)
    assert not torch.equal(moved[0], moved[1])
    alone = shuffle_and_rotate(x[1:], uniform_numbers(2, numbers_for(2))[1:], 2, 24.0)
    torch.testing.assert_close(alone[0], moved[1])


# --- structure ---


def changed(kind, x, distance=0.0, dimming=0.0, noise=0.5):
    random = torch.tensor([[(kind + 0.5) / 7, distance, dimming]]).expand(len(x), 3)
    return change_blocks(x, random, torch.full_like(x, noise), blocks=1)


def test_each_change_of_a_block_is_what_it_is_called():
    x = images(2, (3, 4, 5)).float()
    assert torch.equal(changed(UPSIDE_DOWN, x), x.flip(2))
    assert torch.equal(changed(MIRRORED, x), x.flip(3))
    assert torch.equal(changed(TURNED, x), x.rot90(2, (2, 3)))
    assert torch.equal(changed(DOWN, x, distance=0.25), x.roll(-1, 2))
    assert torch.equal(changed(ACROSS, x, distance=0.4), x.roll(-2, 3))
    torch.testing.assert_close(changed(DIMMED, x, dimming=0.5), x / 2)
    torch.testing.assert_close(changed(NOISY, x, noise=1.0), (x + NOISE).clamp(0, 1))
    torch.testing.assert_close(changed(NOISY, x, noise=0.0), (x - NOISE).clamp(0, 1))


def test_blocks_keep_to_their_lines():
    x = images(1, (1, 6, 6)).float()
    # Four blocks, with lines at row 2 and column 4, of which the last is turned by half and the others stay.
    stay = (NOISY + 0.5) / 7
    kinds, nothing = [stay, stay, stay, (TURNED + 0.5) / 7], [0.0] * 4
    random = torch.tensor([[*kinds, *nothing, *nothing, 2.5 / 6, 4.5 / 6]])
    expected = x.clone()
    expected[..., 2:, 4:] = x[..., 2:, 4:].rot90(2, (2, 3))
    torch.testing.assert_close(change_blocks(x, random, torch.full_like(x, 0.5), blocks=2), expected)


# --- what all have in common ---


@each
def test_draws_belong_to_the_image_and_the_seed(kind):
    model, x = RowByRow(convnet().double()), images(1, (3, 8, 8)).repeat(3, 1, 1, 1)
    goal = Untargeted(model(x).argmax(1), ids=torch.tensor([4, 9, 4]))
    attack = kind(**FEW[kind])
    x_adv = attack(model, x, goal, eps=0.1)
    assert torch.equal(x_adv[0], x_adv[2])
    assert not torch.equal(x_adv[0], x_adv[1])
    assert not torch.equal(attack(model, x, goal, eps=0.1, seed=1), x_adv)


@each
def test_all_steps_are_made(kind):
    model, x, goal = case(4)
    x_adv = kind(**FEW[kind])(model, x, goal, eps=0.3)
    assert (goal.margin(model(x_adv)) < 0).all()
    assert (Linf().measure(x_adv - x) > 0.29).all()


@each
def test_gradients_are_taken_in_inference_mode_too(kind):
    model, x, goal = case(2)
    outside = kind(**FEW[kind])(model, x, goal, eps=0.1)
    with torch.inference_mode():
        inside = kind(**FEW[kind])(model, x.clone(), Untargeted(goal.labels.clone()), eps=0.1)
    torch.testing.assert_close(inside.clone(), outside)


@pytest.mark.parametrize("kind", [SIA, BSR])
@pytest.mark.parametrize("shape", [(12,), (3, 4), (1, 3, 2, 2)], ids=str)
def test_blocks_need_images_with_rows_and_columns(kind, shape):
    with pytest.raises(ValueError, match=rf"expected images \(N, C, H, W\) for {kind.__name__}, got shape"):
        kind()(lambda x: x.flatten(1), images(2, shape), Untargeted(torch.tensor([0, 0])), eps=0.1)


@pytest.mark.parametrize(
    ("kind", "field", "value", "rule"),
    [
        (BSR, "blocks", 0, "> 0"),
        (BSR, "copies", 2.5, "to be a whole number"),
        (BSR, "rotation", -1.0, "> 0"),
        (SIA, "blocks", -1, "> 0"),
        (VMI, "neighbours", 0, "> 0"),
        (VMI, "radius", math.nan, "> 0"),
        (MEF, "inner_step", 0.0, "> 0"),
        (MEF, "loss", "mse", "to be one of"),
    ],
)
def test_parameters_are_checked(kind, field, value, rule):
    with pytest.raises(ValueError, match=f"expected {field} of {kind.__name__} {rule}"):
        kind(**{field: value})


def test_more_blocks_than_pixels_still_work():
    model, x, goal = case(2, (3, 8, 8))
    for attack in (BSR(blocks=12, copies=2, steps=2), SIA(blocks=12, copies=2, steps=2)):
        x_adv = attack(model, x, goal, eps=0.1)
        assert (Linf().measure(x_adv - x) <= 0.1 + 1e-9).all()


def test_bsr_goes_along_the_mean_gradient_of_its_copies():
    model, x, goal = case(2)
    attack = BSR(norm=L2(), steps=1, copies=4)
    from attacks.searches.draws import uniform

    def loss(at):
        shown = []
        for draw in range(4):
            random = uniform(0, goal.ids, draw, (numbers_for(2),))
            turned = at.mT if draw % 2 else at
            moved = shuffle_and_rotate(turned, random, 2, 24.0)
            shown.append(goal.cross_entropy(model(moved.mT if draw % 2 else moved)).sum())
        return sum(shown) / 4

    at = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(at), at)
    expected = L2().step(x, gradient, 0.01)
    torch.testing.assert_close(attack(model, x, goal, eps=0.1) - x, expected, rtol=1e-4, atol=1e-6)
    assert functional.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0) < 0

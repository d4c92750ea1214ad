"""Patches of single images: against the best there is at a place of a linear model, and nothing beside them changed."""

import math

import oracles
import pytest
import torch

from attacks import L0, L1, Masked, Patch, Patched, Targeted, Untargeted, masked
from attacks.geometry.outline import best_corners, outline, placed, side_of
from attacks.searches.draws import uniform

SIZE = (1, 12, 10)


def linear(bias):
    """Class 0 by as much as the weighted sum of the pixels is above -``bias``."""
    weight = torch.randn(SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def model(x):
        score = (x * weight).sum((1, 2, 3)) + bias
        return torch.stack([score, torch.zeros_like(score)], 1)

    return model, weight


def drawn(attack, ids, seed=0, place=0):
    """The pixels that the patch covers at one of its places, bool (n, H, W)."""
    side = side_of(attack.shape, attack.share, *SIZE[1:])
    room = torch.tensor([SIZE[1] - side + 1, SIZE[2] - side + 1])
    corners = (uniform(seed, ids, 2 * place, (2,)) * room).long()
    return placed(outline(attack.shape, side), corners, *SIZE[1:])


def best_margins(attack, x, weight, **which):
    """The weighted sums with the best patch at a place: values go to the end that their weight asks for (n,)."""
    covered = drawn(attack, torch.arange(len(x)), **which).unsqueeze(1)
    return torch.where(covered, (weight < 0).double(), x).mul(weight).sum((1, 2, 3))


@pytest.mark.parametrize("shape", ["square", "circle"])
def test_reaches_the_best_patch_of_its_place_in_a_linear_model_and_not_more(shape):
    x = oracles.images(6, SIZE, low=0, high=1)
    attack = Patch(share=0.2, shape=shape, places=1, steps=40)
    _, weight = linear(0.0)
    least = best_margins(attack, x, weight)
    for row in range(len(x)):
        goal = Untargeted(torch.tensor([0]), ids=torch.tensor([row]))
        for slack, fooled in ((-1e-3, True), (1e-3, False)):
            model, _ = linear(float(slack - least[row]))
            x_adv = attack(model, x[row : row + 1], goal)
            assert bool(goal.margin(model(x_adv)) < 0) == fooled
            assert fooled or torch.equal(x_adv, x[row : row + 1])


def test_the_next_place_is_tried_where_the_first_does_not_do():
    x = oracles.images(8, SIZE, low=0, high=1)
    attack = Patch(share=0.1, places=2, steps=40)
    _, weight = linear(0.0)
    first, second = (best_margins(attack, x, weight, place=place) for place in (0, 1))
    row = int((first - second).argmax())
    model, _ = linear(float(-(first[row] + second[row]) / 2))
    goal = Untargeted(torch.tensor([0]), ids=torch.tensor([row]))
    x_adv = attack(model, x[row : row + 1], goal)
    assert bool(goal.margin(model(x_adv)) < 0)
    covered = drawn(attack, torch.tensor([row]), place=1)
    assert not bool(((x_adv != x[row : row + 1]).any(1) & ~covered).any())


@pytest.mark.parametrize("shape", ["square", "circle"])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_changes_no_more_than_one_patch_covers(share, shape):
    model, x = oracles.convnet().eval(), oracles.images(6, (3, 8, 8), low=0, high=1).float()
    goal = Untargeted(model(x).argmax(1))
    attack = Patch(share=share, shape=shape, steps=10)
    x_adv = attack(model, x, goal)
    changed = (x_adv != x).any(1)
    assert int(changed.flatten(1).sum(1).max()) <= max(1, math.floor(share * 64))
    assert torch.equal(attack.norm.confine(x, x_adv), x_adv)
    assert bool(changed.any())


def test_what_it_meets_is_the_goal_it_was_given():
    model, x = oracles.convnet().eval(), oracles.images(12, (3, 8, 8), low=0, high=1).float()
    logits = model(x)
    goal = Targeted(logits.argsort(dim=1)[:, -2])
    fooled = goal.margin(model(Patch(share=0.4)(model, x, goal))) < 0
    assert int(fooled.sum()) >= 8


def test_a_budget_limits_the_values_within_the_patch():
    model, x = oracles.convnet().eval(), oracles.images(4, (3, 8, 8), low=0, high=1).float()
    x_adv = Patch(share=0.4, steps=10)(model, x, Untargeted(model(x).argmax(1)), eps=torch.tensor([1.0, 2, 3, 20]))
    assert bool((L0().measure(x_adv - x) <= torch.tensor([1.0, 2, 3, 20])).all())


def test_under_a_mask_it_shows_only_where_the_mask_allows_it():
    model, x = oracles.convnet().eval(), oracles.images(4, (3, 8, 8), low=0, high=1).float()
    left = (torch.arange(8) < 4).expand(8, 8)
    goal = Untargeted(model(x).argmax(1))
    for attack in (masked(Patch(share=0.4), left), Patch(share=0.4, norm=Masked(L0(), left))):
        x_adv = attack(model, x, goal)
        assert torch.equal(x_adv[..., 4:], x[..., 4:])
        assert bool((x_adv != x).any())


def test_the_norm_undoes_whatever_no_single_patch_covers():
    x = torch.zeros(3, 1, 8, 8)
    x_adv = x.clone()
    x_adv[0, 0, 2:4, 5:7] = x_adv[1, 0, 0, 0] = x_adv[1, 0, 6:8, 6:8] = 1
    kept = Patched(L0(), 4 / 64, "square").confine(x, x_adv)
    assert torch.equal(kept[[0, 2]], x_adv[[0, 2]])
    assert float(kept[1, 0, 0, 0]) == 0
    assert torch.equal(kept[1, 0, 6:8, 6:8], torch.ones(2, 2))


def test_another_norm_has_the_mask_that_is_under_the_patch():
    left = torch.arange(8) < 4
    assert Patched(Masked(L0(), left), 0.25, "square").masking(L1()) == Masked(L1(), left)
    assert Patched(L0(), 0.25, "square").masking(L1()) == L1()


def test_a_circle_is_found_wherever_it_is():
    pixels = outline("circle", 5)
    corners = torch.tensor([[0, 0], [3, 1], [4, 5]])
    found = best_corners(placed(pixels, corners, 9, 10), pixels)
    assert torch.equal(found, corners)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.78])
def test_no_outline_covers_more_than_its_share(share):
    for shape in ("square", "circle"):
        pixels = outline(shape, side_of(shape, share, 40, 40))
        covered = int(pixels.sum()) / 1600
        assert covered <= share
        assert covered >= share - 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.0}, "expected share of Patch > 0, got 0.0"),
        ({"share": 1.01}, "expected share of a patch above 0 and at most 1, got 1.01"),
        ({"shape": "star"}, "expected shape of a patch to be one of square, circle, got 'star'"),
        ({"places": 0}, "expected places of Patch > 0, got 0"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Patch(**options)


def test_a_patch_larger_than_the_image_is_refused():
    x = torch.rand(1, 3, 4, 16)
    with pytest.raises(ValueError, match="expected a patch that fits into images of 4 x 16, got one of 5 x 5"):
        Patch(share=0.5)(lambda x: x[:, 0, 0, :2], x, Untargeted(torch.tensor([0])))

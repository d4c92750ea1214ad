"""ADBA: decisions alone, blocks from coarse to fine, and what it may cost."""

import itertools
import math

import pytest
import torch
from oracles import Decisions, assert_unmixed, convnet, goals, images, linear

from attacks import ADBA, AttackError, HopSkipJump, Linf, Targeted
from attacks.adba import _halvings

SHAPES = [(3, 6, 6), (1, 5, 9), (7, 4), (12,), (1,)]


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


def test_it_comes_near_the_smallest_perturbation():
    model, x = linear(num_classes=2, seed=1), images(6, (3, 2, 2), seed=1)
    goal = goals(model(x))["untargeted"]
    size, radius = Linf().measure(ADBA()(model, x, goal) - x), model.smallest(x, goal, "linf")
    assert (size >= radius).all()
    assert (size / radius).max() <= 1.02


def test_it_comes_nearer_than_hop_skip_jump_with_fewer_queries():
    model, x = convnet(), images(6, (3, 8, 8), seed=3).float()
    goal = goals(model(x))["untargeted"]
    ours, other = Decisions(model), Decisions(model)
    size = Linf().measure(ADBA(queries=1000)(ours, x, goal) - x)
    assert (size < Linf().measure(HopSkipJump(norm=Linf(), steps=8)(other, x, goal) - x)).all()
    assert ours.queries < other.queries


def test_it_uses_decisions_alone():
    model, x = convnet(), images(4, (3, 8, 8), seed=3).float()
    goal = goals(model(x))["untargeted"]
    x_adv = ADBA(queries=200)(Decisions(model), x, goal)
    assert fooled(model, goal, x_adv).all()
    assert torch.equal(ADBA(queries=200)(Decisions(model, lambda best: 9 + best.sin()), x, goal), x_adv)


def test_it_does_not_mix_images():
    assert_unmixed(ADBA(queries=150))


@pytest.mark.parametrize("queries", [1, 2, 7, 40, 333])
def test_it_asks_no_more_questions_than_it_says(queries):
    model, x = Decisions(convnet()), images(1, (3, 8, 8), seed=3).float()
    goal = goals(model(x))["untargeted"]
    model.queries = 0
    ADBA(queries=queries)(model, x, goal)
    start = 1 + 100  # the clean image, and at most as many drawn ones
    assert queries - 2 <= model.queries <= queries + start


def test_it_returns_nothing_beyond_eps():
    model, x = linear(num_classes=2, seed=1), images(6, (3, 2, 2), seed=1)
    goal = goals(model(x))["untargeted"]
    eps = model.smallest(x, goal, "linf") * torch.tensor([0.9, 1.2, 0.9, 1.2, 0.9, 1.2])
    x_adv = ADBA()(model, x, goal, eps=eps)
    assert fooled(model, goal, x_adv).tolist() == [False, True] * 3
    assert torch.equal(x_adv[::2], x[::2])


def test_it_starts_from_given_images():
    """Only one image in a million is of the class that is asked for; drawn ones never are."""
    x, seldom = images(3, (3, 4, 4), seed=2).float(), torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1))

    def model(x):
        near = 0.3 - (x - seldom).abs().flatten(1).amax(1)
        return torch.stack([torch.zeros_like(near), near], 1)

    goal = Targeted(torch.tensor([1, 1, 1]))
    with pytest.raises(AttackError, match="no start"):
        ADBA(start_draws=5)(model, x, goal)
    x_adv = ADBA(starts=seldom[None])(model, x, goal)
    assert fooled(model, goal, x_adv).all()
    assert (Linf().measure(x_adv - x) < Linf().measure(seldom - x)).all()


def test_an_image_without_a_start_does_not_harm_the_others():
    """Only images brighter than 0.9 are of another class; for one image no start is tried but grey ones."""
    x = torch.stack([torch.full((1, 4, 4), 0.5), torch.full((1, 4, 4), 0.4)])
    goal = Targeted(torch.tensor([1, 2]))

    def model(x):
        score = x.flatten(1).mean(1) - 0.9
        return torch.stack([torch.zeros_like(score), score, torch.full_like(score, -1.0)], 1)

    with pytest.raises(AttackError) as caught:
        ADBA(queries=100, start_draws=3)(model, x, goal)
    assert list(caught.value.errors) == [1]
    assert fooled(model, goal, caught.value.x_adv).tolist() == [True, False]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_blocks_are_halved_down_to_single_values(shape):
    count, seen = math.prod(shape), torch.zeros(shape)
    for halves in itertools.islice(_halvings(shape), max(count - 1, 1)):
        for half in halves:
            if all(each.stop - each.start == 1 for each in half):
                seen[half] += 1
    assert (seen == 1).all()


def test_blocks_start_again_from_the_whole():
    first = list(itertools.islice(_halvings((1, 2, 2)), 6))
    assert first[:3] == first[3:]


def test_comparisons_are_between_the_image_and_the_best():
    with pytest.raises(ValueError, match=r"expected step of ADBA < 1, got 1"):
        ADBA(step=1.0)

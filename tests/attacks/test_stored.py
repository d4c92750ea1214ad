"""Attacks on models that round their images, as those that read files do."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from oracles import mlp, on_grid

from attacks import (
    DDN,
    FMN,
    L2,
    PGD,
    AttackError,
    HopSkipJump,
    Linf,
    Square,
    Stored,
    TopK,
    Untargeted,
    quantize,
    stored,
    straight_through,
)
from attacks.searches.mending import mend

LEVEL = 1 / 255


class Coarse:
    """A model that takes its images to the nearest of 64 levels, and says so to nobody; its form without is known."""

    def __init__(self, network):
        self.exact_form = network
        rounded = straight_through(lambda x: (x * 63).round() / 63)
        self._answer = lambda x: network(rounded(x))
        self.asked = []

    def __call__(self, x):
        self.asked.append(x.detach().clone())
        return self._answer(x)


@dataclass(frozen=True)
class Nothing:
    """An attack that finds nothing."""

    kind: ClassVar[str] = "minimum norm"
    access: ClassVar[str] = "gradients"
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    norm: Linf = Linf()  # noqa: RUF009 - frozen

    def __call__(self, model, x, goal, *, eps=None, seed=0):
        return x.clone()


@pytest.fixture(scope="module")
def network():
    found = mlp(48, seed=3).float()
    with torch.no_grad():
        found[1].weight.mul_(4)
    return found


@pytest.fixture(scope="module")
def x():
    return torch.randint(40, 215, (8, 3, 4, 4), generator=torch.Generator().manual_seed(0)).float() / 255


@pytest.fixture
def model(network):
    return Coarse(network)


@pytest.fixture
def goal(model, x):
    return Untargeted(model(x).argmax(1))


@pytest.mark.parametrize("attack", [TopK(steps=60), FMN(steps=60), PGD(steps=20), DDN(), Square(steps=300)])
def test_what_it_returns_is_of_8_bits_and_does_it(attack, model, x, goal):
    eps = 24 * LEVEL if attack.norm.name == "linf" else None
    x_adv = stored(attack, kappa=0.05)(model, x, goal, eps=eps)
    assert on_grid(x_adv)
    assert (goal.margin(model(x_adv)) < 0).all()
    assert attack.norm.measure(x_adv - x).max() <= (eps or 9) + 1e-6


def test_plain_rounding_is_not_enough(model, x, goal):
    plain = FMN(steps=60)(model.exact_form, x, goal)
    assert not (goal.margin(model((plain * 255).round() / 255)) < 0).all()


def test_no_more_levels_than_need_be(model, x, goal):
    sizes = Linf().measure(stored(TopK(steps=60), kappa=0.05)(model, x, goal) - x) * 255
    smooth = Linf().measure(TopK(steps=60)(model.exact_form, x, goal) - x) * 255
    assert (sizes <= smooth.ceil() + 3).all()


def test_what_the_attack_does_not_find_is_looked_for_within_eps(model, x, goal):
    x_adv = stored(Nothing())(model, x, goal, eps=24 * LEVEL)
    assert (goal.margin(model(x_adv)) < 0).all()
    assert Linf().measure(x_adv - x).max() <= 24 * LEVEL + 1e-6
    out_of_reach = stored(Nothing())(model, x, goal, eps=LEVEL)
    assert Linf().measure(out_of_reach - x).max() <= LEVEL + 1e-6
    assert on_grid(out_of_reach)


def test_an_image_that_is_fooled_already_stays(model, x, goal):
    other = Untargeted((goal.labels + 1) % 5)
    assert torch.equal(stored(TopK(steps=30))(model, x, other), x)


def test_images_do_not_disturb_each_other(network, x):
    model = Coarse(network)
    goal = Untargeted(model(x).argmax(1))
    together = stored(TopK(steps=40), kappa=0.05)(model, x, goal, eps=24 * LEVEL)
    alone = stored(TopK(steps=40), kappa=0.05)(model, x[2:3], goal.select(torch.tensor([2])), eps=24 * LEVEL)
    assert torch.equal(alone[0], together[2])


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=["linf", "l2"])
def test_quantize_does_not_give_up_where_the_model_rounds_first(norm, model, x, goal):
    x_adv = FMN(norm=norm, steps=60)(model.exact_form, x, goal)
    given_up = quantize(lambda x: model(x), x, x_adv, goal, norm)  # whose form without rounding is not known
    searched = quantize(model, x, x_adv, goal, norm)
    assert (goal.margin(model(searched)) < 0).sum() > (goal.margin(model(given_up)) < 0).sum()


def test_mending_keeps_the_nearest_where_nothing_does_it(model, x, goal):
    one = torch.ones(len(x))
    before = len(model.asked)
    found = mend(model, x, x, goal, one, one, steps=5)
    assert len(model.asked) - before == 5  # one pass for each gradient, and none besides
    assert not (goal.margin(model(found)) < 0).all()
    assert (goal.margin(model(found)) <= goal.margin(model(x)) + 1e-3).all()


@pytest.mark.parametrize(
    ("kappa", "steps", "message"), [(-1.0, 5, "expected kappa >= 0"), (1.0, 0, "expected steps >= 1")]
)
def test_parameters_of_no_use_are_refused(kappa, steps, message):
    with pytest.raises(ValueError, match=message):
        Stored(TopK(), kappa, steps)


def test_an_attack_that_fails_on_an_image_fails_on_that_row_of_the_batch():
    x = torch.tensor([[0.2, 0.8], [0.61, 0.5], [0.7, 0.3]])

    def model(x):  # nothing but the first image is of class 1
        second = (x == torch.tensor([0.2, 0.8])).all(1).float()
        return torch.stack([1 - second, second], 1)

    with pytest.raises(AttackError, match="no start: none of 3 drawn images") as failure:
        stored(HopSkipJump(steps=1, start_draws=3))(model, x, Untargeted(torch.zeros(3, dtype=torch.int64)))
    assert set(failure.value.errors) == {1, 2}
    assert torch.equal(failure.value.x_adv, x)

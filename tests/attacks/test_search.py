"""Bisection image by image, and minimum-norm attacks made of budget attacks."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import Constant, Recorder, assert_unmixed, goals, images, linear

from attacks import (
    FGSM,
    FMN,
    NORMS,
    PGD,
    AttackError,
    Bisection,
    EpsSearch,
    Linf,
    MinNormAttack,
    Square,
    Untargeted,
    binary_search_eps,
    restarts,
    worst_case,
)
from attacks.queries.gradients import asked_ids


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


def run(search, truth, steps):
    for _ in range(steps):
        search.tell(search.value >= truth)
    return search


# --- bisection ---


@given(
    truth=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5),
    first=st.floats(1e-2, 10),
    factor=st.sampled_from([2.0, 10.0]),
)
def test_bisection_encloses_the_truth_of_each_image(truth, first, factor):
    truth = torch.tensor(truth, dtype=torch.float64)
    search = run(Bisection(torch.full_like(truth, first), factor=factor), truth, 60)
    assert (search.low < truth).all()
    assert (search.high >= truth).all()
    torch.testing.assert_close(search.high, truth, rtol=1e-9, atol=0)


def test_bisection_halves_what_is_left():
    search = Bisection(torch.tensor([4.0]), high=torch.tensor([8.0]))
    widths = []
    for _ in range(5):
        search.tell(search.value >= 5.3)
        widths.append((search.high - search.low).item())
    assert widths == [4, 2, 1, 0.5, 0.25]


def test_bisection_grows_by_its_factor_until_something_succeeds():
    search = run(Bisection(torch.tensor([1.0, 1.0]), factor=10), torch.tensor([500.0, 1e9]), 4)
    assert search.low.tolist() == [100.0, 1000.0]
    assert search.high.tolist() == [1000.0, torch.inf]
    assert search.value.tolist() == [550.0, 10_000.0]


def test_bisection_takes_what_was_reached():
    search = Bisection(torch.tensor([8.0, 8.0]))
    search.tell(torch.tensor([True, False]), reached=torch.tensor([3.0, 1.0]))
    assert search.high.tolist() == [3.0, torch.inf]
    assert search.value.tolist() == [1.5, 16.0]


def test_bisection_gets_over_a_failure_that_was_bad_luck():
    search = Bisection(torch.tensor([4.0]))
    search.tell(torch.tensor([False]))
    search.tell(torch.tensor([True]), reached=torch.tensor([3.0]))
    assert (search.low.item(), search.high.item(), search.value.item()) == (0, 3, 1.5)


def test_bisection_goes_on_with_some():
    search = run(Bisection(torch.ones(3)), torch.tensor([3.0, 30.0, 0.3]), 4)
    rest = Bisection(torch.ones(3))
    run(rest, torch.tensor([3.0, 30.0, 0.3]), 4)
    rest.select(torch.tensor([False, True, True]))
    run(rest, torch.tensor([30.0, 0.3]), 5)
    run(search, torch.tensor([3.0, 30.0, 0.3]), 5)
    assert torch.equal(rest.high, search.high[1:])


# --- a minimum-norm attack made of a budget attack ---


def test_the_result_is_a_minimum_norm_attack():
    attack: MinNormAttack = binary_search_eps(PGD(norm=Linf()))
    assert attack.kind == "minimum norm"
    assert attack.norm == Linf()
    assert attack.norm.name in attack.norms
    assert attack == EpsSearch(PGD(norm=Linf()), 10)
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.steps = 3
    assert worst_case([attack, FMN(norm=Linf())]).kind == "minimum norm"


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
@pytest.mark.parametrize("kind", ["untargeted", "targeted"])
def test_it_comes_close_to_the_smallest_perturbation(norm, kind):
    model, x = linear(num_classes=2, seed=1), images(8, (3, 2, 2), seed=1)
    goal = goals(model(x))[kind]
    attack = FGSM(norm=NORMS[norm](), loss="margin")
    x_adv, radius = binary_search_eps(attack, steps=16)(model, x, goal), model.smallest(x, goal, norm)
    size = NORMS[norm]().measure(x_adv - x)
    assert fooled(model, goal, x_adv).all()
    assert (size >= radius).all()
    assert ((size <= 1.01 * radius) | (size - radius < 1) if norm == "l0" else size <= 1.01 * radius).all()


@pytest.mark.parametrize("scale", [1e-2, 1e-1, 1.0])
def test_ten_calls_are_enough_over_several_orders_of_magnitude(scale):
    model, x = linear(num_classes=2, seed=1), images(8, (3, 2, 2), seed=1)
    gap = model(x).diff(dim=1).squeeze(1)

    def nearer(x):
        """Each image as close to the boundary as told: the ids say which gap is whose."""
        logits = model(x)
        taken = (1 - scale) * gap[asked_ids()]
        return torch.stack([logits[:, 0] + taken, logits[:, 1]], 1)

    goal = goals(model(x))["untargeted"]
    x_adv = binary_search_eps(FGSM(loss="margin"))(nearer, x, goal)
    size, radius = Linf().measure(x_adv - x), scale * model.smallest(x, goal, "linf")
    assert (size >= radius).all()
    assert (size <= (1.1 if scale == 1 else 1.6) * radius).all()


def test_an_image_that_cannot_be_fooled_is_given_up_and_comes_back():
    model, x = Constant(torch.tensor([2.0, 0.0])), images(3, (12,))
    calls = []

    class Spy:
        kind = "budget"
        norms = ("linf",)
        norm = Linf()

        def __call__(self, model, x, goal, *, eps, seed=0):
            calls.append(eps.tolist())
            return x

    x_adv = binary_search_eps(Spy(), steps=30)(model, x, Untargeted(torch.zeros(3, dtype=torch.int64)))
    assert torch.equal(x_adv, x)
    assert len(calls) == 7  # 1/64, 1/32, ..., all
    assert max(calls[-1]) <= 1
    binary_search_eps(Spy(), steps=30)(model, x, Untargeted(torch.zeros(3, dtype=torch.int64)), eps=0.05)
    assert max(max(call) for call in calls[7:]) == pytest.approx(0.05)


def test_an_attack_that_fails_on_an_image_does_not_take_the_others_down():
    model, x = linear(num_classes=2, seed=1), images(4, (12,), seed=1)
    goal = dataclasses.replace(goals(model(x))["untargeted"], ids=torch.arange(4) + 10)
    x[0] = 1 - x[0]  # fooled already, so that places differ from those among the rest
    goal = dataclasses.replace(goal, labels=torch.cat([1 - model(x[:1]).argmax(1), goal.labels[1:]]))

    class Breaks:
        kind, norms, norm = "budget", ("linf",), Linf()

        def __call__(self, model, x, goal, *, eps, seed=0):
            x_adv, broken = FGSM()(model, x, goal, eps=eps), goal.ids == 12
            x_adv[broken] = x[broken]
            if bool(broken.any()):
                raise AttackError(x_adv, dict.fromkeys(broken.nonzero()[:, 0].tolist(), "it broke"))
            return x_adv

    with pytest.raises(AttackError, match="failed on 1 of 4 images") as failure:
        binary_search_eps(Breaks(), steps=12)(model, x, goal)
    assert failure.value.errors == {2: "it broke"}
    assert torch.equal(failure.value.x_adv[2], x[2])
    others = torch.tensor([0, 1, 3])
    assert torch.equal(
        failure.value.x_adv[others], binary_search_eps(FGSM(), steps=12)(model, x[others], goal.select(others))
    )


def test_images_leave_when_they_are_done():
    model, x = linear(num_classes=2, seed=1), images(6, (12,), seed=1)
    goal = goals(model(x))["untargeted"]
    recorder = Recorder(model)
    eps = model.smallest(x, goal, "linf") * torch.tensor([2.0, 0.5, 2.0, 0.5, 2.0, 0.5])
    x_adv = binary_search_eps(FGSM(), steps=12)(recorder, x, goal, eps=eps)
    assert fooled(model, goal, x_adv).tolist() == [True, False] * 3
    assert torch.equal(x_adv[1::2], x[1::2])
    assert len(recorder.seen[0]) == 6
    assert len(recorder.seen[-1]) == 3


def test_each_image_is_searched_by_itself():
    assert_unmixed(binary_search_eps(PGD(steps=5)))


def test_images_that_are_fooled_already_come_back():
    model, x = linear(num_classes=2, seed=1), images(4, (12,), seed=1)
    label = model(x).argmax(1)
    goal = Untargeted(torch.where(torch.arange(4) < 2, 1 - label, label))
    x_adv = binary_search_eps(PGD())(model, x, goal)
    assert torch.equal(x_adv[:2], x[:2])
    assert fooled(model, goal, x_adv).all()
    everyone = Untargeted(1 - label)
    assert torch.equal(binary_search_eps(PGD())(model, x, everyone), x)


def test_it_takes_composed_and_black_box_attacks():
    model, x = linear(num_classes=2, seed=1), images(3, (12,), seed=1)
    goal = goals(model(x))["untargeted"]
    radius = model.smallest(x, goal, "linf")
    for attack in (restarts(PGD(), 2), Square(steps=150)):
        size = Linf().measure(binary_search_eps(attack, steps=12)(model, x, goal) - x)
        assert (size <= 1.1 * radius).all()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: binary_search_eps(FMN()), r"expected a budget attack, got FMN \(minimum norm\)"),
        (lambda: binary_search_eps(PGD(), steps=0), "expected steps >= 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_arguments_are_checked_before_the_model_is_asked():
    def never(x):
        raise RuntimeError("asked")

    with pytest.raises(ValueError, match="expected images in"):
        binary_search_eps(PGD())(never, torch.full((1, 3), 2.0), Untargeted(torch.tensor([0])))

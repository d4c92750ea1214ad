"""The meter books every pass on the image it was spent on, as a second, independent count confirms."""

import warnings

import pytest
import torch
from fakes import SIZE, Counting, classifier, quick
from norm_rows import EPS

from advbench.catalog import ATTACKS as CARDS
from advbench.evaluation.meter import Meter
from attacks import FGSM, PGD, Adaptive, Untargeted, inside, restarts, worst_case
from attacks.queries.gradients import booked_on

MODEL = classifier()


def images(count=4):
    generator = torch.Generator().manual_seed(3)
    spots = torch.rand(count, 3, 4, 4, generator=generator)
    return 0.5 + 0.4 * (torch.nn.functional.interpolate(spots, SIZE, mode="bilinear") - 0.5)


def metered(attack, x, goal, eps):
    counting = Counting(MODEL)
    with Meter(counting, goal.ids) as meter:
        attack(meter, x, goal, eps=eps)
    return meter, counting


EACH = [(card.name, norm) for card in CARDS.values() if card.source == "advbench" for norm in card.norms]
ONE_SLOPE_A_RIVAL = {"deepfool", "superdeepfool"}
"""Attacks that take several gradients from one forward pass."""


@pytest.mark.parametrize(("name", "norm"), EACH)
def test_counts_every_pass_of_every_attack(name, norm):
    attack, x = quick(name, norm), images()
    ids = torch.tensor([50, -7, 2**62, 3])
    goal = Untargeted(MODEL(x).argmax(1), ids=ids)
    meter, counting = metered(attack, x, goal, EPS[norm])
    assert meter.forwards.sum() == counting.forward_rows
    assert meter.backwards.sum() == counting.backward_rows
    assert meter.forwards.min() >= 1
    assert name in ONE_SLOPE_A_RIVAL or (meter.backwards <= meter.forwards).all()


def test_who_looks_for_a_defence_takes_the_meter_for_none():
    x, ids = images(), torch.arange(4)
    with Meter(MODEL, ids) as meter, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert inside(meter, x).findings == ()
        report = Adaptive().report(meter, x, Untargeted(MODEL(x).argmax(1), ids=ids), eps=0.3 / 255)
    assert [each.remedy for each in report.tried] == ["the model as it is"]
    assert not told


@pytest.mark.parametrize(
    ("attack", "eps"),
    [
        (PGD(steps=5), 0.3 / 255),
        (restarts(PGD(steps=3), 2), 0.3 / 255),
        (worst_case([FGSM(), PGD(steps=4)]), 0.1 / 255),
    ],
    ids=["pgd", "restarts", "worst_case"],
)
def test_an_image_costs_the_same_alone_and_among_others(attack, eps):
    x, ids = images(), torch.tensor([9, 4, 7, 1])
    goal = Untargeted(MODEL(x).argmax(1), ids=ids)
    together, _ = metered(attack, x, goal, eps)
    alone = [metered(attack, x[i : i + 1], goal.select(torch.tensor([i])), eps)[0] for i in range(4)]
    assert together.forwards.tolist() == [float(meter.forwards) for meter in alone]
    assert together.backwards.tolist() == [float(meter.backwards) for meter in alone]
    assert len(set(together.forwards.tolist())) > 1, "no image left the batch: this shows nothing"


def test_a_fooled_image_costs_one_look():
    x = images(2)
    right, wrong = MODEL(x).topk(2).indices.T
    goal = Untargeted(torch.stack([wrong[0], right[1]]))
    meter, _ = metered(PGD(steps=4), x, goal, 1e-7)
    assert (meter.forwards[0], meter.backwards[0]) == (1, 0)
    assert meter.backwards[1] == 4


def test_a_foreign_attack_is_shared_out():
    x = images(4)
    with Meter(MODEL, torch.arange(4)) as meter:
        meter(x)
        inside = x.clone().requires_grad_()
        meter(inside[:2]).sum().backward()
    assert meter.forwards.tolist() == [1.5] * 4
    assert meter.backwards.tolist() == [0.5] * 4


def test_copies_of_an_image_in_one_batch_are_booked_on_it():
    x, ids = images(2), torch.tensor([5, 6])
    with Meter(MODEL, ids) as meter, booked_on(torch.tensor([6, 6, 5])):
        meter(x[[1, 1, 0]])
    assert meter.forwards.tolist() == [1, 2]


def test_calls_are_told_and_timed():
    told = []
    with Meter(MODEL, torch.arange(2), on_pass=lambda: told.append(meter.forwards.clone())) as meter:
        for _ in range(3):
            meter(images(2))
    assert [forwards.tolist() for forwards in told] == [[0, 0], [1, 1], [2, 2]]
    assert meter.seconds > 0


@pytest.mark.parametrize("shape", [(0, 20), (4,), (4, 2, 3), (4, 0)])
def test_answers_of_any_shape_are_passed_on(shape):
    answer = torch.zeros(shape)
    with Meter(lambda x: answer, torch.arange(4)) as meter:
        assert meter(images(4)[: shape[0]]) is answer
    assert meter.forwards.tolist() == [shape[0] / 4] * 4
    assert meter.not_finite.tolist() == [0] * 4


def test_logits_are_found_in_other_answers():
    logits = torch.full((4, 3), torch.nan)
    for answer in ((logits, 1), {"logits": logits}):
        with Meter(lambda x, answer=answer: answer, torch.arange(4)) as meter:
            assert meter(images(4)) is logits
        assert meter.not_finite.tolist() == [1] * 4
    with Meter(lambda x: "cat", torch.arange(4)) as meter:
        assert meter(images(4)) == "cat"


def test_images_stay_as_they_are_whatever_the_model_does_to_them():
    x = images(4)
    before = x.clone()
    with Meter(lambda x: x.mul_(2).flatten(1), torch.arange(4)) as meter:
        meter(x)
    assert torch.equal(x, before)


def test_what_the_model_throws_comes_through():
    def broken(x):
        raise MemoryError("no more")

    with pytest.raises(MemoryError, match="no more"), Meter(broken, torch.arange(1)) as meter:
        meter(images(1))
    assert meter.seconds > 0


def test_answers_that_are_not_finite_are_booked_on_their_image():
    def diverging(x):
        return x.flatten(1) / (x.flatten(1)[:, :1] - 1)

    x = images(2)
    x[1] = 1
    with Meter(diverging, torch.tensor([8, 3])) as meter, booked_on(torch.tensor([8, 3])):
        meter(x)
        meter(x)
    assert meter.not_finite.tolist() == [0, 2]
    with Meter(diverging, torch.tensor([8, 3])) as meter:
        meter(x)
    assert meter.not_finite.tolist() == [0.5, 0.5]

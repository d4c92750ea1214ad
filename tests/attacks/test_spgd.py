"""Sparse-PGD: a perturbation for every value, and a mask that says which of them count."""

import pytest
import torch
from counting import Counting
from oracles import Constant, Recorder, RowByRow, images, led, linear, mlp

from attacks import L0, NORMS, PGD, SPGD, Masked, Targeted, Untargeted


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("goal", [Untargeted, lambda label: Targeted(label + 1)], ids=["untargeted", "targeted"])
def test_finds_the_values_that_gain_most(goal, projected):
    model, x = led(192, seed=3), images(8, (3, 8, 8), seed=3)
    goal = goal(model(x).argmax(1))
    radius = model.smallest(x, goal, "l0")
    found = SPGD(projected=projected)(model, x, goal, eps=radius + 1)
    assert fooled(model, goal, found).all()
    assert not fooled(model, goal, SPGD(projected=projected, steps=20)(model, x, goal, eps=radius - 0.5)).any()


def test_every_candidate_keeps_to_the_budget_of_its_image():
    model, x = Recorder(Constant(torch.tensor([2.0, 0.0]))), images(3, (3, 4, 4), low=0, high=1)
    eps = torch.tensor([1.0, 5.5, 100.0])
    SPGD(steps=30)(model, x, Untargeted(torch.tensor([0, 0, 0])), eps=eps)
    for seen in model.seen:
        assert 0 <= seen.min() <= seen.max() <= 1
        assert (L0().measure(seen - x) <= eps).all()


def test_a_mask_that_has_chosen_the_same_values_for_a_while_is_drawn_anew():
    # Without a gradient no mask ever changes by itself.
    x = images(2, (1, 6, 6), low=0.3)
    for patience, sets in ((3, 5), (100, 1)):
        model = Recorder(Constant(torch.tensor([2.0, 0.0])))
        SPGD(steps=15, patience=patience)(model, x, Untargeted(torch.tensor([0, 0])), eps=4)
        assert len({tuple((seen != x).flatten().tolist()) for seen in model.seen[1:]}) == sets


def test_only_the_projected_form_leaves_the_perturbation_of_other_values_alone():
    model, x = linear(num_classes=2, values=27, seed=1), images(1, (3, 3, 3), seed=1)
    goal = Untargeted(model(x).argmax(1))
    sizes = {}
    for projected in (False, True):
        recorder = Recorder(model)
        SPGD(steps=12, patience=1, projected=projected)(recorder, x, goal, eps=1)
        # The second choice of values: the unprojected form has moved them in the steps before.
        sizes[projected] = torch.stack([(seen - x).abs().amax() for seen in recorder.seen[1:]])
    assert not torch.equal(sizes[False], sizes[True])


def test_no_passes_are_spent_on_images_that_are_fooled():
    model, x = linear(num_classes=2, values=27, seed=1), images(4, (3, 3, 3), seed=1)
    goal = Untargeted(model(x).argmax(1))
    eps = torch.tensor([27.0, 27.0, 0.5, 0.5], dtype=torch.float64)
    metered = Counting(model, goal.ids)
    SPGD(steps=40)(metered, x, goal, eps=eps)
    assert (metered.backwards[:2] < 20).all()
    assert (metered.backwards[2:] == 40).all()


def test_what_an_image_gets_does_not_depend_on_when_the_masks_of_others_stall():
    model, x = RowByRow(mlp(48, seed=1)), images(6, (3, 4, 4), low=0, high=1)
    goal = Untargeted(model(x).argmax(1))
    attack = SPGD(steps=40, patience=1)
    whole = attack(model, x, goal, eps=1, seed=3)
    for row in torch.arange(6).split(1):
        assert torch.equal(attack(model, x[row], goal.select(row), eps=1, seed=3), whole[row])


def test_the_mask_of_a_norm_is_kept_to():
    allowed = torch.zeros(4, 4, dtype=torch.bool)
    allowed[1:3, 1:3] = True
    x = images(2, (3, 4, 4), low=0.3)
    model = Recorder(Constant(torch.tensor([2.0, 0.0])))
    x_adv = SPGD(norm=Masked(L0(), allowed), steps=10)(model, x, Untargeted(torch.tensor([0, 0])), eps=5)
    assert ((x_adv != x).flatten(1).sum(1) == 5).all()
    assert not (x_adv != x)[:, :, ~allowed].any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_is_made_for_l0_alone(norm):
    with pytest.raises(ValueError, match=f"expected norm of SPGD to be one of l0, got {norm}"):
        SPGD(norm=NORMS[norm]())


def test_pgd_names_the_attack_to_use_in_l0():
    with pytest.raises(ValueError, match="expected norm of PGD to be one of linf, l2, l1, got l0: SPGD is made for it"):
        PGD(norm=L0())

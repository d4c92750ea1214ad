"""Norms with a mask: geometry, and every attack kept to what the mask allows."""

import dataclasses

import pytest
import torch
from attack_table import ENTRIES, SLOW, build, each_entry
from norm_rows import EPS, each_norm, ids, noise
from oracles import Linear, RowByRow, goals, images, linear, mlp

from attacks import (
    ATTACKS,
    CW,
    NORMS,
    PGD,
    AttackError,
    HopSkipJump,
    Linf,
    Masked,
    Untargeted,
    capped,
    foolbox,
    masked,
    masked_each,
    quantize,
    worst_case,
)

SHAPE = (3, 4, 4)
CORNER = torch.zeros(4, 4, dtype=torch.bool)
CORNER[1:4, :3] = True
"""What the tests let change: nine of sixteen pixels, in all channels."""
OUTSIDE = ~CORNER.expand(SHAPE)


def network():
    model = mlp(48, seed=1)
    with torch.no_grad():
        model[1].weight.mul_(8)
    return model.double()


def under_a_mask(name, norm, most=None, mask=CORNER):
    attack = build(name, norm, most)
    if hasattr(attack, "attack"):  # of the tests: it hands over what an attack reports as failed
        return dataclasses.replace(attack, attack=masked(attack.attack, mask))
    return masked(attack, mask)


def check_kept(x, x_adv, norm, eps):
    """Bit for bit as it was outside, within budget and box inside."""
    assert torch.equal(x_adv[:, OUTSIDE], x[:, OUTSIDE])
    assert x_adv.isfinite().all()
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    if eps is not None:
        assert (NORMS[norm]().measure(x_adv - x) <= eps * (1 + 1e-5) + 1e-6).all()


# --- every attack ---


@each_entry
def test_every_attack_keeps_to_the_mask(name, norm):
    model, x = network(), images(4, SHAPE, low=0, high=1)
    x_adv = under_a_mask(name, norm, most=4)(model, x, goals(model(x))["untargeted"], eps=EPS[norm])
    check_kept(x, x_adv, norm, EPS[norm])


@pytest.mark.slow
@each_entry
def test_every_attack_keeps_to_the_mask_for_every_goal(name, norm):
    model, x = network(), images(4, SHAPE, low=0, high=1)
    for goal in goals(model(x)).values():
        attack = under_a_mask(name, norm, most=10)
        check_kept(x, attack(model, x, goal, eps=EPS[norm]), norm, EPS[norm])
        if attack.kind == "minimum norm":
            x_adv = attack(model, x, goal)
            check_kept(x, x_adv, norm, None)
            found = goal.margin(model(x_adv)) < 0
            assert torch.equal(x_adv[~found], x[~found])


@pytest.mark.slow
@each_entry
def test_images_do_not_influence_each_other_under_a_mask(name, norm):
    model, x = RowByRow(network()), images(5, SHAPE, low=0, high=1)
    goal = dataclasses.replace(goals(model(x))["untargeted"], ids=torch.arange(5) * 7 + 100)
    attack, some = under_a_mask(name, norm, most=4), torch.tensor([3, 1])
    whole = attack(model, x, goal, eps=EPS[norm], seed=3)
    assert torch.equal(attack(model, x[some], goal.select(some), eps=EPS[norm], seed=3), whole[some])


@pytest.mark.slow
@each_entry
def test_a_mask_that_allows_everything_changes_little_but_the_draws(name, norm):
    model, x = network(), images(6, SHAPE, low=0, high=1)
    goal, everything = goals(model(x))["untargeted"], torch.ones(4, 4)
    x_adv = under_a_mask(name, norm, most=10, mask=everything)(model, x, goal, eps=EPS[norm])
    torch.testing.assert_close(x_adv, build(name, norm, most=10)(model, x, goal, eps=EPS[norm]))


# --- the optimum is known ---


TRANSFER = {"tifgsm", "difgsm", "sia", "bsr"}
"""Gradients blurred or taken elsewhere on purpose."""

WHITE_BOX = [
    entry
    for entry in ENTRIES
    if entry[0]
    not in {"noise", "square", "sparse_rs", "hop_skip_jump", "adba", "spatial", "patch", "adaptive", *TRANSFER, *SLOW}
]
"""Attacks that come near to the smallest perturbation of a linear model."""
QUICK = {("apgd", "linf"), ("fmn", "l2"), ("fmn", "l1"), ("sigma_zero", "l0")}


def known(norm, num_classes=2):
    """A linear model, images alike outside the mask, a goal, and the size of the smallest perturbations under it."""
    model, x = linear(num_classes, 48, seed=1), images(6, SHAPE, seed=1, low=0.42, high=0.58)
    x[:, OUTSIDE] = x[0, OUTSIDE]
    allowed = (~OUTSIDE).flatten()
    within = Linear(model.weight[:, allowed], model.bias + model.weight[:, ~allowed] @ x[0][OUTSIDE])
    goal = goals(model(x))["untargeted"]
    return model, x, goal, within.smallest(x[:, ~OUTSIDE], goal, norm)


@pytest.mark.parametrize(
    ("name", "norm"),
    [entry if entry in QUICK else pytest.param(*entry, marks=pytest.mark.slow) for entry in WHITE_BOX],
)
def test_attacks_find_what_is_best_under_the_mask(name, norm):
    model, x, goal, radius = known(norm)
    attack = under_a_mask(name, norm)
    if attack.kind == "budget":
        above = radius if norm == "l0" else (1.1 if name == "pgd" and norm == "l2" else 1.01) * radius
        assert (goal.margin(model(attack(model, x, goal, eps=above))) < 0).all()
        return
    x_adv = attack(model, x, goal)
    assert (goal.margin(model(x_adv)) < 0).all()
    size = NORMS[norm]().measure(x_adv - x)
    assert (size >= radius * (1 - 1e-6)).all()
    assert (size <= (2 * radius + 1 if norm == "l0" else 1.15 * radius)).all()


@each_norm
def test_nobody_succeeds_below_the_radius_under_the_mask(norm):
    model, x, goal, radius = known(norm.name, num_classes=5)
    eps = radius - 0.5 if norm.name == "l0" else 0.99 * radius
    for name in ("fmn", "fgsm"):
        x_adv = under_a_mask(name, norm.name, most=20)(model, x, goal, eps=eps)
        assert not (goal.margin(model(x_adv)) < 0).any()


def test_the_first_order_step_is_the_best_there_is_under_the_mask():
    model, x, goal, radius = known("linf")
    for factor, met in ((0.999, False), (1.001, True)):
        x_adv = masked(ATTACKS["fgsm"](), CORNER)(model, x, goal, eps=factor * radius)
        assert ((goal.margin(model(x_adv)) < 0) == met).all()


# --- the norm ---


@each_norm
def test_the_geometry_is_that_of_the_values_within(norm):
    delta, x = noise(3, *SHAPE), torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    inner, within = Masked(norm, CORNER), ~OUTSIDE
    eps = torch.tensor([0.5, 1.0, 3.0])
    torch.testing.assert_close(inner.measure(delta), norm.measure(delta[:, within]))
    torch.testing.assert_close(inner.dual(delta), norm.dual(delta[:, within]))
    for name in ("project", "steepest"):
        found = getattr(inner, name)(delta, eps)
        assert not found[:, OUTSIDE].any()
        torch.testing.assert_close(found[:, within], getattr(norm, name)(delta[:, within], eps))
    step, reach = inner.step(x, delta, eps), inner.to_plane(x, delta, eps)
    torch.testing.assert_close(step[:, within], norm.step(x[:, within], delta[:, within], eps))
    torch.testing.assert_close(reach[:, within], norm.to_plane(x[:, within], delta[:, within], eps))
    assert not step[:, OUTSIDE].any()
    assert not reach[:, OUTSIDE].any()
    near = inner.within(x, x + delta, eps)
    assert torch.equal(near[:, OUTSIDE], x[:, OUTSIDE])
    assert torch.equal(near, inner.ball(x, eps).nearest(x + delta))
    torch.testing.assert_close(near[:, within], norm.within(x[:, within], (x + delta)[:, within], eps))


@each_norm
def test_random_points_are_those_of_the_values_within(norm):
    points = Masked(norm, CORNER).random(SHAPE, 3.0, seed=1, ids=ids(4), draw=2)
    assert not points[:, OUTSIDE].any()
    assert torch.equal(points[:, ~OUTSIDE], norm.random((27,), 3.0, seed=1, ids=ids(4), draw=2))


@pytest.mark.parametrize("mask", [CORNER, CORNER.expand(SHAPE), CORNER.float(), CORNER.expand(1, 4, 4)], ids=str)
def test_a_mask_may_be_of_rows_and_columns_or_of_an_image(mask):
    x = torch.full((2, 1, 4, 4) if mask.shape == (1, 4, 4) else (2, *SHAPE), 0.5)
    kept = Masked(Linf(), mask).confine(x, x + 0.25)
    assert torch.equal(kept != x, CORNER.expand_as(x))
    assert torch.equal(Masked(Linf(), mask).confine(x.flatten(2), x.flatten(2) + 0.25), kept.flatten(2))


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 5, 4), (3, 2, 8), (3, 8, 2), (20,)], ids=str)
def test_a_mask_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected a mask for images of shape \(.*\), got one of \(4, 4\)"):
        masked(PGD(steps=1), CORNER)(
            lambda x: x.flatten(1), torch.rand(1, *shape), Untargeted(torch.tensor([0])), eps=1
        )


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(4, 4), "at least one value to change, got one that allows none"),
        ("box:1,2,3,4", "a mask as a tensor .* got str"),
        (torch.tensor(1), r"a mask as a tensor .* got shape \(\)"),
    ],
    ids=["empty", "text", "a number"],
)
def test_what_is_no_mask_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        Masked(Linf(), mask)


def test_norms_with_the_same_mask_are_equal_and_one_mask_is_enough():
    one, same, other = Masked(Linf(), CORNER), Masked(Linf(), CORNER.clone().int()), Masked(Linf(), ~CORNER)
    assert (one == same, hash(one) == hash(same), one == other, one == Linf()) == (True, True, False, False)
    assert worst_case([PGD(norm=one), PGD(norm=same)]).norm == one
    with pytest.raises(ValueError, match="a norm without a mask"):
        Masked(one, CORNER)


# --- attacks made of attacks, masks of their own ---


def test_attacks_made_of_attacks_keep_to_the_mask():
    model, x = network(), images(4, SHAPE, low=0, high=1)
    goal = goals(model(x))["untargeted"]
    for attack in (capped(CW(steps=20), 30), worst_case([CW(steps=5), CW(steps=10)])):
        check_kept(x, masked(attack, CORNER)(model, x, goal), "l2", None)


def test_passes_under_a_mask_are_charged_to_their_images():
    model, x = network(), images(4, SHAPE, low=0, high=1)
    goal, asked = goals(model(x))["untargeted"], []

    def counted(x):
        asked.append(len(x))
        return model(x)

    masked(capped(PGD(), 11), CORNER)(counted, x, goal, eps=1e-4)
    assert sum(asked) <= 4 * 11


def test_each_image_may_have_a_mask_of_its_own():
    model, x = RowByRow(network()), images(4, SHAPE, low=0, high=1)
    goal, masks = goals(model(x))["untargeted"], torch.stack([CORNER, ~CORNER, CORNER, CORNER.T])
    x_adv = masked_each(PGD(steps=4), masks)(model, x, goal, eps=EPS["linf"])
    changed = (x_adv != x).any(1)
    assert changed.flatten(1).any(1).all()
    assert not (changed & ~masks).any()
    alone = masked(PGD(steps=4), masks[1])(model, x[[1]], goal.select(torch.tensor([1])), eps=EPS["linf"])
    assert torch.equal(x_adv[[1]], alone)
    with pytest.raises(ValueError, match="a mask for each of 4 images, got 3"):
        masked_each(PGD(steps=4), masks[:3])(model, x, goal, eps=EPS["linf"])


def test_different_images_with_the_same_id_are_refused_and_equal_ones_are_not():
    model, x = network(), images(2, SHAPE, low=0, high=1)
    goal = dataclasses.replace(goals(model(x))["untargeted"], ids=torch.tensor([5, 5]))
    attack = masked(PGD(steps=3), CORNER)
    with pytest.raises(ValueError, match="different images under a mask to have different ids"):
        attack(model, x, goal, eps=0.1)
    same, goal = x[[0, 0]], goal.select(torch.tensor([0, 0]))
    both = attack(RowByRow(model), same, goal, eps=0.1)
    assert torch.equal(both[0], both[1])


def test_an_image_without_a_start_is_told_also_among_masks():
    x, goal = images(2, SHAPE), Untargeted(torch.tensor([0, 0]))
    attack = masked_each(HopSkipJump(start_draws=2), torch.stack([CORNER, ~CORNER]))
    with pytest.raises(AttackError, match="no start"):
        attack(lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2) + 0 * x.flatten(1)[:, :2], x, goal)


def test_what_has_no_norm_of_its_own_knows_no_masks():
    class Own:
        norm, norms, kind = Linf(), ("linf",), "budget"

    with pytest.raises(ValueError, match="got Own: no mask support"):
        masked(Own(), CORNER)


def test_an_image_of_eight_bits_stays_one_under_a_mask():
    model = network()
    x = (images(4, SHAPE, low=0, high=1) * 255).round() / 255
    goal, norm = goals(model(x))["untargeted"], Masked(Linf(), CORNER)
    x_adv = PGD(norm=norm, steps=10)(model, x, goal, eps=EPS["linf"])
    check_kept(x, quantize(model, x, x_adv, goal, norm, eps=EPS["linf"]), "linf", EPS["linf"])


@pytest.mark.parametrize("name", ["linf-pgd", "l2-deepfool", "salt-and-pepper-noise", "hop-skip-jump"])
def test_attacks_of_foolbox_are_kept_to_the_mask_without_loss(name):
    model, x = network().float(), images(3, SHAPE, low=0, high=1).float()
    goal = goals(model(x))["untargeted"]
    attack = foolbox.get(name, **({"steps": 5} if "steps" in foolbox.get(name).parameters else {}))
    x_adv = masked(attack, CORNER)(model, x, goal, **({"eps": EPS["linf"]} if attack.kind == "budget" else {}))
    check_kept(x, x_adv, attack.norm.name, EPS["linf"] if attack.kind == "budget" else None)
    assert (goal.margin(model(x_adv)) < 0).any() or attack.kind == "budget"


@pytest.mark.parametrize(
    ("masks", "message"),
    [([CORNER] * 3, r"expected masks as a tensor \(N, ...\), .*got list"), (torch.tensor(True), r"got shape \(\)")],
    ids=str,
)
def test_masks_of_each_image_are_a_tensor(masks, message):
    with pytest.raises(ValueError, match=message):
        masked_each(PGD(), masks)

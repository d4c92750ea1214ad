"""Numbers of every kind are taken where a number is: fractions, decimals, numpy's, tensors without dimensions."""

import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from attack_table import build
from pairwise import each_once

from attacks import (
    ATTACKS,
    DDN,
    FGSM,
    NORMS,
    PGD,
    LabelOutOfTopK,
    Linf,
    Perturbation,
    Stored,
    TopKExclusion,
    UniversalPerturbation,
    Untargeted,
    binary_search_eps,
    capped,
    multi_targeted,
    quantize,
    restarts,
)
from attacks.queries.plain import plain_number

X = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))


def model(x):
    return x.flatten(1) @ WEIGHT.T.to(x)


GOAL = Untargeted(model(X).argmax(1))
KINDS = {
    "fraction": Fraction(1, 32),
    "decimal": Decimal("0.03125"),
    "float32": np.float32(1 / 32),
    "float64": np.float64(1 / 32),
    "array": np.array(1 / 32),
    "tensor": torch.tensor(1 / 32),
}
each_kind = pytest.mark.parametrize("eps", KINDS.values(), ids=KINDS)


@each_once("name, eps", list(ATTACKS), [pytest.param(eps, id=kind) for kind, eps in KINDS.items()])
def test_every_attack_takes_it_as_eps(name, eps):
    attack = build(name, ATTACKS[name].norms[0], most=2)
    assert torch.equal(attack(model, X, GOAL, eps=eps), attack(model, X, GOAL, eps=1 / 32))


@each_kind
def test_what_is_made_of_attacks_takes_it_as_eps(eps):
    for attack in (
        capped(PGD(steps=3), 5),
        restarts(PGD(steps=2), 2),
        multi_targeted(PGD(steps=2), 2),
        binary_search_eps(PGD(steps=2), 2),
    ):
        assert torch.equal(attack(model, X, GOAL, eps=eps), attack(model, X, GOAL, eps=1 / 32))
    x_adv = FGSM()(model, X, GOAL, eps=eps)
    assert torch.equal(
        quantize(model, X, x_adv, GOAL, Linf(), eps=eps), quantize(model, X, x_adv, GOAL, Linf(), eps=1 / 32)
    )


def test_an_array_may_hold_one_eps_for_each_image():
    eps = [1 / 16, 1 / 32, 1 / 64]
    found = [attack(model, X, GOAL, eps=np.array(eps)) for attack in (PGD(steps=3), FGSM(), DDN(steps=5))]
    wanted = [attack(model, X, GOAL, eps=torch.tensor(eps)) for attack in (PGD(steps=3), FGSM(), DDN(steps=5))]
    assert all(map(torch.equal, found, wanted))
    with pytest.raises(ValueError, match=r"expected eps as a number or of shape \(3,\), got shape \(2,\)"):
        PGD()(model, X, GOAL, eps=np.full(2, 0.1))


@each_kind
def test_parameters_take_it_and_hold_a_plain_number(eps):
    attack = PGD(relative_step=eps, steps=np.int64(3))
    assert attack == PGD(relative_step=1 / 32, steps=3)
    assert (type(attack.relative_step), type(attack.steps)) == (float, int)
    attack(model, X, GOAL, eps=0.1)


@each_kind
def test_universal_perturbations_take_it(eps):
    found = UniversalPerturbation(eps=eps, steps=2).fit(model, [X])
    assert type(found.eps) is float
    kept = Perturbation(delta=found.delta, norm=Linf(), eps=eps)
    assert json.dumps(kept.eps) == "0.03125"
    assert kept.digest == found.digest


@pytest.mark.parametrize("eps", [np.full(2, 0.1), "0.1", True, None], ids=["array", "text", "flag", "nothing"])
def test_a_perturbation_wants_a_number(eps):
    with pytest.raises(ValueError, match="expected eps of a perturbation as a number, got"):
        Perturbation(delta=torch.zeros(1, 2, 2), norm=Linf(), eps=eps)


@pytest.mark.parametrize("value", [Fraction(5, 2), Decimal("2.5"), np.array(2.5), torch.tensor(2.5)])
def test_what_has_to_be_whole_is_told_so_all_the_same(value):
    with pytest.raises(ValueError, match=r"expected steps of PGD to be a whole number, got 2\.5"):
        PGD(steps=value)


def test_the_size_of_an_fgsm_step_has_the_precision_of_the_images():
    x = X.double()
    x_adv = FGSM()(model, x, Untargeted(model(x).argmax(1)), eps=0.1)
    assert float((x_adv - x).abs().max()) == pytest.approx(0.1, abs=1e-12)


def test_what_is_no_number_stays_as_it_is():
    for value in ("8/255", None, [0.5], np.ones(1), NORMS, True):
        assert plain_number(value) is value
    assert plain_number(np.int64(3)) == 3
    assert isinstance(plain_number(torch.tensor(3)), int)


@pytest.mark.parametrize(
    "make",
    [
        lambda count: capped(PGD(), count).max_passes,
        lambda count: binary_search_eps(PGD(), count).steps,
        lambda count: multi_targeted(PGD(), count).targets,
        lambda count: len(restarts(PGD(), count).attacks),
        lambda count: LabelOutOfTopK(torch.tensor([0]), k=count).k,
        lambda count: TopKExclusion.from_logits(torch.zeros(1, 9), k=count).classes.shape[1],
        lambda count: Stored(PGD(), steps=count).steps,
    ],
    ids=["max_passes", "steps", "targets", "n", "k", "first k", "stored"],
)
def test_counts_are_whole_numbers_of_any_kind(make):
    for count in (3, np.int64(3), torch.tensor(3)):
        assert make(count) == 3
        assert type(make(count)) is int
    for count in (2.5, True, "3"):
        with pytest.raises(ValueError, match=r"expected .*got (2.5|True|'?3)"):
            make(count)

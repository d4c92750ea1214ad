"""A universal perturbation that a run fits itself: each image gets the one that was made without it."""

import pytest
import torch

from attacks import L0, Linf, Perturbation, Untargeted
from attacks.universal.clean import content_ids
from attacks.universal.stored import StoredUniversal


def linear(x):
    """Two classes, told apart by the first two values."""
    return x.flatten(1)[:, :2]


NOISE = torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(3)) / 10
X = NOISE + torch.tensor([0.5, 0.45, 0.5, 0.5]).view(1, 1, 2, 2)


def goal(x):
    return Untargeted(linear(x).argmax(1))


def test_an_image_does_not_depend_on_itself():
    odd = content_ids(X) % 2 == 1
    whole = StoredUniversal(fit=5).fitted(linear, X, eps=0.2)
    without = StoredUniversal(fit=5).fitted(linear, torch.cat([X[odd], X[~odd][:1]]), eps=0.2)
    assert odd.any()
    assert not odd.all()
    even = X[~odd]
    # even images get what was made of the odd ones, whoever else was among the even
    assert torch.equal(whole(linear, even, goal(even), eps=0.2), without(linear, even, goal(even), eps=0.2))


def test_the_batch_makes_no_difference():
    attack = StoredUniversal(fit=5).fitted(linear, X, eps=0.2)
    together = attack(linear, X, goal(X), eps=0.2)
    alone = torch.cat([attack(linear, x, goal(x), eps=0.2) for x in X.split(1)])
    assert torch.equal(together, alone)
    assert (together - X).abs().max() <= 0.2 + 1e-6


def test_budgets_may_differ_by_image():
    attack = StoredUniversal(fit=5).fitted(linear, X, eps=0.2)
    eps = torch.linspace(0.01, 0.2, len(X))
    assert ((attack(linear, X, goal(X), eps=eps) - X).abs().flatten(1).amax(1) <= eps + 1e-6).all()


def test_without_images_there_is_nothing_to_add():
    with pytest.raises(ValueError, match="expected images to fit a universal perturbation to, got none; see fitted"):
        StoredUniversal(fit=5)(linear, X, goal(X), eps=0.2)
    with pytest.raises(ValueError, match="expected images of both halves to fit to, got 1 of one"):
        StoredUniversal(fit=5).fitted(linear, X[:1], eps=0.2)


def test_what_makes_no_sense_is_refused(tmp_path):
    file = tmp_path / "u.safetensors"
    Perturbation(delta=torch.tensor([-0.1, 0.1]), norm=Linf(), eps=0.1).save(file)
    stored = StoredUniversal(perturbation=str(file))
    with pytest.raises(ValueError, match="expected fit, the steps to make a perturbation, got 0"):
        stored.fitted(linear, X, eps=0.2)
    for given, message in (
        ({}, "expected the file of a universal perturbation, or fit, the steps to make one; got neither"),
        ({"perturbation": str(file), "fit": 3}, "expected either a file or a fit of 3 steps, got both"),
        ({"fit": -1}, "expected fit >= 0, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            StoredUniversal(**given)
    with pytest.raises(ValueError, match="expected a fit in linf or l2, got l0"):
        StoredUniversal(norm=L0(), fit=3)

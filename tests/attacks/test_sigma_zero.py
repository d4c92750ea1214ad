"""Sigma-zero: a smooth count of changed values, and a threshold that drops the small ones."""

import pytest
import torch
from oracles import Recorder, images, linear

from attacks import FMN, L0, SigmaZero, Untargeted


def test_the_slope_of_the_count_is_that_of_the_papers_formula():
    attack, delta = SigmaZero(sigma=0.02), torch.linspace(-0.9, 0.9, 24).double().view(2, 3, 2, 2).requires_grad_()
    count = (delta.square() / (delta.square() + 0.02)).flatten(1).mean(1)
    (expected,) = torch.autograd.grad(count.sum(), delta)
    torch.testing.assert_close(attack._count_slope(delta.detach()), expected)


def test_changes_below_the_threshold_are_dropped():
    model, x = linear(num_classes=2, seed=1), images(4, (3, 2, 2), seed=1)
    recorder = Recorder(model)
    SigmaZero(steps=20, threshold=0.4, threshold_step=1e-9)(recorder, x, Untargeted(model(x).argmax(1)))
    for seen in recorder.seen:
        change = (seen - x).abs()
        assert ((change == 0) | (change > 0.4 - 1e-6)).all()


def test_needs_fewer_values_than_fmn():
    model, x = linear(num_classes=10, values=192, seed=3), images(16, (3, 8, 8), seed=3)
    goal = Untargeted(model(x).argmax(1))
    sizes = [L0().measure(attack(model, x, goal) - x) for attack in (SigmaZero(), FMN(norm=L0(), steps=300))]
    assert (sizes[0] - model.smallest(x, goal, "l0")).median() == 0
    assert sizes[0].mean() <= sizes[1].mean()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_is_made_for_l0_alone(norm):
    from attacks import NORMS

    with pytest.raises(ValueError, match=f"expected norm of SigmaZero to be one of l0, got {norm}"):
        SigmaZero(norm=NORMS[norm]())

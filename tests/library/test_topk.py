"""TopK: the smooth margin, and steps that suit the norm."""

import pytest
import torch
from oracles import images, linear, mlp

from attacks import FMN, L0, L1, L2, Linf, TopK, TopKExclusion


@pytest.mark.parametrize(
    ("norm", "step_size"), [(Linf(), 0.5), (L2(), 1.0), (L1(), 2.0), (L0(), 2.0)], ids=["linf", "l2", "l1", "l0"]
)
def test_the_default_step_depends_on_the_norm(norm, step_size):
    model, x = linear(), images(4, (12,))
    goal = TopKExclusion.from_logits(model(x), 2)
    default = TopK(norm=norm, steps=40)(model, x, goal)
    assert torch.equal(default, TopK(norm=norm, steps=40, step_size=step_size)(model, x, goal))
    assert not torch.equal(default, TopK(norm=norm, steps=40, step_size=step_size / 3)(model, x, goal))


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=lambda norm: norm.name)
def test_finds_less_than_a_descent_of_the_margin_does(norm):
    model, x = linear(num_classes=10, values=48, seed=2), images(10, (3, 4, 4), seed=2)
    goal = TopKExclusion.from_logits(model(x), 3)
    by_margin, smooth = (norm.measure(attack(norm=norm, steps=200)(model, x, goal) - x) for attack in (FMN, TopK))
    assert (smooth / by_margin).mean() < 0.95


def test_logits_of_any_scale_give_the_same():
    model, x = mlp(12, seed=1), images(4, (12,), seed=1)
    goal = TopKExclusion.from_logits(model(x), 2)
    once = TopK(steps=60)(model, x, goal)
    assert not torch.equal(once, x)
    torch.testing.assert_close(TopK(steps=60)(lambda x: 1024 * model(x), x, goal), once)


def test_what_was_first_is_outside_afterwards():
    model, x = linear(num_classes=8, seed=3), images(10, (12,), seed=3)
    goal = TopKExclusion.from_logits(model(x), 3)
    x_adv = TopK()(model, x, goal)
    before, after = (model(images).topk(3, dim=1).indices.tolist() for images in (x, x_adv))
    assert all(not set(old) & set(new) for old, new in zip(before, after, strict=True))

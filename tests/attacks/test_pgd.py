"""PGD: where it starts, how far it steps, and when it stops."""

from itertools import pairwise

import pytest
import torch
from oracles import Recorder, images, linear, mlp

from attacks import L2, PGD, Linf, Untargeted


def hopeless():
    """A network, images, and a goal that no small perturbation meets."""
    model, x = mlp(12), images(3, (12,))
    return Recorder(model), x, Untargeted(model(x).argmax(1))


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=lambda norm: norm.name)
def test_steps_have_their_length_and_stay_in_the_ball(norm):
    model, x, goal = hopeless()
    PGD(norm=norm, steps=12, relative_step=0.25, random_start=False)(model, x, goal, eps=1e-3)
    path = [point for point in model.seen if not torch.equal(point, x)]
    torch.testing.assert_close(norm.measure(path[0] - x), torch.full((3,), 0.25e-3).double())
    for one, following in pairwise(path):
        assert (norm.measure(following - one) <= 0.25e-3 * (1 + 1e-9)).all()
        assert (norm.measure(following - x) <= 1e-3 * (1 + 1e-9)).all()
    torch.testing.assert_close(norm.measure(path[-1] - x), torch.full((3,), 1e-3).double())


def test_starts_at_random_unless_told():
    model, x, goal = hopeless()
    PGD(steps=1)(model, x, goal, eps=1e-3, seed=4)
    start = x + Linf().random((12,), 1e-3, 4, goal.ids, 0)
    assert any(torch.allclose(point, start, atol=1e-12) for point in model.seen)
    model.seen.clear()
    PGD(steps=1, random_start=False)(model, x, goal, eps=1e-3)
    assert not any(torch.allclose(point, start, atol=1e-12) for point in model.seen)


def test_an_image_leaves_at_its_first_success():
    model, x = linear(num_classes=2, seed=1), images(6, (12,), seed=1)
    goal, recorder = Untargeted(model(x).argmax(1)), Recorder(model)
    radius = model.smallest(x, goal, "linf")
    reachable = torch.arange(6) < 3
    eps = torch.where(reachable, 4 * radius, 0.5 * radius)
    x_adv = PGD(steps=30)(recorder, x, goal, eps=eps)
    assert torch.equal(goal.margin(model(x_adv)) < 0, reachable)
    assert len(recorder.seen[-1]) == 3
    # The step that crosses the boundary is the last, and leads nowhere near the end of the ball.
    assert (Linf().measure(x_adv - x)[reachable] < eps[reachable]).any()

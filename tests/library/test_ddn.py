"""DDN: a sphere that shrinks while fooled and grows while not."""

from itertools import pairwise

import pytest
import torch
from oracles import Recorder, images, linear

from attacks import DDN, L2, Untargeted


def path_of(attack, model, x, goal, **arguments):
    """Sizes of the perturbations of one image that the model is asked about, after the clean image."""
    recorder = Recorder(model)
    attack(recorder, x, goal, **arguments)
    return [float(L2().measure(point - x)) for point in recorder.seen if not torch.equal(point, x)]


@pytest.fixture
def situation():
    model, x = linear(num_classes=2, seed=1), images(1, (12,), seed=1, low=0.45, high=0.55)
    goal = Untargeted(model(x).argmax(1))
    return model, x, goal, float(model.smallest(x, goal, "l2"))


def test_the_radius_changes_by_gamma_and_tells_whether_it_fooled(situation):
    model, x, goal, radius = situation
    sizes = path_of(DDN(steps=60, init_eps=2 * radius, gamma=0.1), model, x, goal)
    # The clean image does not fool, so the first sphere is larger already.
    assert sizes[0] == pytest.approx(2 * radius * 1.1)
    for size, following in pairwise(sizes):
        assert following / size == pytest.approx(0.9 if following < size else 1.1)
        if size > 1.2 * radius:
            assert following < size
        if size < 0.999 * radius:
            assert following > size


def test_never_looks_beyond_eps(situation):
    model, x, goal, radius = situation
    sizes = path_of(DDN(steps=40, init_eps=9.0), model, x, goal, eps=1.5 * radius)
    assert max(sizes) <= 1.5 * radius * (1 + 1e-6)


def test_the_first_radius_matters_little(situation):
    model, x, goal, radius = situation
    for first in (0.05 * radius, 20 * radius):
        x_adv = DDN(steps=200, init_eps=first)(model, x, goal)
        assert float(L2().measure(x_adv - x)) == pytest.approx(radius, rel=0.02)

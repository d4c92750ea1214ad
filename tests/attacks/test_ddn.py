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


def test_an_image_without_a_gradient_looks_around():
    # Flat as far as 0.3 from the image, and steep beyond that.
    x, goal = torch.full((4, 12), 0.5, dtype=torch.float64), Untargeted(torch.zeros(4, dtype=torch.int64))

    def model(x):
        depth = 0.5 - ((x - 0.5).square().sum(1) - 0.09).clamp_min(0)
        return torch.stack([depth, -depth], 1)

    attack = DDN()
    x_adv = attack(model, x, goal, seed=3)
    assert (goal.margin(model(x_adv)) < 0).all()
    assert (L2().measure(x_adv - x) <= 1.05 * 0.59**0.5).all()
    assert torch.equal(attack(model, x, goal, seed=3), x_adv)
    alone = attack(model, x[2:3], goal.select(torch.tensor([2])), seed=3)
    assert torch.equal(alone, x_adv[2:3])


def test_the_sphere_never_outgrows_what_the_box_allows():
    # Nothing fools for 400 steps; then it must not take as long to come back.
    net, x = linear(num_classes=2, seed=1), images(1, (12,), seed=1, low=0.45, high=0.55)
    goal, asked = Untargeted(net(x).argmax(1)), []

    def model(x):
        asked.append(1)
        logits = net(x)
        return logits if len(asked) > 400 else logits + 1e3 * torch.nn.functional.one_hot(goal.labels, 2)

    x_adv = DDN(steps=550)(model, x, goal)
    assert L2().measure(x_adv - x).item() <= 1.05 * net.smallest(x, goal, "l2").item()

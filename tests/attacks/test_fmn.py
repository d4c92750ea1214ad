"""FMN: a ball whose radius follows the decision boundary."""

import pytest
import torch
from oracles import Recorder, images, linear

from attacks import FMN, L0, L1, L2, Linf, Untargeted
from attacks.fmn import follow
from attacks.searches.nearest import Nearest

NORMS = [Linf(), L2(), L1(), L0()]


def next_radius(norm, radius, *, reach, fooled, best, gamma=0.1):
    """Of one image whose nearest fooling image so far has the size ``best`` (inf: none)."""
    nearest = Nearest(torch.zeros(1, 4), norm)
    nearest.size = torch.tensor([best])
    return follow(norm, torch.tensor([radius]), torch.tensor([reach]), gamma, torch.tensor([fooled]), nearest).item()


@pytest.mark.parametrize(
    ("radius", "reach", "fooled", "best", "expected"),
    [
        (0.5, 9.0, True, torch.inf, 0.45),
        (0.5, 9.0, True, 0.4, 0.36),
        (0.5, 9.0, True, 0.6, 0.45),
        (0.5, 9.0, False, 0.6, 0.55),
        (0.5, 0.7, False, torch.inf, 0.7),
        (0.5, 0.1, False, torch.inf, 0.55),
    ],
    ids=["fooled", "fooled nearer", "fooled further", "lost", "never, boundary ahead", "never, boundary passed"],
)
def test_the_radius_follows_the_boundary(radius, reach, fooled, best, expected):
    assert next_radius(L2(), radius, reach=reach, fooled=fooled, best=best) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("radius", "fooled", "best", "expected"),
    [(5.0, True, 5.0, 4), (50.0, True, 50.0, 45), (1.0, True, 1.0, 1), (5.0, False, 7.0, 6), (50.0, False, 60.0, 55)],
)
def test_the_radius_of_l0_is_whole_and_moves(radius, fooled, best, expected):
    assert next_radius(L0(), radius, reach=0.0, fooled=fooled, best=best) == expected


def test_an_image_on_the_boundary_gets_a_radius():
    assert next_radius(L2(), 0.0, reach=0.0, fooled=False, best=torch.inf) > 0


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=lambda norm: norm.name)
def test_the_first_candidate_lies_where_a_linear_model_has_its_boundary(norm):
    model, x = linear(num_classes=2, seed=1), images(5, (12,), seed=1)
    goal, recorder = Untargeted(model(x).argmax(1)), Recorder(model)
    FMN(norm=norm, steps=3, step_size=100.0)(recorder, x, goal)
    first = next(point for point in recorder.seen if not torch.equal(point, x))
    torch.testing.assert_close(norm.measure(first - x), model.smallest(x, goal, norm.name))


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: norm.name)
def test_never_looks_beyond_eps(norm):
    model, x = linear(seed=1), images(5, (12,), seed=1)
    goal, recorder = Untargeted(model(x).argmax(1)), Recorder(model)
    eps = torch.full((5,), 2.0) if norm.name == "l0" else 0.9 * model.smallest(x, goal, norm.name)
    FMN(norm=norm, steps=30)(recorder, x, goal, eps=eps)
    assert all((norm.measure(point - x) <= eps * (1 + 1e-6)).all() for point in recorder.seen)

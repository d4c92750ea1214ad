"""Projections onto the balls of the four norms: nearest, feasible, and idempotent."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from norm_rows import DUALS, SIZES, each_convex_norm, each_norm, ids, noise, radii, rows
from scipy import optimize

from attacks import L0, L1, L2, Linf


@each_norm
@given(delta=rows(), eps=radii)
def test_projection_lands_in_the_ball_and_stays(norm, delta, eps):
    projected = norm.project(delta, eps)
    assert projected.shape == delta.shape
    assert (norm.measure(projected) <= eps * (1 + 1e-12) + 1e-12).all()
    torch.testing.assert_close(norm.project(projected, eps), projected, rtol=1e-12, atol=1e-12)


@each_norm
@given(delta=rows(), eps=radii)
def test_projection_leaves_what_is_inside_exactly_as_it_is(norm, delta, eps):
    inside = norm.measure(delta) <= eps * (1 - 1e-9)
    assert torch.equal(norm.project(delta, eps)[inside], delta[inside])


@each_convex_norm
@given(delta=rows(), eps=radii)
def test_projection_is_the_nearest_point(norm, delta, eps):
    # p is the projection of d exactly if d - p makes no acute angle with q - p for any q of the ball; the largest
    # inner product of d - p with such a q is eps times its dual norm.
    projected = norm.project(delta, eps).numpy()
    for d, p in zip(delta.numpy(), projected, strict=True):
        assert (d - p) @ p >= eps * DUALS[norm.name](d - p) - 1e-9


@given(delta=rows(), eps=st.integers(1, 8))
def test_l0_projection_is_the_nearest_point_by_brute_force(delta, eps):
    for d, p in zip(delta.numpy(), L0().project(delta, eps).numpy(), strict=True):
        kept = (np.isin(np.arange(len(d)), places) for places in combinations(range(len(d)), min(eps, len(d))))
        nearest = min(SIZES["l2"](np.where(mask, 0, d)) for mask in kept)
        assert SIZES["l2"](d - p) == pytest.approx(nearest, abs=1e-12)
        assert set(p[p != 0]) <= set(d)


@pytest.mark.parametrize("norm", [Linf(), L2(), L1()], ids=lambda norm: norm.name)
@settings(max_examples=15)
@given(delta=rows(most=4), eps=radii)
def test_projection_agrees_with_a_general_optimiser(norm, delta, eps):
    for d, p in zip(delta.numpy(), norm.project(delta, eps).numpy(), strict=True):
        count = len(d)
        # up - down is the point, so that the size is smooth in both
        size = {
            "linf": lambda z: eps - z[: len(z) // 2] - z[len(z) // 2 :],
            "l2": lambda z: eps**2 - ((z[: len(z) // 2] - z[len(z) // 2 :]) ** 2).sum(),
            "l1": lambda z: eps - z.sum(),
        }[norm.name]
        found = optimize.minimize(
            lambda z, d=d, count=count: ((z[:count] - z[count:] - d) ** 2).sum(),
            np.full(2 * count, eps / (4 * count)),
            bounds=[(0, None)] * (2 * count),
            constraints={"type": "ineq", "fun": size},
            method="SLSQP",
        )
        assert found.success, found.message
        assert ((d - p) ** 2).sum() == pytest.approx(found.fun, abs=1e-4)


@each_norm
def test_no_random_point_of_the_ball_is_nearer(norm):
    delta, eps = noise(5, 6, dtype=torch.float64), 2.0
    projected = norm.project(delta, eps)
    others = norm.random((6,), eps, seed=0, ids=ids(2000), draw=0).double()
    distance = torch.cdist(delta, others).amin(1)
    assert ((projected - delta).norm(dim=1) <= distance).all()


@each_norm
@given(delta=rows())
def test_projection_onto_a_ball_without_bounds_changes_nothing(norm, delta):
    assert torch.equal(norm.project(delta, torch.inf), delta)


@each_norm
def test_projection_onto_nothing_is_nothing(norm):
    assert norm.project(torch.tensor([[0.0, 0.0], [3.0, -4.0]]), 0.0).abs().sum() == 0


def test_l1_projection_with_ties():
    assert L1().project(torch.tensor([[2.0, -2.0, 2.0, 0.0]]), 3.0).tolist() == [[1.0, -1.0, 1.0, 0.0]]


def test_l0_projection_keeps_the_first_of_equals_and_whole_values_only():
    assert L0().project(torch.tensor([[0.5, -0.5, 0.5]]), 2.9).tolist() == [[0.5, -0.5, 0.0]]

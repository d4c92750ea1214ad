"""The norms, their textbook formulas, and rows to try them on. A new norm is added in this file alone."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy import optimize

from attacks import L0, L1, L2, Linf

ALL = [Linf(), L2(), L1(), L0()]
CONVEX = ALL[:3]
each_norm = pytest.mark.parametrize("norm", ALL, ids=lambda norm: norm.name)
each_convex_norm = pytest.mark.parametrize("norm", CONVEX, ids=lambda norm: norm.name)
SIZES = {
    "linf": lambda row: np.abs(row).max(),
    "l2": lambda row: np.sqrt((row**2).sum()),
    "l1": lambda row: np.abs(row).sum(),
    "l0": lambda row: np.count_nonzero(row),
}
DUALS = {"linf": SIZES["l1"], "l2": SIZES["l2"], "l1": SIZES["linf"], "l0": SIZES["linf"]}
EPS = {"linf": 0.04, "l2": 0.2, "l1": 1.0, "l0": 4.0}
"""Norm -> a budget that suits the small images of the tests."""
values = st.floats(-3, 3, width=32, allow_subnormal=False) | st.sampled_from([0.0, 0.5, -0.5, 1.0, -1.0])
radii = st.floats(0.015625, 5, width=32) | st.sampled_from([1.0, 2.0])


@st.composite
def rows(draw, elements=values, most=7):
    """A matrix (N, D), float64: ties, zeros and empty batches are likely."""
    count, width = draw(st.integers(0, 3)), draw(st.integers(1, most))
    row = st.lists(elements, min_size=width, max_size=width)
    data = draw(st.lists(row, min_size=count, max_size=count))
    return torch.tensor(data, dtype=torch.float64).view(count, width)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def ids(count, start=0):
    return torch.arange(start, start + count)


def _least_linf(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """Min e: a @ d >= b, |d| <= e, 0 <= x + d <= 1."""
    count = len(x)
    size = np.ones((count, 1))
    limits = np.block([[-a, np.zeros((len(a), 1))], [np.eye(count), -size], [-np.eye(count), -size]])
    bounds = [*zip(-x, 1 - x, strict=True), (0, None)]
    found = optimize.linprog([0] * count + [1], limits, np.concatenate([-b, np.zeros(2 * count)]), bounds=bounds)
    return float(found.fun) if found.success else math.inf


def _least_l1(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """Min sum of up + down: a @ (up - down) >= b, 0 <= up <= 1 - x, 0 <= down <= x."""
    bounds = [(0, most) for most in np.concatenate([1 - x, x])]
    found = optimize.linprog(np.ones(2 * len(x)), np.hstack([-a, a]), -b, bounds=bounds)
    return float(found.fun) if found.success else math.inf


def _least_l2(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """Min |d|: a @ d >= b and the box, as a non-negative least-squares problem (Lawson and Hanson, 1974)."""
    rows, least = np.vstack([a, np.eye(len(x)), -np.eye(len(x))]), np.concatenate([b, -x, x - 1])
    system = np.vstack([rows.T, least])
    aim = np.append(np.zeros(len(x)), 1.0)
    weights, residual = optimize.nnls(system, aim)
    if residual < 1e-9:
        return math.inf
    rest = system @ weights - aim
    return float(np.linalg.norm(rest[:-1] / rest[-1]))


def _least_l0(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """Min number of changed values: a @ d >= b, -x * changed <= d <= (1 - x) * changed."""
    count = len(x)
    nothing = np.zeros_like(a)
    limits = np.block([[a, nothing], [np.eye(count), -np.diag(1 - x)], [-np.eye(count), -np.diag(x)]])
    low = np.concatenate([b, np.full(2 * count, -np.inf)])
    high = np.concatenate([np.full(len(b), np.inf), np.zeros(2 * count)])
    found = optimize.milp(
        np.concatenate([np.zeros(count), np.ones(count)]),
        integrality=np.concatenate([np.zeros(count), np.ones(count)]),
        bounds=optimize.Bounds(np.concatenate([-x, np.zeros(count)]), np.concatenate([1 - x, np.ones(count)])),
        constraints=optimize.LinearConstraint(limits, low, high),
    )
    return float(round(found.fun)) if found.success else math.inf


SOLVERS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "linf": _least_linf,
    "l2": _least_l2,
    "l1": _least_l1,
    "l0": _least_l0,
}
"""Norm -> size of the smallest d with a @ d >= b (a (M, D), b (M,)) that keeps an image x (D,) in [0, 1]."""

"""The four norms, their textbook formulas, and rows to try them on."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

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

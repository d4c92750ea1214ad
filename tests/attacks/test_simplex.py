"""Shrinking numbers until their sum fits, against bisection."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attacks.geometry.simplex import shrink

numbers = st.floats(0, 5) | st.sampled_from([0.0, 1.0, 2.0])


def by_halving(size, total, most):
    """The same for one row, slowly."""
    low, high = 0.0, float(size.max())
    for _ in range(200):
        amount = (low + high) / 2
        too_much = torch.minimum((size - amount).clamp_min(0), most).sum() > total
        low, high = (amount, high) if too_much else (low, amount)
    return torch.minimum((size - high).clamp_min(0), most)


@given(data=st.data(), total=st.floats(0.01, 8), width=st.integers(1, 9))
def test_finds_the_amount_that_halving_finds(data, total, width):
    row = st.lists(numbers, min_size=width, max_size=width)
    size, most = (torch.tensor(data.draw(row), dtype=torch.float64) for _ in range(2))
    for bound in (None, most):
        limit = torch.full_like(size, torch.inf) if bound is None else bound
        plain = torch.minimum(size, limit)
        result = shrink(
            size[None], torch.tensor([[total]], dtype=torch.float64), None if bound is None else bound[None]
        )[0]
        expected = plain if plain.sum() <= total else by_halving(size, total, limit)
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-9)
        assert (result <= plain).all()


@pytest.mark.parametrize("bounded", [True, False])
def test_a_row_does_not_depend_on_the_others(bounded):
    generator = torch.Generator().manual_seed(0)
    size = torch.rand(20, 300, generator=generator) ** 8
    most = torch.rand(20, 300, generator=generator) if bounded else None
    total = torch.rand(20, 1, generator=generator) * 10
    together = shrink(size, total, most)
    for i in range(20):
        row = slice(i, i + 1)
        assert torch.equal(shrink(size[row], total[row], most[row] if bounded else None), together[row])


def test_fits_in_float32_on_long_rows():
    size, total = torch.rand(4, 150_528, generator=torch.Generator().manual_seed(0)), torch.full((4, 1), 12.0)
    torch.testing.assert_close(shrink(size, total).sum(1, keepdim=True), total, rtol=1e-5, atol=0)


def test_nothing_is_left_of_a_sum_of_nothing():
    assert shrink(torch.ones(2, 3), torch.zeros(2, 1)).tolist() == [[0.0] * 3] * 2
    assert shrink(torch.zeros(2, 3), torch.zeros(2, 1)).tolist() == [[0.0] * 3] * 2

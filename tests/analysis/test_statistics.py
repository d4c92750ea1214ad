"""Intervals and exact tests against scipy and against formulas that are written another way."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from advbench.analysis.statistics import Proportion, Quantile, holm, mcnemar, quantile
from advbench.intervals import wilson

counts = st.integers(0, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.sampled_from([0.9, 0.95, 0.99]))
def test_wilson_is_that_of_scipy(pair, level):
    k, n = pair
    low, high = wilson(k, n, level)
    if not n:
        assert (low, high) == (0, 1)
        return
    expected = stats.binomtest(k, n).proportion_ci(level, "wilson")
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_takes_arrays():
    low, high = wilson([0, 5, 10], 10)
    assert [wilson(k, 10).low for k in (0, 5, 10)] == low.tolist()
    assert (low[0], high[-1]) == (0, 1)


def test_wilson_covers_what_it_should():
    """Coverage over all outcomes of a binomial, in closed form; Wilson's is 95 % on average."""
    n, ks = 50, np.arange(51)
    low, high = wilson(ks, n)
    shares = np.linspace(0.05, 0.95, 181)
    covered = [stats.binom.pmf(ks, n, p)[(low <= p) & (p <= high)].sum() for p in shares]
    assert 0.945 < np.mean(covered) < 0.96
    assert min(covered) > 0.92


@given(counts, st.integers(0, 50))
def test_unknown_images_only_widen(pair, unknown):
    k, n = pair
    sure, unsure = Proportion(k, n + unknown), Proportion(k, n + unknown, unknown)
    assert unsure.low == sure.low
    assert unsure.high >= sure.high
    assert unsure.rate == sure.rate


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Proportion(41, 100), "41.0 % (41/100) [31.9, 50.8]"),
        (Proportion(41, 100, 7), "41.0 to 48.0 % (41 to 48/100) [31.9, 57.7]"),
        (Proportion(41, 100000, 1), "0.0 % (41 to 42/100000) [0.0, 0.1]"),
        (Proportion(0, 0), "none (0/0) [0.0, 100.0]"),
        (Proportion(3, 3), "100.0 % (3/3) [43.9, 100.0]"),
    ],
)
def test_a_share_in_words(share, text):
    assert str(share) == text


sizes = st.lists(st.one_of(st.floats(0, 9), st.just(math.inf)), min_size=1, max_size=60)


@given(sizes, st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_a_quantile_is_the_smallest_size_that_enough_images_do_not_exceed(values, q):
    expected = next(v for v in sorted(values) if sum(w <= v for w in values) >= q * len(values) - 1e-9)
    assert quantile(values, q).value == (expected if math.isfinite(expected) else None)


@given(sizes)
def test_the_interval_of_a_quantile_holds_it(values):
    value, low, high = (math.inf if part is None else part for part in quantile(values))
    assert low <= value <= high


@pytest.mark.parametrize(("n", "q"), [(5, 0.5), (20, 0.5), (101, 0.5), (101, 0.1)])
def test_order_statistics_cover_at_least_95_percent(n, q):
    """The rank of the quantile among n draws is binomial, so that coverage is a sum of its probabilities."""
    _, low, high = quantile(np.arange(1, n + 1), q)
    first, last = int(low), n + 1 if high is None else int(high)
    covered = sum(stats.binom.pmf(b, n, q) for b in range(first, last))
    assert covered >= 0.95


def test_failures_are_kept_in():
    assert quantile([1, 2, math.inf]).value == 2
    assert quantile([1, math.inf, math.inf]) == Quantile(None, 0.0, None)
    assert quantile([]) == Quantile(None, None, None)


def test_unknown_sizes_widen_the_interval_both_ways():
    values = np.arange(1.0, 102.0)
    lost = values % 10 == 0
    sure, unsure = quantile(values), quantile(np.where(lost, np.inf, values), 0.5, lost)
    assert unsure.low < sure.low
    assert unsure.high > sure.high


def test_sizes_that_may_be_smaller_widen_the_interval_below():
    values = np.arange(1.0, 102.0)
    sure, unsure = quantile(values), quantile(values, 0.5, values > 90)
    assert unsure.low < sure.low
    assert (unsure.value, unsure.high) == (sure.value, sure.high)


@given(st.integers(0, 80), st.integers(0, 80))
def test_mcnemar_is_the_sum_of_binomial_probabilities(worse, better):
    n = worse + better
    tail = sum(math.comb(n, i) for i in range(worse, n + 1)) / 2**n
    both = sum(math.comb(n, i) for i in range(n + 1) if abs(2 * i - n) >= abs(2 * worse - n)) / 2**n
    found = mcnemar(worse, better)
    assert found.worse == pytest.approx(tail, rel=1e-9)
    assert found.two_sided == pytest.approx(both, rel=1e-9)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_by_its_definition(p_values):
    expected = []
    for p in p_values:
        below = sorted(q for q in p_values if q <= p)
        expected.append(min(1.0, max(((len(p_values) - i) * q for i, q in enumerate(below)), default=0)))
    assert holm(p_values) == pytest.approx(expected)


def test_holm_rejects_no_true_hypothesis_too_often():
    """Of all ways in which three independent p-values of a fine grid can fall, at most 5 % reject anything."""
    grid = (np.arange(60) + 1) / 60
    rejected = [min(holm(list(ps))) <= 0.05 for ps in itertools.product(grid, repeat=3)]
    assert np.mean(rejected) <= 0.05

"""Optimality of attacks, by which `make optimality` ranks them."""

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.libraries import without_wandb
from tests.peers.optimality_page import cap_of, optimality

sizes = st.none() | st.floats(0.01, 5) | st.integers(1, 9).map(float)
runs = st.integers(1, 12).flatmap(
    lambda count: st.lists(st.lists(sizes, min_size=count, max_size=count), min_size=1, max_size=4)
)


def never(run):
    return np.array([np.inf if size is None else size for size in run])


@given(runs)
def test_optimality_is_the_area_between_curves_of_robust_accuracy(runs):
    named = dict(enumerate(runs))
    cap, envelope = cap_of(runs), np.min([never(run) for run in runs], 0)

    def area(run):
        edges = np.unique(np.clip(np.concatenate([[0.0, cap], run]), 0, cap))
        return sum((run > low).mean() * (high - low) for low, high in pairwise(edges))

    room = cap - area(envelope)
    for name, found in optimality(named).items():
        expected = (cap - area(never(named[name]))) / room if room > 1e-9 else 1.0
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def eval_optimality():
    """AttackBench's measure: sizes, smallest sizes, share of images that are right to begin with -> optimality."""
    if find_spec("attackbench") is None:
        pytest.skip("needs attackbenchlib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", without_wandb())
        return import_module("attackbench.metrics.distances").eval_optimality


@given(runs=runs)
def test_attackbench_says_the_same(eval_optimality, runs):
    envelope = np.min([never(run) for run in runs], 0)
    for name, found in optimality(dict(enumerate(runs))).items():
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of images that nobody fools
            theirs = eval_optimality(never(runs[name]), envelope, clean_acc=1.0)
        assert np.isnan(theirs) or found == pytest.approx(theirs, abs=1e-6)

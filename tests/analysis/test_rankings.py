"""How models rank from threat to threat, against scipy and numbers worked out by hand."""

import json

import numpy as np
import pytest
from frames import frame, images, row
from runs import a_run, a_unit
from scipy.stats import kendalltau, rankdata

from advbench.analysis.profile.profiles import profiles
from advbench.analysis.profile.rankings import DRAWS, drawn_again, kendall, rankings, ranks_of
from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.threats import gather

SMALL = 1 / 255


def ranked(falls, of=20):
    """Models whose first images fall: name -> how many to Linf and how many to L2."""
    rows = []
    for model, counts in falls.items():
        for norm, count in zip(("linf", "l2"), counts, strict=True):
            rows += images([SMALL] * count + [None] * (of - count), model=model, norm=norm, eps=SMALL)
    data = frame(rows)
    return rankings(profiles(data, gather(data)))


def test_tau_and_ranks_are_those_of_scipy():
    rates = np.random.default_rng(1).integers(0, 5, (6, 7)) / 5
    found = kendall(rates)
    for one in range(6):
        for other in range(6):
            assert found[one, other] == pytest.approx(kendalltau(rates[one], rates[other]).statistic)
    assert ranks_of(rates) == pytest.approx(np.array([rankdata(-row) for row in rates]))


def test_a_threat_that_makes_no_difference_has_no_tau():
    (found,) = ranked({"a": (1, 3), "b": (5, 3), "c": (9, 3)})
    assert found.tau[1][1].value == 1
    assert found.tau[1][2] is None
    assert found.tau[0] == (None, None, None)  # all are right when clean
    assert found.ranks.tolist() == [[2, 2, 2], [1, 2, 3], [2, 2, 2]]


def test_opposite_orders_and_their_interval():
    (found,) = ranked({"a": (0, 20), "b": (10, 10), "c": (20, 0)})
    tau = found.tau[1][2]
    assert tau.value == -1
    assert tau.low == tau.high == -1  # whichever images are drawn: a has all of them and none


def test_intervals_are_wide_where_few_images_decide():
    (found,) = ranked({"a": (9, 1), "b": (10, 2), "c": (11, 3)})
    tau = found.tau[1][2]
    assert tau.value == 1
    assert tau.low < 1


@pytest.mark.parametrize("of", [10, 20, 300])
def test_models_with_as_many_of_the_images_drawn_are_equal(of):
    stand = np.random.default_rng(of).integers(0, 2, (2, 4, of)).astype(bool)
    rates = drawn_again(stand)
    assert rates.shape == (DRAWS, 2, 4)
    ties = np.isclose(rates[..., 0], rates[..., 1], rtol=0, atol=0.1 / of)
    assert ties.sum() > DRAWS / of
    assert (rates[..., 0] == rates[..., 1])[ties].all()


def test_images_stand_in_the_order_of_the_plan_where_results_are_missing():
    """Models are compared image by image, by that order alone: each may see the images at a size of its own."""
    run = a_run([row("s2", unit_id="done")], missing=[a_unit(["s0", "s1"]), a_unit(["s2"], unit_id="done")])
    del run.missing["done"]
    assert RunAnalysis.of(run).evidence[0].samples.tolist() == ["s0", "s1", "s2"]


def test_three_models_are_needed_and_threats_that_all_have():
    assert ranked({"a": (1, 2), "b": (2, 3)}) == ()
    rows = [
        each
        for place, model in enumerate("abc")
        for norm in ("linf", "l2")[: 1 + (place < 2)]
        for each in images([SMALL] * place + [None] * 5, model=model, norm=norm, eps=SMALL)
    ]
    data = frame(rows)
    (found,) = rankings(profiles(data, gather(data)))
    assert [row and row.norm for row in found.threats] == [None, "linf"]


def test_plain_json():
    (found,) = ranked({"a": (1, 3), "b": (5, 3), "c": (9, 3)})
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["threats"][1]["norm"] == "linf"
    assert told["tau"][1][2] is None

"""Errors under corruptions, and the means of the benchmark, against numbers worked out by hand."""

import json

import pytest
from frames import frame, row, unknown

from advbench.analysis.corruptions import alexnet
from advbench.analysis.corruptions.errors import corruption_results
from advbench.analysis.corruptions.gate import hold_corruptions
from advbench.analysis.threats import gather
from advbench.catalog.attacks import corruptions

IMAGENET = {"toy": 1000}


def wrong(name, severity, samples, of=4, *, clean=(), **columns):
    """A row for each of so many images; some are misclassified once corrupted, some when clean."""
    params = json.dumps({"severity": severity, "constants": "auto"})
    shared = {"attack": f"corruption/{name}", "params": params, "eps": None} | columns
    return [
        row(f"s{i}", adv_class=int(i in samples), clean_class=3 if i in clean else 0, flipped=i in samples, **shared)
        for i in range(of)
    ]


def every_severity(name, samples, **columns):
    return [each for severity in range(1, 6) for each in wrong(name, severity, samples, **columns)]


def only(rows, classes=IMAGENET):
    (found,) = corruption_results(frame(rows), classes)
    return found


def test_alexnet_is_known_for_the_fifteen():
    assert tuple(alexnet.CORRUPTED) == corruptions(every=False)
    assert sum(alexnet.CORRUPTED.values()) / 15 == pytest.approx(0.7815, abs=0.02)


def test_errors_count_images_that_are_wrong_once_corrupted():
    found = only([*wrong("fog", 1, {0}, clean={1}), *wrong("fog", 3, {0, 2}, clean={1})])
    assert (found.model, found.dataset) == ("net", "toy")
    assert {severity: (each.k, each.n) for severity, each in found.errors["fog"].items()} == {1: (1, 4), 3: (2, 4)}
    assert (found.clean.k, found.clean.n) == (1, 4)
    assert found.means["fog"].value == pytest.approx(3 / 8)
    assert found.mce is None


def test_mean_corruption_error_by_hand():
    rows = every_severity("fog", {0, 1}) + every_severity("snow", {0}) + every_severity("spatter", {0, 1, 2, 3})
    found = only(rows)
    # error .5 under fog and .25 under snow; spatter is none of the fifteen, and the clean error is 0
    assert found.counted == 2
    assert found.mce.value == pytest.approx((0.5 / 0.819324 + 0.25 / 0.866816) / 2)
    assert found.relative_mce.value == pytest.approx((0.5 / (0.819324 - 0.435) + 0.25 / (0.866816 - 0.435)) / 2)
    assert found.mean.value == pytest.approx((0.5 + 0.25 + 1) / 3)
    assert found.mce.low < found.mce.value < found.mce.high


def test_relative_mean_corruption_error_takes_off_the_clean_error():
    found = only(every_severity("fog", {0, 1}, clean={0}))
    assert found.relative_mce.value == pytest.approx((0.5 - 0.25) / (0.819324 - 0.435))


def test_alexnet_itself_would_have_one_hundred_percent():
    rows = []
    for name, error in alexnet.CORRUPTED.items():
        rows += every_severity(name, set(range(round(error * 200))), of=200, clean=set(range(87)))
    found = only(rows)
    assert found.counted == 15
    assert found.mce.value == pytest.approx(1, abs=0.005)
    assert found.relative_mce.value == pytest.approx(1, abs=0.02)


def test_other_data_and_missing_severities_have_no_mean_corruption_error():
    assert only(every_severity("fog", {0}), {"toy": 10}).mce is None
    assert only(every_severity("fog", {0})[:-4]).mce is None


def test_what_is_unknown_counts_as_neither():
    rows = every_severity("fog", {0})
    rows[1] = unknown("s1", **{name: rows[1][name] for name in ("attack", "params", "eps")})
    found = only(rows)
    assert (found.errors["fog"][1].k, found.errors["fog"][1].unknown) == (1, 1)
    assert (found.mean, found.means["fog"], found.mce, found.relative_mce) == (None,) * 4


def test_an_interval_is_honest_where_no_image_is_wrong():
    found = only(every_severity("fog", set()))
    assert found.mean.value == found.mean.low == 0
    assert found.mean.high == pytest.approx(found.errors["fog"][1].high)


def test_the_interval_of_a_mean_is_narrower_where_images_agree_less_about_single_corruptions():
    rows = wrong("fog", 1, {0, 1}) + wrong("snow", 1, {1, 2})
    found = only(rows)
    assert found.mean.value == 0.5
    assert found.mean.high - found.mean.low < found.errors["fog"][1].high - found.errors["fog"][1].low


def test_constants_that_were_asked_for_stand_beside_the_name():
    rows = wrong("fog", 1, {0})
    other = [each | {"params": json.dumps({"severity": 1, "constants": "tiny"})} for each in wrong("fog", 1, {1, 2})]
    assert list(only(rows + other).errors) == ["fog", "fog (tiny)"]


def test_corruptions_belong_to_no_worst_case():
    attacked = [row(f"s{i}") for i in range(4)]
    corrupted = [each | {"met": True, "linf": 0.9} for each in every_severity("fog", {0, 1, 2, 3})]
    (evidence,) = gather(frame(attacked + corrupted))
    assert [trial.attack for trial in evidence.trials] == ["pgd"]
    assert corruption_results(frame(attacked), IMAGENET) == ()


def test_everything_can_be_written_as_json():
    told = only(every_severity("fog", {0})).as_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["errors"][0]["corruption"] == "fog"
    assert told["mce"]["value"] == pytest.approx(0.25 / 0.819324)


def test_the_gate_holds_the_mean_error():
    results = [only(every_severity("fog", {0}))]
    for most, passed in ((0.3, True), (0.25, True), (0.2, False)):
        (held,) = hold_corruptions(results, most)
        assert (held.gate, held.passed) == ("max_corruption_error", passed)
    assert held.message.startswith("mean error under corruptions 25.0 %")
    assert list(hold_corruptions(results, None)) == []
    rows = every_severity("fog", {0})
    rows[1] = unknown("s1", **{name: rows[1][name] for name in ("attack", "params", "eps")})
    (held,) = hold_corruptions([only(rows)], 1.0)
    assert not held.passed

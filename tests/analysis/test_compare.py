"""Two runs paired by image, and the baseline file: what changed, what is refused."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from frames import frame, images, row, unknown
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from advbench.analysis.baseline import Baseline, read_baseline
from advbench.analysis.compare import CLEAN, Comparison, Key, Outcomes, compare, outcomes
from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.statistics import Proportion
from advbench.errors import UserError
from advbench.report.markdown import compared_markdown
from advbench.report.terminal import compared

KEY = Key("toy", "untargeted", "linf", "pgd", "{}", 8 / 255)


def of(letters, model="net", key=KEY, samples=None):
    return Outcomes(model=model, key=key, samples=tuple(samples or map(str, range(len(letters)))), letters=letters)


def changes(before, after):
    return compare(outcomes(frame(before)), outcomes(frame(after))).changes


def test_what_became_of_each_image():
    rows = [*images([0.01, None]), unknown("s2"), row("s3", clean_class=5, adv_class=5, met=True, linf=0.0)]
    found = {each.key.attack: each for each in outcomes(frame(rows))}
    assert {name: each.letters for name, each in found.items()} == {CLEAN: "1110", WORST_CASE: "01?0", "pgd": "01?0"}
    assert found["pgd"].share == Proportion(1, 4, 1)
    assert found[WORST_CASE].key.params == "pgd {}"
    assert found["pgd"].samples == ("s0", "s1", "s2", "s3")


def test_pairs_by_image_whatever_their_order():
    (change,) = compare([of("0011", samples="abcd")], [of("1010", samples="dbca")]).changes
    assert (change.pairs, change.broken, change.mended) == (4, (), ())


def test_images_that_changed_are_named():
    *_, pgd = changes(images([None, None, None, 0.01, 0.01]), images([0.01, 0.01, None, None, 0.01]))
    assert (pgd.broken, pgd.mended) == (("s0", "s1"), ("s3",))
    assert pgd.drop_pp == pytest.approx(20)


def test_unknown_images_are_no_pairs():
    *_, pgd = changes([row("a"), unknown("b"), row("c")], [unknown("a"), row("b"), row("c", size=0.01), row("d")])
    assert (pgd.pairs, pgd.broken) == (1, ("c",))


def test_numbers_from_different_forms_of_a_network_are_marked():
    clean, worst, pgd, fmn = changes(
        [*images([None], form="bfloat16"), *images([None], attack="fmn", eps=None, form="plain")],
        [*images([None], form="plain"), *images([None], attack="fmn", eps=None, form="plain")],
    )
    assert [each.unlike for each in (clean, worst, pgd, fmn)] == [False, True, True, False]
    assert (worst.before.form, worst.after.form) == ("bfloat16, plain", "plain")
    found = Comparison((clean, worst, pgd, fmn), (), ())
    text = "\n".join(line.plain for line in compared(found).renderables if hasattr(line, "plain"))
    assert "* the two runs took their gradients from different forms of the network: bfloat16 → plain; " in text
    assert "pgd \\*" in compared_markdown(found)
    assert Baseline.of(frame(images([None], form="bfloat16")), run_id="", version="").outcomes()[2].form == "bfloat16"


def test_a_run_of_an_earlier_version_was_made_with_networks_as_they_are():
    old = frame(images([None])).drop(columns="form")
    assert [each.form for each in outcomes(old)] == ["", "plain", "plain"]


def test_models_with_other_names_are_matched_if_they_are_alone():
    one = images([None, None], model="old")
    (clean, *_) = changes(one, images([None, 0.01], model="new"))
    assert (clean.before.model, clean.after.model) == ("old", "new")
    both = compare(outcomes(frame([*one, *images([None], model="more")])), outcomes(frame(images([None], model="new"))))
    assert both.changes == ()
    assert {each.model for each in both.only_before} == {"old", "more"}


def test_a_worst_case_over_other_attacks_is_no_pair():
    found = compare(outcomes(frame(images([None]))), outcomes(frame([*images([None]), *images([None], attack="apgd")])))
    assert [change.before.key.attack for change in found.changes] == [CLEAN, "pgd"]
    assert [each.key.attack for each in found.only_after] == [WORST_CASE, "apgd"]


@given(st.text("01?", min_size=1, max_size=30), st.text("01?", min_size=1, max_size=30))
def test_counts_by_hand(one, other):
    size = min(len(one), len(other))
    one, other = one[:size], other[:size]
    (change,) = compare([of(one)], [of(other)]).changes
    pairs = [pair for pair in zip(one, other, strict=True) if "?" not in pair]
    b, c = pairs.count(("1", "0")), pairs.count(("0", "1"))
    assert (change.pairs, len(change.broken), len(change.mended)) == (len(pairs), b, c)
    if b + c:
        assert change.p_value == pytest.approx(stats.binomtest(min(b, c), b + c).pvalue)
        assert change.p_worse == pytest.approx(stats.binomtest(b, b + c, alternative="greater").pvalue)
    else:
        assert change.p_value == change.p_worse == 1


def test_the_interval_of_a_difference():
    """Against the standard error of the mean of the paired differences, with one more pair lost and one more won.

    Half a pair more each of lost, won, robust and broken: as two whole pairs of variance 1/2.
    """
    (change,) = compare([of("1" * 60 + "0" * 40)], [of("1" * 45 + "0" * 15 + "1" * 5 + "0" * 35)]).changes
    weights, differences = np.array([15.5, 5.5, 81]), np.array([1, -1, 0])
    variance = np.cov(differences, aweights=weights, ddof=0)
    assert change.drop_pp == pytest.approx(10)
    assert change.half_width_pp == pytest.approx(100 * 1.96 * (variance / 102) ** 0.5)


@pytest.mark.parametrize(("lost", "won"), [(0.0, 0.0), (0.05, 0.0), (0.02, 0.02), (0.1, 0.05)])
@pytest.mark.parametrize("n", [8, 20])
def test_the_interval_of_a_difference_covers_it(n, lost, won):
    """The probability that it does, added up over all numbers of images that get worse or better."""
    (one,) = compare([of("1" * n)], [of("1" * n)]).changes
    assert one.half_width_pp > 0
    covered = 0.0
    for b, c in itertools.product(range(n + 1), repeat=2):
        rest = n - b - c
        change = replace(one, broken=("",) * b, mended=("",) * c)
        if rest >= 0 and abs(change.drop_pp - 100 * (lost - won)) <= change.half_width_pp + 1e-9:
            ways = math.comb(n, b) * math.comb(n - b, c)
            covered += ways * lost**b * won**c * (1 - lost - won) ** rest
    assert covered > 0.93


def test_nothing_is_known_of_a_difference_without_pairs():
    (change,) = compare([of("???")], [of("111")]).changes
    assert (change.pairs, change.drop_pp) == (0, 0)
    assert change.half_width_pp > 95


def test_holm_over_all_cells():
    keys = [KEY._replace(attack=name) for name in "abc"]
    before = [of("1" * 10, key=key) for key in keys]
    after = [of("0" * n + "1" * (10 - n), key=key) for key, n in zip(keys, (10, 9, 0), strict=True)]
    found = compare(before, after).changes
    assert [change.p_worse for change in found] == pytest.approx([3 * 2**-10, 2 * 2**-9, 1])


ROWS = [*images([0.01, None, None]), *images([0.01, 0.02, None], attack="fmn", eps=None), unknown("s3")]


def made(rows=ROWS, run_id="r"):
    return Baseline.of(frame(rows), run_id=run_id, version="0.1.0")


def test_a_baseline_comes_back_from_its_file(tmp_path):
    path = made().write(tmp_path / "sub" / "baseline.json")
    assert read_baseline(path) == made()
    found = read_baseline(path).outcomes()
    assert found == outcomes(frame(ROWS))
    assert path.read_bytes() == made().write(tmp_path / "again.json").read_bytes()


def test_a_baseline_is_small(tmp_path):
    rows = images([0.01, None] * 500)
    assert made(rows).write(tmp_path / "b.json").stat().st_size < 30_000


def test_rows_in_another_order_are_the_same_images():
    made().refuse_others(made(ROWS[::-1]))


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([*ROWS, row("s4"), row("s4", attack="fmn", eps=None)], "images or labels: net on toy"),
        ([{**r, "label": 1} for r in ROWS], "images or labels: net on toy"),
        ([{**r, "model": "other"} for r in ROWS], "models or data sets: net on toy, other on toy"),
        ([{**r, "dataset": "other"} for r in ROWS], "models or data sets: net on other, net on toy"),
        ([{**r, "eps": r["eps"] and 4 / 255} for r in ROWS], "attacks: "),
        ([{**r, "params": '{"steps": 9}'} for r in ROWS], r"attacks: .*\{\"steps\": 9\}"),
        ([{**r, "goal": "targeted:1"} for r in ROWS], "attacks: "),
        ([*ROWS, *images([None] * 4, attack="square")], "attacks: .*square"),
    ],
)
def test_another_threat_model_is_refused(rows, what):
    with pytest.raises(UserError, match=rf"(?s)^the baseline has other {what}.*advbench baseline update DIR"):
        made().refuse_others(made(rows))


def test_other_weights_and_outcomes_are_what_a_baseline_is_for():
    made().refuse_others(made([{**r, "weights_sha256": "x", "met": False, "linf": None} for r in ROWS], run_id="other"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda data: data | {"format": 2}, "format"),
        (lambda data: data | {"more": 1}, "more"),
        (lambda data: data | {"cells": [data["cells"][0] | {"outcomes": "1x"}]}, r"cells\.0\.outcomes"),
        (lambda data: data | {"cells": [data["cells"][0] | {"outcomes": "1"}]}, "does not have one outcome for each"),
        (lambda data: data | {"cells": [data["cells"][0] | {"model": "who"}]}, "does not have one outcome for each"),
        (lambda data: [], "file"),
    ],
)
def test_a_damaged_baseline_is_refused(tmp_path, change, what):
    path = tmp_path / "b.json"
    path.write_text(json.dumps(change(made().model_dump())))
    with pytest.raises(UserError, match=what):
        read_baseline(path)


def test_no_json_and_no_file_are_said(tmp_path):
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(UserError, match="is not a baseline: file: Invalid JSON"):
        read_baseline(tmp_path / "b.json")
    with pytest.raises(UserError, match=r"there is no baseline at .*\ncreate one with"):
        read_baseline(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot read the baseline"):
        read_baseline(tmp_path)


def fog(wrong, **columns):
    params = '{"constants": "auto", "severity": 3}'
    about = {"attack": "corruption/fog", "params": params, "eps": None} | columns
    return [row(f"s{i}", adv_class=int(i in wrong), flipped=i in wrong, **about) for i in range(8)]


def test_corruptions_are_compared_by_severity():
    before, after = ([*images([None] * 8), *fog(wrong)] for wrong in ({0}, {0, 1, 2, 3, 4, 5, 6}))
    found = {each.after.key.attack: each for each in compare(outcomes(frame(before)), outcomes(frame(after))).changes}
    change = found["fog, severity 3"]
    assert (change.broken, change.mended) == (("s1", "s2", "s3", "s4", "s5", "s6"), ())
    assert (change.after.threat.goal, change.after.threat.norm) == ("corruptions", "")


def test_corruptions_are_corrected_for_by_themselves():
    rows = [[*images([size] * 8), *fog(wrong)] for size, wrong in ((None, set()), (0.01, {0, 1, 2, 3, 4, 5}))]
    found = {each.after.key.attack: each for each in compare(*(outcomes(frame(own)) for own in rows)).changes}
    assert found["fog, severity 3"].p_adjusted == found["fog, severity 3"].p_value
    assert found["pgd"].p_adjusted == pytest.approx(3 * found["pgd"].p_value)  # clean, worst case, pgd


def test_an_image_that_is_wrong_when_clean_and_right_in_fog_counts_as_right():
    (cell,) = [each for each in outcomes(frame(fog({1}, clean_class=1))) if each.key.goal == "corruptions"]
    assert cell.letters == "10111111"


def test_a_baseline_holds_corruptions(tmp_path):
    made = Baseline.of(frame([*images([None] * 8), *fog({0})]), run_id="r", version="0")
    again = read_baseline(made.write(tmp_path / "baseline.json"))
    assert [cell.outcomes for cell in again.cells if cell.goal == "corruptions"] == ["01111111"]
    without = Baseline.of(frame(images([None] * 8)), run_id="r", version="0")
    with pytest.raises(UserError, match="the baseline has other attacks: net on toy: fog, severity 3"):
        again.refuse_others(without)

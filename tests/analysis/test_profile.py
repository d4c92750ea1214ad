"""The profile of a run: what makes a threat, the worst case image by image over all, and success against queries."""

import json

import numpy as np
import pytest
from frames import cells, frame, images, left_out, row, unknown
from threat_rows import LARGE, ROWS, SMALL, foggy

from advbench.analysis.anytime.sample import Looks
from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.profile.profiles import profiles
from advbench.analysis.profile.threat_rows import kind_of, together
from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.threats import BROKEN, ROBUST, UNKNOWN, gather
from advbench.config.suite import Suite


def only(rows, budgets=None):
    data = frame(rows)
    (found,) = profiles(data, gather(data), budgets or {})
    return found


def test_a_row_for_each_threat_in_order():
    found = only(ROWS)
    told = [(each.kind, each.norm, each.eps, each.mask, each.severity) for each in found.rows]
    assert told == [
        ("gradients", "linf", SMALL, "", None),
        ("mask", "linf", LARGE, "border:2", None),
        ("queries", "linf", LARGE, "", None),
        ("movement", "", None, "", None),
        ("corruption", "", None, "", 1),
        ("corruption", "", None, "", 5),
    ]
    assert [each.robust.k for each in found.rows] == [3, 3, 2, 3, 3, 2]
    assert (found.dataset, found.clean.k, found.clean.n) == ("toy", 4, 4)


def test_the_worst_case_is_image_by_image():
    found = only(ROWS)
    # s0 falls to four threats, s1 to queries, s2 under the mask, s3 to fog alone
    assert (found.attacks.k, found.attacks.n) == (1, 4)
    assert (found.everything.k, found.everything.unknown) == (0, 0)
    assert [each.alone for each in found.rows] == [0, 1, 1, 0, 0, 1]


def test_noise_is_a_baseline_and_no_threat_of_its_own():
    row_of_gradients = only(ROWS).rows[0]
    assert row_of_gradients.attacks == ("apgd",)
    assert row_of_gradients.noise.k == 4


def test_costs_are_those_of_the_threat_and_of_all():
    found = only(ROWS)
    assert [each.passes for each in found.rows[:3]] == [19, 19, 7]
    assert found.rows[-1].passes == 1
    assert found.passes == pytest.approx(19 + 19 + 7 + 19 + 19 + 1 + 1)
    assert found.seconds == pytest.approx(7 * 0.5)


def test_what_is_unknown_to_a_threat_is_unknown_in_the_worst_case_unless_another_broke_it():
    found = only(
        [*images([SMALL, None], attack="apgd", eps=SMALL), *(unknown(f"s{i}", attack="pgd") for i in range(2))]
    )
    assert (found.everything.k, found.everything.unknown) == (0, 1)


def test_images_that_a_masked_data_set_lacks_are_unknown():
    found = only([*images([None, None], eps=SMALL), *images([None], eps=LARGE, dataset="toy, only border:2")])
    assert (found.rows[1].robust.k, found.rows[1].robust.unknown) == (1, 1)
    assert (found.attacks.k, found.attacks.unknown) == (1, 1)


def test_an_image_that_a_decided_run_did_not_need_is_unknown_unless_a_quick_attack_broke_it():
    quick, last = images([SMALL, None, None, None], attack="fgsm"), [row("s1"), row("s2")]
    suite = Suite(name="x", models="lenet", datasets="mnist", attacks=["fgsm", "pgd"], stop="decided", profile=True)
    looks = {("net", "toy", "untargeted", "linf"): Looks("pgd", ("{}",), (("s1", "s2"),), complete=False)}
    (found,) = RunAnalysis(frame=frame(quick + last), suite=suite, looks=looks).profiles
    (threat,) = found.rows
    assert threat.state.tolist() == [BROKEN, ROBUST, ROBUST, UNKNOWN]
    assert (found.attacks.k, found.attacks.unknown) == (2, 1)


def test_an_image_that_the_goal_has_no_meaning_for_stands_against_it():
    targeted = {"goal": "targeted:0", "eps": SMALL}
    found = only([*images([None, None], eps=SMALL), left_out("s0", **targeted), row("s1", **targeted, size=SMALL)])
    assert found.rows[1].state.tolist() == [ROBUST, BROKEN]


def test_a_wrong_clean_image_stands_against_nothing():
    found = only([row("s0", clean_class=1, adv_class=1), row("s1")])
    assert (found.clean.k, found.attacks.k) == (1, 1)


def test_several_budgets_are_several_rows_and_minimum_norm_attacks_count_at_each():
    rows = [
        *images([None, None], attack="apgd", eps=SMALL),
        *images([None, None], attack="apgd", eps=LARGE),
        *images([2 / 255, None], attack="fmn", eps=None),
    ]
    found = only(rows)
    assert [(each.eps, each.robust.k, each.attacks) for each in found.rows] == [
        (SMALL, 2, ("apgd", "fmn")),
        (LARGE, 1, ("apgd", "fmn")),
    ]
    assert found.rows[0].median.value == pytest.approx(2 / 255)


def test_minimum_norm_attacks_alone_go_by_the_budgets_of_the_suite():
    data = frame(images([2 / 255, None], attack="fmn", eps=None))
    (found,) = profiles(data, gather(data), {("toy", "linf"): (SMALL, LARGE)})
    assert [(each.eps, each.robust.k) for each in found.rows] == [(SMALL, 2), (LARGE, 1)]


def test_mean_accuracy_under_corruptions_stands_beside_those_right_under_all():
    snow = [each | {"attack": "corruption/snow"} for each in foggy(3, {1, 2})]
    (found,) = only([*images([None] * 4), *foggy(3, {0}), *snow]).rows[1:]
    assert (found.robust.k, found.attacks) == (1, ("fog", "snow"))
    assert found.mean.value == pytest.approx(5 / 8)
    assert found.passes == 2


def test_success_against_queries_goes_by_the_first_success():
    rows = [
        row("s0", attack="square", size=LARGE, forwards=3.0),
        row("s1", attack="square", size=LARGE, forwards=40.0),
        row("s2", attack="square", forwards=100.0),
        row("s3", attack="square", clean_class=1, forwards=1.0, met=True),  # wrong when clean: nothing had to be asked
        unknown("s4", attack="square"),
    ]
    (curve,) = only(rows).queries
    assert [(point.queries, point.success.k) for point in curve.points] == [
        (1, 0), (2, 0), (5, 1), (10, 1), (20, 1), (50, 2), (100, 2),
    ]  # fmt: skip
    assert {(point.success.n, point.success.unknown) for point in curve.points} == {(4, 1)}


def test_queries_that_were_shared_out_count_to_the_last():
    rows = [row(f"s{i}", attack="foolbox/gen-attack", size=LARGE, forwards=7.5) for i in range(2)]
    (curve,) = only(rows).queries
    assert (curve.points[-1].queries, curve.points[-1].success.k) == (8, 2)


def test_an_image_whose_query_attack_was_never_begun_is_unknown_to_it():
    nothing = dict.fromkeys(("label", "clean_class", "clean_confidence"))
    rows = [
        *images([None, None, None], eps=SMALL),
        row("s0", attack="square", size=LARGE, forwards=3.0),
        row("s1", attack="square", forwards=9.0),
        unknown("s2", attack="square", **nothing),
    ]
    (curve,) = only(rows).queries
    assert [(point.success.k, point.success.n, point.success.unknown) for point in curve.points][-1] == (1, 3, 1)


def test_the_median_of_a_threat_is_that_of_its_cell():
    failed = [unknown(f"s{i}", attack="ddn", eps=None) for i in range(20)]
    rows = images([2 / 255] * 20, attack="fmn", eps=None) + failed
    (threat,) = only(rows).rows
    (worst,) = [each for each in cells(frame(rows)) if each.attack == WORST_CASE]
    assert threat.median == worst.median


@pytest.mark.parametrize(
    ("attack", "dataset", "kind"),
    [
        ("standard", "toy", "gradients"),
        ("hop_skip_jump", "toy", "queries"),
        ("foolbox/spatial", "toy", "movement"),
        ("universal", "toy", "universal"),
        ("square", "toy, only box:1,1,2,2", "mask"),
        ("of a plugin", "toy", "gradients"),
        ("proof", "toy", "gradients"),
        ("patch", "toy", "patch"),
    ],
)
def test_the_kind_of_a_threat_is_what_the_attacker_may_do(attack, dataset, kind):
    assert kind_of(attack, dataset) == kind


def test_what_is_made_on_another_model_is_transfer_whatever_the_attack():
    made = {"attack": "square", "params": '{"surrogate": "other"}', "eps": LARGE}
    found = only([*images([None, None], eps=SMALL), *images([LARGE, None], **made)])
    assert [(each.kind, each.attacks) for each in found.rows] == [
        ("gradients", ("pgd",)),
        ("transfer", ("square from other",)),
    ]
    assert found.queries == ()


def test_a_patch_is_bounded_by_its_share_alone():
    made = {"attack": "patch", "norm": "l0", "eps": None}
    rows = [
        *images([3000.0, None], params='{"share": 0.05, "shape": "square"}', **made),
        *images([3000.0, 9000.0], params='{"share": 0.2, "shape": "circle"}', **made),
    ]
    found = only(rows, {("toy", "l0"): (50.0,)})
    assert [(each.kind, each.mask, each.norm, each.robust.k) for each in found.rows] == [
        ("patch", "square of 5%", "", 1),
        ("patch", "circle of 20%", "", 0),
    ]


def test_broken_beats_unknown_beats_robust():
    first, second = np.array([BROKEN, UNKNOWN, ROBUST, ROBUST]), np.array([UNKNOWN, ROBUST, ROBUST, BROKEN])
    assert together([first, second]).tolist() == [BROKEN, UNKNOWN, ROBUST, BROKEN]


def test_all_of_it_is_plain_json():
    told = json.loads(json.dumps(only(ROWS).as_dict(), allow_nan=False))
    assert told["robust_to_attacks"]["k"] == 1
    assert told["threats"][0]["noise"]["k"] == 4
    assert told["queries"][0]["points"][-1]["k"] == 2

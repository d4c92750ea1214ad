"""Bounds that hold at every number of draws: closed forms, simulations, and the numbers of runs made by hand."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from frames import frame, images, row
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import a_run, a_unit

from advbench.analysis.anytime.confidence import PRIOR, Count, marked_in
from advbench.analysis.anytime.decision import refuse_undecidable
from advbench.analysis.anytime.estimate import Estimate, Look, narrowing
from advbench.analysis.anytime.sample import estimate, looks_of, number_of_intervals
from advbench.analysis.gates import evaluate
from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.statistics import Proportion
from advbench.analysis.threats import gather
from advbench.config.gates import Gates
from advbench.config.suite import Suite
from advbench.errors import ExitCode, UserError
from advbench.planning.units.looks import STEP, parts
from advbench.report.json_object import as_json
from advbench.report.markdown import as_markdown
from advbench.report.terminal import as_text


def ratio(number: int, total: int, drawn: int, marked: int) -> float:
    """The martingale by its definition: a mixture of urns over one urn, draw by draw with rising factorials."""
    a, b = map(Fraction, PRIOR)

    def rising(start: Fraction, count: int) -> Fraction:
        return math.prod((start + i for i in range(count)), start=Fraction(1))

    def urn(number: int) -> Fraction:
        """Probability of the marked ones first, then the others; any order has the same."""
        kept = math.prod((number - i for i in range(marked)), start=1)
        rest = math.prod((total - number - i for i in range(drawn - marked)), start=1)
        return Fraction(kept * rest, math.prod((total - i for i in range(drawn)), start=1))

    def weight(number: int) -> Fraction:
        ways = math.comb(total, number) * rising(a, number) * rising(b, total - number)
        return ways / rising(a + b, total)

    mixture = sum(weight(each) * urn(each) for each in range(total + 1))
    return float(mixture / urn(number)) if urn(number) else math.inf


@pytest.mark.parametrize(("total", "drawn", "marked"), [(12, 0, 0), (12, 5, 2), (9, 8, 0), (9, 9, 4), (15, 6, 6)])
def test_the_bounds_are_where_the_ratio_of_posterior_and_prior_says(total, drawn, marked):
    for alpha in (0.01, 0.05, 0.3):
        kept = [number for number in range(total + 1) if ratio(number, total, drawn, marked) < 1 / alpha]
        assert marked_in(total, drawn, marked, alpha) == (min(kept), max(kept))


@given(st.integers(0, 300), st.data())
@settings(max_examples=60)
def test_bounds_are_possible_numbers_and_a_point_in_the_end(total, data):
    drawn = data.draw(st.integers(0, total))
    marked = data.draw(st.integers(0, drawn))
    low, high = marked_in(total, drawn, marked, 0.05)
    assert marked <= low <= high <= total - (drawn - marked)
    assert marked_in(total, total, marked, 0.05) == (marked, marked)
    narrow = marked_in(total, drawn, marked, 0.2)
    assert low <= narrow.low <= narrow.high <= high


def test_nothing_drawn_rules_nothing_out():
    assert marked_in(50, 0, 0, 0.05) == Count(0, 50)
    assert marked_in(0, 0, 0, 0.05) == Count(0, 0)


@pytest.mark.parametrize("wrong", [(5, 6, 0, 0.05), (5, 3, 4, 0.05), (5, 3, -1, 0.05), (5, 3, 1, 0.0), (5, 3, 1, 1.0)])
def test_contradictions_are_refused(wrong):
    with pytest.raises(ValueError, match="expected 0 <= marked <= drawn <= total and 0 < alpha < 1"):
        marked_in(*wrong)


@pytest.mark.parametrize("alpha", [0.05, 0.3])
@pytest.mark.parametrize("number", [0, 2, 24])
def test_they_miss_at_any_draw_no_more_often_than_alpha(number, alpha):
    """Exactly, by the probability of every way through the numbers of draws and of marked ones among them."""
    total, within = 60, {0: 1.0}
    for drawn in range(1, total + 1):
        after: dict[int, float] = {}
        for marked, chance in within.items():
            next_marked = (number - marked) / (total - drawn + 1)
            for step, probability in ((1, next_marked), (0, 1 - next_marked)):
                if probability > 0:
                    after[marked + step] = after.get(marked + step, 0.0) + chance * probability
        bounds = {marked: marked_in(total, drawn, marked, alpha) for marked in after}
        missed = {marked for marked, found in bounds.items() if not found.low <= number <= found.high}
        within = {marked: chance for marked, chance in after.items() if marked not in missed}
    assert 1 - alpha <= sum(within.values()) <= 1 + 1e-9
    assert number == 0 or sum(within.values()) < 1, "bounds that never miss are wider than they need be"


def test_without_replacement_is_narrower_than_a_large_population():
    small, large = marked_in(400, 300, 30, 0.05), marked_in(4_000_000, 300, 30, 0.05)
    assert (small.high - small.low) / 400 < 0.6 * (large.high - large.low) / 4_000_000


def test_ends_only_come_closer():
    looks = [Look(50, 40, 2, 0), Look(100, 80, 8, 0), Look(150, 120, 9, 0)]
    ends = list(narrowing(looks, standing=800, n=1000, alpha=0.05))
    assert all(a[0] <= b[0] <= b[1] <= a[1] for a, b in pairwise(ends))


def test_after_a_miss_they_follow_the_later_look():
    looks = [Look(40, 40, 0, 0), Look(100, 100, 60, 0)]
    first, last = narrowing(looks, standing=100, n=100, alpha=0.05)
    assert first[0] > 0.4
    assert last == (0.4, 0.4)


def test_the_sentence_of_a_report():
    looks = [Look(seen=1180, drawn=700, broken=50, unknown=0)]
    found = Estimate.of(looks, standing=6000, n=10000, attack="standard")
    assert str(found) == "55.7 % (53.6 to 57.3, anytime-valid; 1,180 of 10,000 images under `standard`)"
    assert "anytime-valid at 99 %;" in str(found._replace(alpha=0.01))
    assert found.percent == "55.7 %"
    assert found.counts == "1180 of 10000"
    assert found.interval == "[53.6, 57.3]"
    assert found.k is None


def test_an_unknown_image_counts_for_both_sides():
    sure = Estimate.of([Look(200, 100, 5, 0)], standing=500, n=1000, attack="standard")
    doubt = Estimate.of([Look(200, 100, 5, 4)], standing=500, n=1000, attack="standard")
    assert doubt.low < sure.low
    assert doubt.high == sure.high
    assert doubt.percent == "45.5 to 47.5 %"
    lost = Estimate.of([Look(200, 100, 9, 0)], standing=500, n=1000, attack="standard")
    assert doubt.low == lost.low


def test_several_numbers_share_alpha():
    looks = [Look(200, 150, 10, 0)]
    one, ten = (Estimate.of(looks, standing=700, n=1000, attack="standard", share=share) for share in (1, 10))
    assert ten.low < one.low < one.rate < one.high < ten.high
    alone = Estimate.of(looks, standing=700, n=1000, attack="standard", alpha=0.005)
    assert (ten.low, ten.high) == (alone.low, alone.high)


def test_every_eps_of_every_threat_counts():
    rows = [row(f"s{i}", model=model, eps=eps) for i in range(3) for model in "abc" for eps in (0.1, 0.2)]
    threats = {(model, "toy", "untargeted", "linf"): None for model in "ab"}
    assert number_of_intervals(gather(frame(rows)), threats) == 4
    assert number_of_intervals(gather(frame(rows)), {}) == 1


def test_where_nothing_stands_nothing_is_drawn():
    assert Estimate.of([], standing=0, n=10, attack="standard")[:4] == (0.0, 0.0, 0.0, 0.0)
    assert Estimate.of([], standing=6, n=10, attack="standard").percent == "at most 60.0 %"


def test_the_order_depends_on_images_and_seed_alone():
    ids = [f"{i:03}" for i in range(500)]
    cut = list(parts(ids, 0, 40))
    assert sorted(row for part in cut for row in part.rows) == list(range(500))
    assert [part.look for part in cut] == sorted(part.look for part in cut)
    sizes = {look: sum(len(p.rows) for p in cut if p.look == look) for look in {p.look for p in cut}}
    assert [sizes[look] for look in sorted(sizes)] == [STEP] * 5 + [40, 50, 62, 78, 97, 13]
    first = [ids[row] for part in cut[:4] for row in part.rows]
    assert first != sorted(first)
    turned = list(parts(ids[::-1], 0, 40))
    assert [ids[::-1][row] for part in turned[:4] for row in part.rows] == first
    assert [ids[row] for part in list(parts(ids, 1, 40))[:4] for row in part.rows] != first
    assert min(len(part.rows) for part in cut[:-1]) >= 16


def test_units_are_as_large_as_memory_allows_and_as_a_small_network_needs():
    ids = [f"{i:03}" for i in range(500)]
    assert max(len(part.rows) for part in parts(ids, 0, 7)) == 7
    assert [len(part.rows) for part in parts(ids, 0, 250)][:3] == [62, 62, 62]


N, EPS = 200, 8 / 255


def sampled(seen: int, *, unknown: int = 0, gate: float | None = None, **suite):
    """A run on 200 images, half of which the quick attack breaks, that stopped after some images of the last one."""
    order = np.random.default_rng(0).permutation(N)
    fgsm = images([EPS / 2 if i % 2 else None for i in range(N)], attack="fgsm")
    standing = [i for i in order if not i % 2]
    falls = set(standing[::10])
    last = [row(f"s{i}", size=EPS if i in falls else EPS / 2 if i % 2 else None, attack="apgd") for i in order[:seen]]
    for each in [each for each in last if not each["met"]][:unknown]:
        each |= {"status": "unknown", "reason": "crashed", "met": None, "flipped": None, "adv_class": None}
    cuts = [(look, order[start : start + 40]) for look, start in enumerate(range(0, N, 40), 1)]
    units = [
        a_unit([f"s{i}" for i in cut], unit_id=f"{look}", attack="apgd", params="{}", look=look) for look, cut in cuts
    ]
    needed = [unit for unit in units if unit.look <= seen // 40]
    made = {"name": "made", "models": ["vgg16"], "datasets": ["imagenet-samples"], "attacks": ["fgsm", "apgd"]}
    made |= {"stop": "decided", "gates": {} if gate is None else {"min_robust_accuracy": gate}} | suite
    run = a_run([*fgsm, *last], suite=made)
    object.__setattr__(run, "plan", tuple(needed))
    object.__setattr__(run, "spared", tuple(unit for unit in units if unit not in needed))
    return run


def test_the_worst_case_is_estimated_and_the_rest_is_counted():
    analysis = RunAnalysis.of(sampled(80))
    worst, fgsm, apgd = analysis.cells
    assert isinstance(worst.robust, Estimate)
    assert (worst.robust.seen, worst.robust.n) == (80, N)
    assert worst.robust.low <= 0.45 <= worst.robust.high, "10 of the 100 that stand are broken"
    assert fgsm.robust == Proportion(100, 200)
    assert worst.clean == Proportion(200, 200)
    assert apgd.robust.n == 80
    assert apgd.part_of == N
    assert len(analysis.evidence[0].samples) == 80, "flags and curves compare attacks on the same images"


def test_a_part_that_is_all_is_no_estimate():
    worst = RunAnalysis.of(sampled(N)).cells[0]
    assert worst.robust == Proportion(90, 200)


def test_a_look_of_which_a_unit_is_missing_does_not_count():
    run = sampled(120)
    run.missing["2"] = "not done yet"
    looks = looks_of((*run.plan, *run.spared), {"2", *(unit.unit_id for unit in run.spared)})
    assert [len(each) for each in looks["net", "toy", "untargeted", "linf"].images] == [40]


def test_a_last_attack_made_on_two_surrogates_is_no_quick_attack_on_one():
    """Half of the images are drawn, and the second surrogate alone breaks half of those."""
    names, drawn = [f"s{i}" for i in range(N)], [f"s{i}" for i in range(N // 2)]
    rows = images([None] * N, attack="fgsm")
    rows += [row(name, attack="apgd", params="[1]") for name in drawn]
    rows += [row(name, attack="apgd", params="[2]", size=EPS / 2 if i % 2 else None) for i, name in enumerate(drawn)]
    units = [
        a_unit(part, unit_id=f"{params}{look}", attack="apgd", params=params, look=look)
        for look, part in enumerate((drawn, names[N // 2 :]), 1)
        for params in ("[1]", "[2]")
    ]
    (evidence,) = gather(frame(rows))
    (looks,) = looks_of(units, {"[1]2", "[2]2"}).values()
    assert estimate(evidence, looks, EPS).rate == 0.5


@pytest.mark.parametrize(("gate", "code"), [(0.2, ExitCode.OK), (0.45, ExitCode.INCOMPLETE), (0.6, ExitCode.FAILED)])
def test_a_gate_holds_fails_or_stays_open(gate, code):
    run = sampled(80, gate=gate)
    verdict = evaluate(run, run.suite.gates)
    assert verdict.exit_code == code
    assert verdict.held == (code == ExitCode.OK)
    said = as_text(verdict, run), as_markdown(verdict, "made")
    assert all(("undecided" in text) == (code == ExitCode.INCOMPLETE) for text in said)
    assert all("anytime-valid; 80 of 200 images under" in text.replace("\n", " ") for text in said)
    assert '"robust_seen": 80' in as_json(verdict, run)


def test_unknown_images_are_not_forgiven():
    run = sampled(80, unknown=1, gate=0.2)
    assert evaluate(run, run.suite.gates).exit_code == ExitCode.INCOMPLETE
    lenient = Gates(min_robust_accuracy=0.2, max_unknown=0.1)
    assert evaluate(run, lenient).exit_code == ExitCode.OK


BASE = {"name": "x", "models": "lenet", "datasets": "mnist", "attacks": ["fgsm", "standard"], "stop": "decided"}


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ({}, "has nothing to decide"),
        ({"gates": {"max_unknown": 0.1}}, "has nothing to decide"),
        ({"width_pp": 2, "attacks": ["standard"]}, "has only one attack on lenet"),
        ({"width_pp": 2, "models": {"name": "lenet", "attacks": "fgsm"}}, "has only one attack on lenet"),
        ({"width_pp": 2, "gates": {"max_drop_pp": 1}}, "a baseline is compared image by image"),
        ({"width_pp": 2, "prove": {}}, "proofs need every image"),
        ({"width_pp": 2, "gates": {"max_open": 0.1}}, "proofs need every image"),
    ],
)
def test_suites_that_cannot_be_decided(suite, message):
    wanted = Suite.model_validate(BASE | suite)
    with pytest.raises(UserError, match=message):
        refuse_undecidable(wanted, wanted.gates)
    ended = wanted.model_copy(update={"stop": "end"})
    refuse_undecidable(ended, ended.gates)


@pytest.mark.parametrize("suite", [{"width_pp": 2}, {"gates": {"min_robust_accuracy": 0.4}}])
def test_suites_that_can(suite):
    wanted = Suite.model_validate(BASE | suite)
    refuse_undecidable(wanted, wanted.gates)


@pytest.mark.parametrize("width", [0, -1, 101])
def test_a_width_of_nothing_is_refused(width):
    with pytest.raises(ValueError, match="width_pp"):
        Suite.model_validate(BASE | {"width_pp": width})

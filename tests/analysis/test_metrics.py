"""Numbers from frames: against a slow count image by image, and on frames whose numbers are known."""

import itertools
from dataclasses import fields

import numpy as np
import pytest
from frames import cells, frame, images, many, row, unknown
from hypothesis import given
from hypothesis import strategies as st

from advbench.analysis.curves import curve, flips
from advbench.analysis.metrics import NO_BUDGETS, WORST_CASE, Cell, as_dict, as_frame, cells_of, levels, smallest
from advbench.analysis.statistics import Proportion, Quantile, quantile
from advbench.analysis.threats import BROKEN, ROBUST, UNKNOWN, Threat, gather, states, within

EPS = (2 / 255, 8 / 255)


def cell(rows, attack="pgd", eps=8 / 255, at=NO_BUDGETS):
    """The one cell of an attack."""
    (found,) = (c for c in cells(frame(rows), at) if (c.attack, c.eps) == (attack, eps))
    return found


def test_counts_what_it_says():
    rows = [*images([0.01, 0.02, None, None]), row("s4", clean_class=3, adv_class=3, size=0.0), unknown("s5")]
    found = cell(rows)
    assert found.threat == Threat("net", "toy", "untargeted", "linf")
    assert found.clean == Proportion(5, 6)
    assert found.robust == Proportion(2, 6, 1)
    assert found.success == Proportion(2, 5, 1)
    assert found.flipped == Proportion(3, 6, 1)
    assert found.noise is None
    assert found.median is None
    assert not found.relative
    assert (found.forwards, found.backwards, found.seconds) == (10, 9, 0.5)


def test_two_definitions_of_fooling():
    rows = [
        row("flipped", size=0.01),
        row("wrong before", clean_class=2, adv_class=2, flipped=False, met=True, linf=0.0),
        row("mended", clean_class=2, adv_class=0, flipped=True, met=False),
        row("spared"),
    ]
    found = cell(rows)
    assert found.flipped == Proportion(2, 4)
    assert found.fooled == Proportion(2, 4)
    assert found.robust == Proportion(1, 4)


def test_an_image_that_was_wrong_is_not_robust_even_if_the_attack_failed_on_it():
    assert cell([row("a"), unknown("b", clean_class=4)]).robust == Proportion(1, 2)


def test_of_which_even_the_clean_class_is_unknown():
    found = cell([row("a"), unknown("b", clean_class=None)])
    assert found.clean == Proportion(1, 2, 1)
    assert found.robust == Proportion(1, 2, 1)
    assert found.success == Proportion(0, 1)


def test_without_labels_correct_means_as_when_clean():
    found = cell([row("a", label=None, clean_class=7, adv_class=7), row("b", label=None, clean_class=7, size=0.01)])
    assert found.relative
    assert found.clean == Proportion(2, 2)
    assert found.robust == Proportion(1, 2)
    assert found.fooled == Proportion(1, 2)


def test_an_image_without_a_row_is_unknown():
    rows = [*images([0.01, None]), *images([0.01], attack="fgsm")]
    assert cell(rows, "fgsm").robust == Proportion(0, 2, 1)
    assert cell(rows, WORST_CASE).robust == Proportion(0, 2, 1)


def test_the_worst_case_is_taken_image_by_image():
    rows = [*images([0.01, None, None]), *images([None, 0.01, None], attack="square")]
    assert cell(rows).robust.k == cell(rows, "square").robust.k == 2
    assert cell(rows, WORST_CASE).robust == Proportion(1, 3)
    assert cell(rows, WORST_CASE).forwards == 20


def test_an_attack_that_failed_leaves_the_others_finding():
    rows = [*images([0.01, None]), unknown("s0", attack="square"), unknown("s1", attack="square")]
    assert cell(rows, WORST_CASE).robust == Proportion(0, 2, 1)


def test_success_at_a_small_eps_counts_at_every_larger_one():
    rows = [*images([0.005, None], eps=2 / 255), *images([None, 0.02])]
    assert cell(rows, eps=2 / 255).robust == Proportion(1, 2)
    assert cell(rows).robust == Proportion(0, 2)


def test_a_small_perturbation_counts_whatever_was_allowed():
    rows = [*images([None], eps=2 / 255), *images([0.005])]
    assert cell(rows, eps=2 / 255).robust == Proportion(0, 1)


def test_the_tolerance_is_the_judges():
    from advbench.records.record import EPS_ABSOLUTE, EPS_RELATIVE

    edge = 8 / 255 * (1 + EPS_RELATIVE) + EPS_ABSOLUTE
    assert within(np.array([edge, edge * 1.0001, np.inf]), 8 / 255).tolist() == [True, False, False]
    assert within(np.array([1e9, np.inf]), None).tolist() == [True, False]


def test_minimum_norm_attacks_are_read_at_the_eps_of_the_others():
    rows = [*images([0.005, 0.02, None], attack="fmn", eps=None), *images([None] * 3), *images([None] * 3, eps=2 / 255)]
    assert cell(rows, "fmn", 2 / 255).robust == Proportion(2, 3)
    assert cell(rows, "fmn").robust == Proportion(1, 3)
    assert cell(rows, "fmn").median == Quantile(0.02, 0.0, None)
    assert cell(rows, WORST_CASE).robust == Proportion(1, 3)


def test_minimum_norm_attacks_alone_are_read_where_one_asks_or_without_bound():
    rows = images([0.005, 0.02, None], attack="fmn", eps=None)
    assert cell(rows, "fmn", None).robust == Proportion(1, 3)
    assert cell(rows, "fmn", 0.01, at={("toy", "linf"): [0.01]}).robust == Proportion(2, 3)


def test_quartiles_stand_beside_the_median():
    found = cell(images([0.01 * i for i in range(1, 31)] + [None] * 11, eps=None, attack="fmn"), "fmn", None)
    sizes = [0.01 * i for i in range(1, 31)] + [float("inf")] * 11
    assert (found.quartile1, found.quartile3) == (quantile(sizes, 0.25), quantile(sizes, 0.75))
    told = as_dict(found)
    assert (told["quartile1_value"], told["median_value"], told["quartile3_value"]) == (0.11, 0.21, None)


def test_where_another_attack_failed_a_smaller_perturbation_may_be():
    found = images([0.01] * 20, attack="fmn", eps=None)
    failed = [unknown(f"s{i}", attack="ddn", eps=None) for i in range(20)]
    assert cell(found + failed, "fmn", None).median == Quantile(0.01, 0.01, 0.01)
    assert cell(found + failed, WORST_CASE, None).median == Quantile(0.01, 0.0, 0.01)


def test_the_median_leaves_out_what_was_wrong_before():
    rows = [row("x", clean_class=3, adv_class=3, size=0.0, eps=None, attack="fmn")]
    rows += images([0.01, 0.02, 0.03], attack="fmn", eps=None)
    assert cell(rows, "fmn", None).median.value == 0.02


def test_noise_stands_beside_every_attack():
    rows = [*images([0.01, None, 0.01]), *images([0.02, None, None], attack="noise")]
    assert {c.noise for c in cells(frame(rows))} == {Proportion(2, 3)}


def test_attacks_that_share_a_name_are_told_apart():
    rows = [*images([0.01], params='{"steps": 10, "rate": 1}'), *images([None], params='{"steps": 99, "rate": 1}')]
    assert [c.attack for c in cells(frame(rows))] == [WORST_CASE, "pgd (steps=10)", "pgd (steps=99)"]


def test_seeds_are_taken_together():
    rows = [*images([0.01, None, None], seed=1), *images([None, None, 0.01], seed=2), unknown("s1", seed=3)]
    assert cell(rows).robust == Proportion(0, 3, 1)


def test_models_and_norms_are_apart():
    rows = [row(model=m, dataset=d, norm=n) for m, d, n in itertools.product("ab", "cd", ("linf", "l2"))]
    assert len({c.threat for c in cells(frame(rows))}) == 8
    assert all(c.robust == Proportion(1, 1) for c in cells(frame(rows)))


def test_an_empty_frame_has_no_numbers():
    assert cells(frame([])) == []
    assert as_frame([]).empty


def test_flips_count_from_truth_to_prediction():
    rows = [row("a", size=0.01), row("b", size=0.01, adv_class=5), row("c", size=0.01), row("d")]
    (evidence,) = gather(frame(rows))
    table = flips(evidence, evidence.trials, 8 / 255)
    assert table.to_dict() == {1: {0: 2}, 5: {0: 1}}
    assert flips(evidence, [], None).empty


def test_a_curve_of_minimum_norms_is_exact():
    (evidence,) = gather(frame(images([0.01, 0.03, None, 0.02], attack="fmn", eps=None)))
    found = curve(evidence, evidence.trials)
    assert found.exact
    assert found.eps.tolist() == [0, 0.01, 0.02, 0.03]
    assert found.rate.tolist() == [1, 0.75, 0.5, 0.25]
    assert smallest(evidence, evidence.trials).tolist() == [0.01, 0.03, np.inf, 0.02]


def test_a_curve_of_budgets_has_their_points():
    (evidence,) = gather(frame([*images([0.005, None], eps=2 / 255), *images([0.005, 0.03])]))
    found = curve(evidence, evidence.trials)
    assert not found.exact
    assert found.eps.tolist() == [0, *EPS]
    assert found.rate.tolist() == [1, 0.5, 0]


@given(st.integers(0, 99), st.integers(2, 60))
def test_a_curve_never_rises(seed, points):
    rows = [*many(40, seed=seed, attack="fmn", eps=None), *images([None, 0.01] * 20, attack="x", eps=None)]
    (evidence,) = gather(frame(rows))
    found = curve(evidence, evidence.trials, points=points)
    assert len(found.eps) <= points + 1
    assert (np.diff(found.rate) <= 0).all()
    assert (np.diff(found.eps) > 0).all()
    assert ((found.low <= found.rate) & (found.rate <= found.high)).all()


any_row = st.builds(
    lambda sample, attack, eps, clean, label, size, lost: (
        (unknown if lost else row)(sample, attack=attack, eps=eps, clean_class=clean, label=label)
        | ({} if lost or size is None or (eps and size > eps) else row(size=size, sample=sample) | {
            "sample_id": sample, "attack": attack, "eps": eps, "clean_class": clean, "label": label})
    ),
    st.sampled_from("abc"), st.sampled_from(["pgd", "fmn", "noise"]), st.sampled_from([None, *EPS]), st.just(0),
    st.just(0), st.sampled_from([None, 0.0, 0.004, 0.02, 0.2]), st.booleans(),
)  # fmt: skip


@given(st.lists(any_row, min_size=1, max_size=40), st.sampled_from([0.001, *EPS, 0.5]))
def test_states_by_a_slow_count(rows, eps):
    """What is said of each image, image by image, from the rows alone."""
    (evidence,) = gather(frame(rows))
    found = dict(zip(evidence.samples, states(evidence, evidence.trials, eps).tolist(), strict=True))
    for sample in evidence.samples:
        own = [r for r in rows if r["sample_id"] == sample]
        if any(r["met"] and r["linf"] <= eps * 1.00001 + 1e-6 for r in own):
            assert found[sample] == BROKEN
            continue
        unsure = False
        for attack in {r["attack"] for r in rows}:
            levels_of = {r["eps"] for r in rows if r["attack"] == attack}
            level = eps if eps in levels_of else None
            if level in levels_of:
                speaking = [r for r in own if (r["attack"], r["eps"]) == (attack, level)]
                unsure |= not speaking or any(r["status"] == "unknown" for r in speaking)
        assert found[sample] == (UNKNOWN if unsure else ROBUST)


@given(st.lists(any_row, min_size=1, max_size=40), st.randoms())
def test_the_order_of_rows_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    key = lambda c: (c.attack, c.eps or 0)  # noqa: E731
    one, other = (sorted(cells(frame(r)), key=key) for r in (rows, shuffled))
    assert [(c.robust, c.success, c.flipped, c.median) for c in one] == [
        (c.robust, c.success, c.flipped, c.median) for c in other
    ]


@given(st.lists(any_row, min_size=1, max_size=40))
def test_robust_accuracy_never_grows_with_eps_or_attacks(rows):
    (evidence,) = gather(frame(rows))
    one, two = (states(evidence, evidence.trials, eps) for eps in (None, None))
    assert one.tolist() == two.tolist()
    for eps in [*EPS, None]:
        every = states(evidence, evidence.trials, eps)
        for trial in evidence.trials:
            assert ((every == BROKEN) >= (states(evidence, [trial], eps) == BROKEN)).all()
    broken = [(states(evidence, evidence.trials, eps) == BROKEN) for eps in (0.001, *EPS, None)]
    assert all((larger >= smaller).all() for smaller, larger in itertools.pairwise(broken))


@pytest.mark.parametrize(
    "convert",
    [
        lambda data: data,
        lambda data: data.convert_dtypes(),
        lambda data: data.convert_dtypes(dtype_backend="pyarrow"),
        lambda data: data.astype(dict.fromkeys(("model", "dataset", "attack", "params", "goal", "norm"), "category")),
        lambda data: data.iloc[::-1].set_index("unit_id", drop=False),
    ],
)
def test_whatever_types_the_columns_have(convert):
    rows = [*images([0.01, None, 0.03], attack="fmn", eps=None), *images([0.02, None]), unknown("s2", clean_class=None)]
    key = lambda c: (c.attack, c.eps)  # noqa: E731
    one, other = (sorted(cells(data), key=key) for data in (frame(rows), convert(frame(rows))))
    assert [(c.attack, c.eps, c.robust, c.median, c.noise) for c in one] == [
        (c.attack, c.eps, c.robust, c.median, c.noise) for c in other
    ]


def test_a_table_is_finite_and_complete():
    table = as_frame(cells(frame([*many(30), *many(30, attack="fmn", eps=None, seed=1)])))
    assert table["robust_n"].tolist() == [30] * 3
    assert table["attack"].tolist() == [WORST_CASE, "pgd", "fmn"]
    assert table[["robust_rate", "robust_low", "robust_high", "forwards"]].notna().all().all()
    assert table["median_value"].notna().tolist() == [True, False, True]  # a budget attack has no median
    numbers = table.select_dtypes("number").to_numpy(float)
    assert not np.isinf(numbers).any()


def test_levels_are_those_of_the_run():
    (evidence,) = gather(frame(images([0.1], eps=None, attack="fmn")))
    assert levels(evidence) == [None]
    assert levels(evidence, {("toy", "linf"): [0.3, 0.1], ("toy", "l2"): [9.0]}) == [0.1, 0.3]


def test_a_million_rows_are_sorted_into_arrays_at_once():
    """No row is looked at by itself: the number of cells, not of rows, decides how often Python runs."""
    count = 200_000
    one = frame([row(size=0.01)])
    data = one.loc[one.index.repeat(count)].assign(sample_id=[f"{i:06x}" for i in range(count)])
    (worst, pgd) = cells(data)
    assert worst.robust == pgd.robust == Proportion(0, count)


def test_every_field_of_a_cell_reaches_json_and_csv():
    found = as_dict(cell(images([0.01, None]), "pgd"))
    begins = {name.partition("_")[0] for name in found} | set(found)
    assert {field.name for field in fields(Cell)} - begins == {"threat"}
    assert set(Threat._fields) <= set(found)


def test_what_fools_a_random_model_in_some_passes_alone_is_neither_robust_nor_broken():
    rows = [
        row | {"met_share": share, "judge_draws": 20}
        for row, share in zip(images([0.01, 0.01, None, None]), [1.0, 0.6, 0.3, 0.05], strict=True)
    ]
    (evidence,) = gather(frame(rows))
    robust = cells_of(evidence)[0].robust
    assert (robust.k, robust.unknown, robust.n) == (1, 2, 4)

"""From which surrogate to which model: what counts, what is unknown, and what trust flags make of it."""

import json
import math

import numpy as np
import pytest
from frames import frame, images, left_out, row, unknown
from hypothesis import given
from hypothesis import strategies as st

from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.statistics import mean_over
from advbench.analysis.transfer.matrix import transfer_matrices
from advbench.analysis.transfer.names import LONGEST_LABEL, attack_labels
from advbench.config.suite import Suite
from advbench.report.transfer.tables import transfer_tables
from advbench.sanitize import display_name

TEN = {"toy": tuple(f"class {i}" for i in range(10))}


def crossed(sample, surrogate="a", told=0, **columns):
    """A row of an attack made on a surrogate, which predicted class ``told`` for the clean image."""
    usual = {"attack": "bsr", "params": json.dumps({"surrogate": surrogate})}
    return row(sample, **usual | {"surrogate": surrogate, "surrogate_class": told} | columns)


def matrix(*rows):
    (found,) = transfer_matrices(frame(rows))
    return found


def test_images_count_that_both_have_right():
    cell = matrix(
        crossed("met", size=0.01),
        crossed("not met"),
        crossed("wrong on the surrogate", told=3),
        crossed("wrong on the model", clean_class=3, size=0.01),
        crossed("wrong on both", told=3, clean_class=3),
    ).cells["a", "net"]
    assert (cell.success.k, cell.success.n) == (1, 2)
    assert (cell.agreement.k, cell.agreement.n) == (3, 5)


def test_what_is_unknown_widens_both_shares():
    lost = unknown("lost", attack="bsr", params=json.dumps({"surrogate": "a"}))
    cell = matrix(crossed("met", size=0.01), crossed("not met"), lost).cells["a", "net"]
    assert (cell.success.k, cell.success.n, cell.success.unknown) == (1, 3, 1)
    assert (cell.agreement.k, cell.agreement.n, cell.agreement.unknown) == (2, 3, 1)


def test_images_left_out_belong_to_no_share():
    out = left_out("out", attack="bsr", params=json.dumps({"surrogate": "a"}))
    assert matrix(crossed("not met"), out).cells["a", "net"].agreement.n == 1


def test_without_labels_the_model_says_what_is_right():
    found = matrix(crossed("one", label=None, clean_class=4, told=4, size=0.01), crossed("two", label=None, told=1))
    assert found.relative
    assert (found.cells["a", "net"].success.k, found.cells["a", "net"].success.n) == (1, 1)
    (table,) = transfer_tables([found])
    assert "right means classified as the model does when clean" in table.lead


def test_there_is_a_matrix_for_each_attack_and_budget_and_none_without_surrogates():
    rows = [crossed("s", source, model=model, attack=attack, eps=eps)
            for source in "ab" for model in "cd" for attack in ("bsr", "sia") for eps in (0.1, 0.2)]  # fmt: skip
    found = transfer_matrices(frame(rows))
    assert [(each.attack, each.eps) for each in found] == [("bsr", 0.1), ("bsr", 0.2), ("sia", 0.1), ("sia", 0.2)]
    assert all((each.surrogates, each.models) == (("a", "b"), ("c", "d")) for each in found)
    assert transfer_matrices(frame([row("s")])) == ()
    assert transfer_matrices(frame([])) == ()


def test_rows_of_one_attack_with_other_parameters_are_told_apart():
    params = [json.dumps({"surrogate": "a", "copies": copies}) for copies in (5, 10)]
    found = transfer_matrices(frame([crossed("s", params=each) for each in params]))
    assert [each.attack for each in found] == ["bsr (copies=5)", "bsr (copies=10)"]


def test_names_say_what_attacks_were_made_on():
    names = [("bsr", '{"surrogate": "a"}'), ("bsr", '{"surrogate": "a + b"}'), ("bsr", "{}"), ("pgd", "not JSON")]
    assert attack_labels(names) == ["bsr from a", "bsr from a + b", "bsr", "pgd"]


def test_a_table_has_success_interval_and_agreement():
    (table,) = transfer_tables([matrix(crossed("one", size=0.01), crossed("two"), crossed("three", told=2))])
    assert table.title == "bsr on toy · untargeted · Linf ≤ 8/255 · transfer"
    assert table.texts == (("a", "50.0 % [9.5, 90.5]; agree 66.7 %"),)
    assert table.headings == ("from \\ to", "net")


def test_a_model_among_its_own_surrogates_is_told():
    (table,) = transfer_tables([matrix(crossed("one", "net", size=0.01), crossed("two", "net"))])
    assert table.texts == (("net", "50.0 % [9.5, 90.5]; the model itself"),)


def test_a_table_says_where_no_image_counts():
    (table,) = transfer_tables([matrix(crossed("one", told=2))])
    assert table.texts == (("a", "no image; agree 0.0 %"),)


# --- trust flags ---


def made_on(rows, surrogate="a"):
    params = json.dumps({"surrogate": surrogate})
    return [each | {"params": params, "surrogate": surrogate, "surrogate_class": 0} for each in rows]


def raised(rows, **more):
    flags = RunAnalysis(frame=frame(rows), manifest={"classes": TEN}, **more).flags
    return {flag.id: flag for flag in flags}


def test_transfer_that_beats_attacks_on_the_model_itself_is_a_sign_of_masked_gradients():
    own, other = images([None, None]), made_on(images([0.01, 0.01], attack="bsr"))
    flag = raised([*own, *other])["A8"]
    assert flag.attack == "bsr from a"
    assert "A8" not in raised([*images([0.01, 0.01]), *other])


@pytest.mark.parametrize("attack", ["pgd", "fgsm", "bsr"])
def test_what_is_made_on_another_model_need_not_be_strong(attack):
    weak = made_on(images([None] * 60, attack=attack, eps=1.0))
    strong = images([0.01] * 60, eps=1.0)
    assert not {"A7", "A11"} & raised([*strong, *images([0.01] * 60, attack="fgsm", eps=1.0), *weak]).keys()
    lucky = [*made_on(images([0.01], attack=attack, eps=0.1)), *made_on(images([None], attack=attack, eps=0.2))]
    assert "A10" not in raised(lucky)
    assert "A10" in raised([*images([0.01], eps=0.1), *images([None], eps=0.2)])


def test_transfer_is_of_another_kind_than_gradients():
    suite = Suite(name="x", models="lenet", datasets="mnist", attacks="pgd")
    own = images([None] * 3)
    assert "A12" in raised(own, suite=suite)
    assert "A12" not in raised([*own, *made_on(images([None] * 3, attack="bsr"))], suite=suite)


def test_doubts_about_an_attack_are_about_what_it_was_made_on_too():
    lost = [unknown(f"s{i}", attack="bsr", params='{"surrogate": "a"}', reason="invalid") for i in range(3)]
    analysis = RunAnalysis(frame=frame(lost), manifest={"classes": TEN})
    cell = next(cell for cell in analysis.cells if cell.attack == "bsr from a")
    assert cell.flags == "A1"


# --- means over images ---


def test_a_mean_over_several_networks_is_no_narrower_than_its_images_allow():
    half = np.array([1.0, 0.0] * 20)
    alone, alike = mean_over([half]), mean_over([half, half])
    assert alone == alike  # the second network adds no image
    apart = mean_over([half, np.array([1.0, 1.0, 0.0, 0.0] * 10)])
    assert apart.high - apart.low < alone.high - alone.low
    assert mean_over([]) is None
    assert mean_over([np.array([1.0, math.nan])]) is None


LONG = {"steps": 2, "relative_step": 0.2, "decay": 0.9, "probability": 0.3, "smallest": 0.8, "loss": "margin"}


def labels_of(*changes, attack="difgsm", surrogates=("",)):
    """Labels of attacks with these changes of the parameters, as a table shows them."""
    made = [{**LONG, **change} | ({"surrogate": each} if each else {}) for change in changes for each in surrogates]
    labels = attack_labels([(attack, json.dumps(params)) for params in made])
    return [display_name(label, limit=LONGEST_LABEL) for label in labels]


def test_long_labels_name_as_few_parameters_as_tell_them_apart():
    """The middle of a long label is cut, and with it went the parameters in which these differ."""
    last = {"steps": 3, "relative_step": 0.3, "decay": 0.8, "probability": 0.4, "smallest": 0.7, "loss": "ce"}
    assert labels_of({}, {"relative_step": 0.3, "probability": 0.4}, last) == [
        "difgsm (relative_step=0.2)",
        "difgsm (steps=2, relative_step=0.3)",
        "difgsm (steps=3)",
    ]


def test_labels_that_are_still_too_long_are_numbered():
    folder = "/very/long/folder/of/perturbations"
    paths = [
        {"perturbation": f"{folder}/{name}/fitted/in/the/very/same/way/to/each/of/them.safetensors"} for name in "ab"
    ]
    found = labels_of(*paths)
    assert len(set(found)) == 2
    assert [text[-6:] for text in found] == [" no. 1", " no. 2"]
    sources = [f"an ensemble of many models, {name} and of others that are the same in all of them" for name in "ab"]
    assert len(set(labels_of({}, {"steps": 5}, surrogates=sources))) == 4


@given(
    st.lists(
        st.fixed_dictionaries({key: st.sampled_from([0, 1]) for key in LONG}),
        unique_by=lambda change: tuple(sorted(change.items())),
        max_size=5,
    )
)
def test_no_two_attacks_look_the_same(changes):
    found = labels_of(*changes)
    assert len(set(found)) == len(changes)

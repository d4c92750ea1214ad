"""Gates: what passes, what fails, what is refused, and that errors come before gates."""

import json
from itertools import combinations

import pytest
from frames import frame, images, row, unknown
from runs import SUITE, a_run, a_unit
from threat_rows import foggy

from advbench.analysis.baseline import Baseline
from advbench.analysis.gates import evaluate, refuse_in_advance
from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.threats import WHOLE_RUN
from advbench.config.gates import Gates
from advbench.config.suite import Suite
from advbench.errors import UserError
from advbench.records.flag import Flag
from advbench.sanitize import count_of

HALF = images([0.01, None] * 50)
"""100 images, half of them broken."""
FLAG = {
    "id": "M1", "severity": "E", "model": "net", "dataset": "toy", "attack": None, "message": "dropout is on",
    "advice": "call eval()", "value": None,
}  # fmt: skip


def verdict(rows=HALF, baseline=None, flags=(), missing=(), **gates):
    return evaluate(a_run(rows, flags=flags, missing=missing), Gates.model_validate(gates), baseline)


def of(rows):
    return Baseline.of(frame(rows), run_id="old", version="0.1.0")


def test_without_gates_a_run_is_done():
    found = verdict()
    assert (found.exit_code, found.passed, found.headline) == (0, True, "DONE: no gates were set")
    assert found.results == ()
    assert [cell.attack for cell in found.analysis.cells] == [WORST_CASE, "pgd"]


@pytest.mark.parametrize(("floor", "code"), [(0.5, 0), (0.51, 1), (0, 0), (1, 1)])
def test_a_floor(floor, code):
    found = verdict(min_robust_accuracy=floor)
    (result,) = found.results
    assert (found.exit_code, result.passed) == (code, not code)
    assert result.message == f"robust accuracy 50.0 % (50/100) [40.4, 59.6], at least {100 * floor:.1f} % required"
    assert (result.threat.model, result.eps) == ("net", 8 / 255)


def test_a_floor_holds_for_the_worst_case_of_every_cell():
    rows = [*HALF, *images([None] * 100, attack="apgd"), *images([None] * 100, norm="l2", eps=0.5)]
    found = verdict(rows, min_robust_accuracy=0.6)
    assert [(r.threat.norm, r.passed) for r in found.results] == [("linf", False), ("l2", True)]


def test_floors_for_some_cells():
    rows = [*HALF, *images([None] * 100, norm="l2", eps=0.5), *images([0.05] * 100, eps=16 / 255)]
    floors = [
        {"min_robust_accuracy": 0.5, "norm": "linf", "eps": "8/255"},
        {"min_robust_accuracy": 0.9, "norm": "l2", "model": "net"},
    ]
    found = verdict(rows, floors=floors)
    assert [(r.threat.norm, round(255 * r.eps, 6), r.passed) for r in found.results] == [
        ("linf", 8, True),
        ("l2", 127.5, True),
    ]
    assert verdict(rows, floors=floors, min_robust_accuracy=0.2).exit_code == 1


def test_a_floor_for_nothing_is_a_mistake():
    with pytest.raises(UserError, match=r"a floor is set for model nat, which is not in the run"):
        verdict(floors=[{"min_robust_accuracy": 0.5, "model": "nat"}])


def test_unknown_images_do_not_lift_a_number_over_its_floor():
    rows = [*images([None] * 45 + [0.01] * 45), *(unknown(f"s{i}") for i in range(90, 100))]
    found = verdict(rows, min_robust_accuracy=0.5, max_unknown=0.1)
    assert found.exit_code == 1
    assert "45.0 to 55.0 % (45 to 55/100)" in found.failures[0].message


def test_a_drop_needs_size_and_significance():
    better, much_better = images([0.01, None, None, None] * 25), images([None] * 100)
    assert verdict(baseline=of(better), max_drop_pp=2).exit_code == 1
    assert verdict(baseline=of(better), max_drop_pp=30).exit_code == 0
    assert verdict(baseline=of(much_better), max_drop_pp=2, alpha=1e-20).exit_code == 0
    three = [*images([0.01] * 3 + [None] * 97)]
    assert verdict(three, baseline=of(images([None] * 100)), max_drop_pp=2).exit_code == 0
    six = [*images([0.01] * 6 + [None] * 94)]
    (result,) = verdict(six, baseline=of(images([None] * 100)), max_drop_pp=2).results
    assert not result.passed
    assert result.message == (
        "robust accuracy 6.0 points lower (±5.0): 100.0 % before, 94.0 % now, 6 images newly broken, 0 newly robust, "
        "p = 0.016; at most 2 points lower allowed at p < 0.05"
    )


def test_an_improvement_never_fails():
    found = verdict(baseline=of(images([0.01] * 100)), max_drop_pp=0)
    assert found.exit_code == 0
    assert "50.0 points higher" in found.results[0].message


def test_holm_over_all_worst_cases():
    """A drop that is significant alone is not among ten others."""
    budgets = (0.1, *range(1, 11))
    old = [row(f"s{i}", eps=eps) for i in range(100) for eps in budgets]
    new = [row(r["sample_id"], eps=10, size=10) if r["eps"] == 10 and r["sample_id"] < "s14" else r for r in old]
    (*_, last) = verdict(new, baseline=of(old), max_drop_pp=2).results
    assert "6 images newly broken" in last.message
    assert last.passed


def test_a_missing_baseline_is_a_mistake():
    with pytest.raises(UserError, match=r"(?s)max_drop_pp needs a baseline.*advbench baseline write"):
        verdict(max_drop_pp=2)


def test_a_baseline_of_other_images_is_refused():
    with pytest.raises(UserError, match="has other images or labels"):
        verdict(baseline=of(images([None])), max_drop_pp=2)
    with pytest.raises(UserError, match="has other attacks"):
        verdict(baseline=of([{**r, "eps": 0.1} for r in HALF]))


def test_a_baseline_without_a_gate_is_compared():
    found = verdict(baseline=of(HALF))
    assert (found.exit_code, len(found.comparison.changes)) == (0, 1)


def test_errors_come_before_gates():
    found = verdict([*HALF, unknown("s100")], min_robust_accuracy=1)
    assert found.exit_code == 3
    assert found.headline == (
        "INCOMPLETE: 1 of 101 results are unknown (1.0%), at most 0.0% allowed; the first: RuntimeError: it is too much"
    )
    assert verdict([*HALF, unknown("s100")], min_robust_accuracy=1, max_unknown=0.01).exit_code == 1


@pytest.mark.parametrize(("most", "code", "word"), [(0.01, 0, "PASSED: 1 gate held"), (0, 3, "INCOMPLETE: 1 of 101")])
def test_a_gate_for_unknown_results_alone(most, code, word):
    found = verdict([*HALF, unknown("s100")], max_unknown=most)
    (result,) = found.results
    assert (found.exit_code, result.gate, result.passed, result.threat) == (code, "max_unknown", not code, WHOLE_RUN)
    assert found.headline.startswith(word)
    assert result.message == f"1 of 101 results are unknown (1.0%), at most {100 * most:.1f}% allowed"


GATES = {
    "min_robust_accuracy": 0.4,
    "floors": [{"min_robust_accuracy": 0.4}],
    "max_drop_pp": 1,
    "max_unknown": 0,
    "require_flags_clear": True,
}
OF_ATTACKS = {**GATES, "min_proved_accuracy": 0.1, "max_open": 0.1}
del OF_ATTACKS["max_unknown"], OF_ATTACKS["require_flags_clear"]


@pytest.mark.parametrize("names", [*combinations(GATES, 1), *combinations(GATES, 2), tuple(GATES)])
def test_every_gate_that_is_set_has_a_result(names):
    found = verdict(baseline=of(HALF), **{name: GATES[name] for name in names})
    wanted = {"min_robust_accuracy" if name == "floors" else name for name in names}
    assert {result.gate for result in found.results} == wanted
    assert found.headline == f"PASSED: {count_of(len(wanted), 'gate')} held"


@pytest.mark.parametrize("name", OF_ATTACKS)
def test_gates_about_attacks_are_refused_where_only_corruptions_are(name):
    """They used to hold silently, since there was no number to compare."""
    gates = Gates.model_validate({name: OF_ATTACKS[name]})
    before = of(HALF) if name == "max_drop_pp" else None
    units = [a_unit(["s0"], attack="corruption/fog", norm="", eps=None)]
    message = f"the gate {name} is about attacks, and the run has only corruptions"
    with pytest.raises(UserError, match=message):
        evaluate(a_run(foggy(1, {0})), gates, before)
    with pytest.raises(UserError, match=message):
        refuse_in_advance(units, Suite.model_validate(SUITE), gates, before)


def test_a_run_that_is_not_done_is_incomplete():
    found = verdict(missing=[a_unit(["s0", "s100"], eps=4 / 255)], min_robust_accuracy=0.1)
    assert found.exit_code == 3
    assert found.headline == "INCOMPLETE: 1 unit of work not done; `advbench resume` does the rest"
    cell = next(c for c in found.analysis.cells if (c.attack, c.eps) == ("pgd", 8 / 255))
    assert (cell.robust.n, cell.robust.unknown) == (101, 1)


def test_a_unit_that_failed_is_named_with_its_reason():
    check = a_unit(["s0"], unit_id="check", task="checks", attack="", goal="", norm="", eps=None)
    run = a_run(HALF, missing=[check, a_unit(["s0"])])
    run.missing[check.unit_id] = "AssertionError: images\x1b[31m"
    assert evaluate(run, Gates()).headline == (
        "INCOMPLETE: 2 units of work not done, of which 1 failed (checks of net on toy: AssertionError: "
        "images\\x1b[31m); `advbench resume` tries again"
    )


def test_nothing_run():
    found = verdict([])
    assert (found.exit_code, found.headline) == (5, "NOTHING RUN: the run has no images")
    assert verdict([], missing=[a_unit(["a"])]).exit_code == 3


def test_a_flag_of_severity_e_refuses_the_numbers_that_it_touches():
    found = verdict(flags=[FLAG], min_robust_accuracy=0.1)
    assert found.exit_code == 1
    assert found.failures[0].message.startswith("the number must not be used (M1: dropout is on); robust accuracy")
    assert verdict(flags=[FLAG | {"model": "other"}], min_robust_accuracy=0.1).exit_code == 0
    assert verdict(flags=[FLAG | {"severity": "F"}], min_robust_accuracy=0.1).exit_code == 0
    assert verdict(flags=[FLAG]).exit_code == 0


def test_flags_may_be_required_to_be_clear():
    for severity, code in (("E", 1), ("F", 1), ("I", 0)):
        assert verdict(flags=[FLAG | {"severity": severity}], require_flags_clear=True).exit_code == code
    rows = [*images([None, None, 0.01]), *images([0.01, 0.01, None], attack="fgsm")]
    found = verdict(rows, require_flags_clear=True)
    assert found.failures[0].message.startswith("A7 net on toy, pgd: misses 2 of 3 images that fgsm breaks")


def test_flags_come_worst_first():
    flags = [FLAG | {"severity": severity, "id": "M4"} for severity in "IFE"]
    assert [flag.severity for flag in verdict(flags=flags).analysis.flags] == ["E", "F", "I", "I"]
    assert all(isinstance(flag, Flag) for flag in verdict(flags=flags).analysis.flags)


def test_a_verdict_is_plain_data():
    found = verdict(flags=[FLAG], min_robust_accuracy=0.4).as_dict()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    assert (found["verdict"], found["exit_code"]) == ("failed", 1)
    assert [cell["attack"] for cell in found["cells"]] == [WORST_CASE, "pgd"]
    first, second = found["flags"]
    assert (first, second["id"]) == (FLAG, "A12")

"""Proved, open and fooled: what holds at one eps holds at others, and what cannot be is flagged."""

import pytest
from frames import frame, row
from runs import a_run

from advbench.analysis.baseline import Baseline
from advbench.analysis.compare import compare, outcomes
from advbench.analysis.gates import evaluate
from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.run_analysis import RunAnalysis
from advbench.config.gates import Gates
from advbench.errors import UserError
from advbench.records.record import FOOLED, PROOF
from advbench.report.both_sides import sides_of
from advbench.report.formats import FORMATS, render

SMALL, LARGE = 2 / 255, 8 / 255


def proof(sample, eps, proved, **columns):
    """The row of a proof."""
    method = {"proof_method": "crown", "proof_bound": 1.0 if proved else -1.0, "proof_seconds": 0.1}
    return row(sample, attack=PROOF, eps=eps, proved=proved, **method | columns)


def rows(eps=(SMALL, LARGE), **columns):
    """Image a is proved at the larger eps, b is fooled at the smaller one, c stays open, d is wrong when clean."""
    found = []
    for level in eps:
        found += [row("a", eps=level), row("b", eps=level, size=0.005), row("c", eps=level)]
        found += [row("d", eps=level, label=1, met=True, linf=0.0)]
        found += [proof("b", level, False, proof_method=FOOLED), proof("d", level, False, proof_method=FOOLED, label=1)]
        found += [proof("c", level, False, **columns), proof("a", level, level == LARGE)]
    return found


def worst(made):
    return [cell for cell in RunAnalysis(frame=frame(made)).cells if cell.attack == WORST_CASE]


def test_what_is_proved_at_a_larger_eps_is_proved_at_a_smaller_one():
    small, large = worst(rows())
    assert (small.proved.k, small.open.k, small.robust.k) == (1, 1, 2)
    assert (large.proved.k, large.open.k, large.robust.k) == (1, 1, 2)
    assert sides_of(small)[1:] == (1, 1, 2)


def test_an_eps_above_every_proof_has_none():
    found = worst([*rows(eps=(SMALL,)), *(row(name, eps=LARGE) for name in "abcd")])
    assert [cell.proved is None for cell in found] == [False, True]


def test_attacks_have_no_proofs_of_their_own():
    cells = RunAnalysis(frame=frame(rows())).cells
    assert [cell.attack for cell in cells] == [WORST_CASE, "pgd"] * 2
    assert all(cell.proved is None for cell in cells if cell.attack == "pgd")


def test_a_counterexample_counts_as_fooled():
    made = rows(eps=(LARGE,), met=True, flipped=True, adv_class=1, linf=0.03)
    (cell,) = worst(made)
    assert (cell.proved.k, cell.open.k, cell.robust.k, cell.robust.unknown) == (1, 0, 1, 0)
    assert not [flag for flag in RunAnalysis(frame=frame(made)).flags if flag.severity == "E"]


def test_what_is_proved_and_fooled_is_flagged_and_refused():
    made = [*rows(), row("a", attack="fmn", eps=None, size=0.02)]
    flags = [flag for flag in RunAnalysis(frame=frame(made)).flags if flag.id == "P1"]
    assert [(flag.severity, flag.value) for flag in flags] == [("E", 0.25)]
    assert "1 of 4 images are both proved and fooled in linf" in flags[0].message
    verdict = evaluate(a_run(made), Gates(min_proved_accuracy=0.0))
    assert "the number must not be used (P1" in verdict.failures[0].message


@pytest.mark.parametrize(
    ("gates", "failed"),
    [
        ({"min_proved_accuracy": 0.25, "max_open": 0.25}, []),
        ({"min_proved_accuracy": 0.3}, ["min_proved_accuracy"] * 2),
        ({"max_open": 0.2}, ["max_open"] * 2),
    ],
)
def test_gates(gates, failed):
    verdict = evaluate(a_run(rows()), Gates.model_validate(gates))
    assert [result.gate for result in verdict.failures] == failed


def test_gates_without_proofs_are_refused():
    with pytest.raises(UserError, match="need proofs, and the run has none"):
        evaluate(a_run([row("a")]), Gates(max_open=0.1))


def test_a_comparison_counts_what_is_proved_no_more():
    lost = [each | {"proved": False} if each["attack"] == PROOF and each["eps"] == LARGE else each for each in rows()]
    changes = compare(outcomes(frame(rows())), outcomes(frame(lost))).changes
    found = {(change.after.key.attack, change.after.key.eps): change for change in changes}
    assert found[PROOF, SMALL].broken == found[PROOF, LARGE].broken == ("a",)
    assert found[WORST_CASE, LARGE].broken == ()


def test_a_baseline_keeps_what_is_proved():
    kept = Baseline.of(frame(rows()), run_id="r", version="1").outcomes()
    assert {each.key.eps: each.letters for each in kept if each.key.attack == PROOF} == {SMALL: "1000", LARGE: "1000"}


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "labels-csv"])  # which proofs know nothing of
def test_every_report_tells_both_sides(name):
    run = a_run(rows())
    text = render(name, evaluate(run, Gates()), run)
    assert "proved" in text


def test_reports_draw_three_parts():
    run = a_run(rows())
    verdict = evaluate(run, Gates())
    assert "██████████▒▒▒▒▒▒▒▒▒▒░░░░░░░░░░░░░░░░░░░░" in render("text", verdict, run)
    assert "🟩🟩🟩🟩🟩🟨🟨🟨🟨🟨🟥🟥🟥🟥🟥🟥🟥🟥🟥🟥" in render("markdown", verdict, run)
    assert 'class="bar sides"' in render("html", verdict, run)


def test_the_reason_for_no_proof_stands_above_the_numbers():
    made = [*rows(eps=(LARGE,), proof_method="none", proof_bound=None, error="cannot be proved: layer GELU")]
    run = a_run(made)
    assert "cannot be proved: layer GELU" in render("text", evaluate(run, Gates()), run)

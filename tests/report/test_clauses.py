"""The test report: its clauses, what each number is said to support, and what is never said."""

import re

import fakes
import pytest
from frames import images, unknown
from runs import a_run, a_unit

from advbench.analysis.gates import evaluate
from advbench.catalog import ATTACKS
from advbench.config.gates import Gates
from advbench.report.exchange.clauses import as_test_report
from advbench.report.exchange.schemes import ARTICLE_15, AS_OF, REFERENCES, access_of, references

ROWS = [
    *images([0.01, None, 0.02, None] * 5),
    *images([None] * 20, attack="noise"),
    *images([0.01, None] * 10, attack="square"),
]
KNOWN = {
    "advbench": "0.1.0", "started": 0.0, "finished": 60.0, "workers": 2, "versions": {"torch": "2.14.1"},
    "environment": {"python": "3.11.7", "system": "Linux x86_64"}, "notes": {"net": ["images go in from 0 to 1"]},
    "identity": {"models": {"net": "abcd"}, "images": {"net on toy": "ef01"}, "code": "2345"},
}  # fmt: skip


def report(rows=ROWS, gates=None, known=KNOWN, **options):
    run = a_run(rows, **options)
    run.manifest.update(known | {"classes": {}})
    return as_test_report(evaluate(run, gates or Gates(min_robust_accuracy=0.4)), run)


def clause(text, number):
    return re.search(rf"^## {number} (.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def test_the_clauses_in_their_order():
    headings = re.findall(r"^## (.*)$", report(), re.MULTILINE)
    assert headings == [
        "1 Identification",
        "2 Items tested",
        "3 Method",
        "4 Conditions",
        "5 Results",
        "6 Uncertainty",
        "7 Limits and deviations",
        "8 What the numbers can support",
    ]


def test_who_and_what():
    text = report()
    assert "| Tested | 1 January 1970, 00:00 UTC to 1 January 1970, 00:01 UTC |" in clause(text, 1)
    assert "| Laboratory | _to be filled in_ |" in clause(text, 1)
    assert "| net | abcd | images go in from 0 to 1 | toy, 20 images | ef01 |" in clause(text, 2)
    assert "| digest of the code | 2345 |" in clause(text, 4)


def test_attacks_say_what_they_ask_for_and_how_others_call_them():
    method = clause(report(), 3)
    assert "| pgd | {} | gradients (white box) | NISTAML.022, AML.T0015, AML.T0043, AML.T0043.000," in method.replace(
        "\\", ""
    )
    assert "| square | {} | scores (black box) | NISTAML.022, NISTAML.025," in method.replace("\\", "")
    assert "| noise | {} | decisions (black box) | - |" in method.replace("\\", "")


def test_gates_and_limits_are_told():
    text = report(gates=Gates(min_robust_accuracy=0.9))
    assert "- gate min\\_robust\\_accuracy **failed** · net on toy" in clause(text, 5)
    assert "There were no deviations from the plan." in clause(text, 7)
    assert "Nothing was proved" in clause(text, 7)
    assert "No attack of a black box was run" not in clause(text, 7)
    assert "No attack of a black box was run" in clause(report(ROWS[:40]), 7)


def test_what_went_wrong_is_a_deviation():
    rows = [*ROWS, unknown("s20"), *images([None] * 21, attack="noise")[20:], unknown("s20", attack="square")]
    text = report(rows, missing=[a_unit(["s0"])])
    assert "Deviation from the plan: 1 unit of work not done" in clause(text, 7)
    assert "nothing is known; they widen the interval" in clause(text, 6)


def test_numbers_are_mapped_and_no_conformity_is_claimed():
    text = clause(report(), 8).replace("\\", "")
    assert text.splitlines()[2].startswith(f"As of {AS_OF}.")
    names = ", ".join(reference.id for reference in REFERENCES)
    assert (
        f"| robust accuracy, net on toy · untargeted · Linf ≤ 8/255 | 50.0 % (10/20) [29.9, 70.1] | {names} |" in text
    )
    assert "| noise | 15(4) |" in text
    assert "| proved accuracy |" not in text
    assert "nothing in this report states conformity" in text
    assert not re.search(r"\b(complies|compliant|conforms|certified)\b", report())


def test_only_numbers_that_the_run_has_are_mapped():
    relative = clause(report([r | {"label": None} for r in ROWS[:20]]), 8)
    assert "| clean accuracy |" not in relative
    assert "| noise |" not in relative
    assert "| median |" in clause(report(images([0.01, None], attack="fmn", eps=None)), 8)


def test_corruptions_and_proofs_are_reported_as_what_was_tested():
    fog = images([0.3, None], attack="corruption/fog", eps=None, params='{"severity": 1, "constants": "auto"}')
    text = report([*images([0.01, None]), *fog, *images([None] * 2, attack="proof", proved=True)])
    assert "Corruptions change an image without regard to the model" in clause(text, 3)
    assert "tried to prove that no perturbation within eps meets it" in clause(text, 3)
    assert "| fog | 50.0 | 50.0 % " in clause(text, 5)
    assert "goals, norms and sizes and the corruptions of clause 3 were tested" in clause(text, 7)
    assert "| corruption error | 15(4) |" in clause(text, 8)
    assert "| corruption error, net on toy, mean over corruptions and severities | 50.0 % " in clause(text, 8)
    assert "Threats:" not in clause(report(fog, Gates()), 3)
    for word in ("orruption", "prove that"):
        assert word not in report(ROWS).replace("mean corruption error", "")


def test_of_corruptions_alone_nothing_is_said_of_attacks():
    """No attack was to be run: none is missing, nothing was to be proved, and there is no worst case."""
    fog = images([0.3, None], attack="corruption/fog", eps=None, params='{"severity": 1, "constants": "auto"}')
    text = report(fog, Gates())
    assert "Only the corruptions of clause 3 were tested" in clause(text, 7)
    told = clause(text, 3) + clause(text, 6) + clause(text, 7)
    for words in ("black box", "proved", "a worst case is", "upper bound", "attack proposes"):
        assert words in clause(report(), 3) + clause(report(), 6) + clause(report(ROWS[:20]), 7)
        assert words not in told


def test_a_single_image_is_one_image():
    assert not re.search(r"\b1 images", text := report(images([0.01])))
    assert "toy, 1 image |" in text
    assert "percentage points, of 1 image." in text


def test_article_15_names_what_a_number_does_not_say():
    assert {support.number for support in ARTICLE_15} == {
        "clean accuracy",
        "robust accuracy",
        "proved accuracy",
        "median",
        "noise",
        "corruption error",
    }
    assert all(support.cannot and re.fullmatch(r"15\(\d\)(, 15\(\d\))*", support.paragraph) for support in ARTICLE_15)


def test_every_attack_of_the_catalogue_has_its_references():
    for name in ATTACKS:
        ids = {reference.id for reference in references([name])}
        assert ("NISTAML.022" in ids) is (name != "noise" and not name.startswith("corruption/")), name
        assert not ids or ("NISTAML.025" in ids) is (access_of(name) in ("scores", "decisions")), name


def test_a_manifest_that_says_little_is_enough():
    text = report(known={})
    assert "| Tested | not recorded |" in text
    assert report([], known={}).endswith("End of test report 0123456789abcdef.\n")


@pytest.mark.parametrize("name", [*fakes.HOSTILE, "a|b", "\n# x", "```"])
def test_hostile_names_stay_text(name):
    rows = [r | {"model": name, "dataset": name, "goal": f"targeted:{name}", "attack": name} for r in ROWS[:4]]
    text = report(rows)
    assert "<script" not in text
    assert "\x1b" not in text
    for line in text.splitlines():
        assert line.replace("\\|", "").count("|") in (0, 3, 4, 5, 6, 11, 12, 13, 14, 15)
    assert re.findall(r"^# .*$", text, re.MULTILINE) == [
        "# Test report: robustness of image classifiers to adversarial perturbations"
    ]

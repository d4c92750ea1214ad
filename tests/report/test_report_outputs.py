"""What is printed and written of a run, whole: terminal, Markdown, JUnit, GitHub; and hostile names in all of them."""

# ruff: noqa: E501 - whole outputs stand here as they are

import io
import json
import xml.etree.ElementTree as ET

import fakes
import pytest
from frames import frame, images, row, unknown
from rich.console import Console
from runs import a_run, a_unit
from threat_rows import foggy

from advbench.analysis.baseline import Baseline
from advbench.analysis.compare import compare
from advbench.analysis.gates import evaluate
from advbench.config.gates import Gates
from advbench.errors import ExitCode
from advbench.report import columns, markdown, terminal
from advbench.report.github import MOST_BYTES, annotations, in_actions, shortened, write_summary
from advbench.report.junit import as_junit
from advbench.report.markdown import as_markdown, compared_markdown, escaped
from advbench.report.marks import MARKS
from advbench.report.terminal import compared, summary

ROWS = [
    *images([0.01, None, 0.02, None] * 10),
    *images([None] * 40, attack="noise"),
    *images([0.01, 0.02, 0.03, None] * 10, attack="fmn", eps=None),
    unknown("s40"),
    row("s40", attack="noise"),
    row("s40", attack="fmn", eps=None),
]
BEFORE = [
    r | {"met": False, "flipped": False, "adv_class": 0, "linf": None} if r["sample_id"] < "s17" else r for r in ROWS
]
FLAG = {
    "id": "M4", "severity": "F", "model": "net", "dataset": "toy", "attack": None, "value": None,
    "message": "the outputs are probabilities", "advice": "leave the softmax out",
}  # fmt: skip
UNKNOWN = (
    "INCOMPLETE: 1 of 123 results are unknown (0.8%), at most 0.0% allowed; the first: RuntimeError: it is too much"
)
GATES = Gates(min_robust_accuracy=0.5, max_drop_pp=2, max_unknown=0.1)


def verdict(rows=ROWS, gates=GATES, before=BEFORE, **options):
    run = a_run(rows, **{"flags": [FLAG]} | options)
    run.manifest["classes"] = {}
    baseline = Baseline.of(frame(before), run_id="old", version="0.1.0") if gates.max_drop_pp is not None else None
    return evaluate(run, gates, baseline)


def printed(thing, width=100):
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(thing)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


@pytest.fixture
def columns_of_old(monkeypatch):
    """Those columns with which the whole outputs below were written down; a new one has a test of its own."""
    names = ["eps", "attack", "robust", "k/n", "noise", "success", "flipped", "fooled", "median", "passes", "s/image"]
    kept = tuple(column for column in columns.COLUMNS if column.heading in [*names, "95 %"])
    for module in (columns, terminal, markdown):
        monkeypatch.setattr(module, "COLUMNS", kept)


@pytest.mark.usefixtures("columns_of_old")
def test_on_a_terminal():
    assert (
        printed(summary(verdict()))
        == """\
FAILED: 2 of 3 gates failed
  FAIL min_robust_accuracy · net on toy · untargeted · Linf ≤ 8/255: robust accuracy 24.4 to 26.8 %
(10 to 11/41) [13.8, 41.9], at least 50.0 % required
  FAIL max_drop_pp · net on toy · untargeted · Linf ≤ 8/255: robust accuracy 17.5 points lower
(±12.2): 41.5 to 43.9 % before, 24.4 to 26.8 % now, 7 images newly broken, 0 newly robust, p =
0.0078; at most 2 points lower allowed at p < 0.05
  ok   1 gate held
  flag F M4 net on toy: the outputs are probabilities; leave the softmax out
  flag I A12 net on toy: all attacks in linf use gradients: pgd, fmn; add a gradient-free one, such
as square or hop_skip_jump, or standard, which combines both kinds

net on toy · untargeted · Linf
clean accuracy 100.0 % (41/41) [91.4, 100.0]
  eps attack        robust %      k/n       95 % success % flipped %  fooled %   median passes
8/255 worst case   24.4-26.8 10-11/41  13.8-41.9 73.2-75.6 73.2-75.6 73.2-75.6 7.65/255     57
8/255 pgd          48.8-51.2 20-21/41  34.3-65.7 48.8-51.2 48.8-51.2 48.8-51.2              19
8/255 noise            100.0    41/41 91.4-100.0       0.0       0.0       0.0              19
8/255 fmn               26.8    11/41  15.7-41.9      73.2      73.2      73.2 7.65/255     19

robust: share of all images that are correct when clean and not broken within eps; noise: robust
accuracy under random noise; success: share of the correct clean images that are broken; flipped:
share whose top class (or any label) changed, whatever the goal; fooled: share that is wrong after
the attack, clean mistakes included; median: median size of the smallest perturbation; passes:
forward and backward passes per image; intervals are 95 % Wilson intervals
"""
    )


@pytest.mark.usefixtures("columns_of_old")
def test_a_narrow_terminal_has_fewer_columns_and_whole_numbers():
    file = io.StringIO()
    Console(width=80, file=file).print(summary(verdict()))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert "  eps attack        robust %      k/n       95 % success %   median passes" in lines
    assert "8/255 worst case   24.4-26.8 10-11/41  13.8-41.9 73.2-75.6 7.65/255     57" in lines


def test_a_comparison_on_a_terminal():
    assert (
        printed(compared(verdict().comparison))
        == """\
net on toy · untargeted · Linf
  eps attack       images         before          after      points broken mended     p p (Holm)
8/255 worst case       40 41.5 to 43.9 % 24.4 to 26.8 % -17.5 ±12.2      7      0 0.016    0.016
  8/255 worst case, newly broken: s0 s1 s10 s12 s13 s14 s16

paired by image; exact McNemar test, Holm's correction over all numbers (corruptions apart)
"""
    )


@pytest.mark.parametrize("others", [0, 3])
def test_a_comparison_of_other_images_says_which_numbers_are_of_which(others):
    before = Baseline.of(frame(ROWS), run_id="old", version="0.1.0")
    rows = [r for r in ROWS if r["sample_id"] not in {f"s{i}" for i in range(others)}]
    found = compare(before.outcomes(), Baseline.of(frame(rows), run_id="new", version="0.1.0").outcomes())
    told = "before and after are shares of all images of each run"
    for text in (printed(compared(found), 300), compared_markdown(found)):
        assert (told in text) is (others > 0)


@pytest.mark.usefixtures("columns_of_old")
def test_as_markdown():
    assert (
        as_markdown(verdict(), "advbench [ci]")
        == """\
# advbench \\[ci\\]

❌ **FAILED: 2 of 3 gates failed**

- ❌ min\\_robust\\_accuracy · net on toy · untargeted · Linf ≤ 8/255: robust accuracy 24.4 to 26.8 % (10 to 11/41) \\[13.8, 41.9\\], at least 50.0 % required
- ❌ max\\_drop\\_pp · net on toy · untargeted · Linf ≤ 8/255: robust accuracy 17.5 points lower (±12.2): 41.5 to 43.9 % before, 24.4 to 26.8 % now, 7 images newly broken, 0 newly robust, p = 0.0078; at most 2 points lower allowed at p &lt; 0.05
- ✅ 1 gate held

## Trust flags

- **F** M4 net on toy: the outputs are probabilities; leave the softmax out
- **I** A12 net on toy: all attacks in linf use gradients: pgd, fmn; add a gradient-free one, such as square or hop\\_skip\\_jump, or standard, which combines both kinds

## net on toy · untargeted · Linf

clean accuracy 100.0 % (41/41) \\[91.4, 100.0\\]

| eps | attack | robust | k/n | 95 % | noise | success | flipped | fooled | median | passes | s/image |
|--:|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
| **8/255** | **worst case** | **24.4 to 26.8 %** | **10 to 11/41** | **\\[13.8, 41.9\\]** | **100.0 %** | **73.2 to 75.6 %** | **73.2 to 75.6 %** | **73.2 to 75.6 %** | **7.65/255** | **57** | **1.5** |
| 8/255 | pgd | 48.8 to 51.2 % | 20 to 21/41 | \\[34.3, 65.7\\] | 100.0 % | 48.8 to 51.2 % | 48.8 to 51.2 % | 48.8 to 51.2 % |  | 19 | 0.5 |
| 8/255 | noise | 100.0 % | 41/41 | \\[91.4, 100.0\\] | 100.0 % | 0.0 % | 0.0 % | 0.0 % |  | 19 | 0.5 |
| 8/255 | fmn | 26.8 % | 11/41 | \\[15.7, 41.9\\] | 100.0 % | 73.2 % | 73.2 % | 73.2 % | 7.65/255 | 19 | 0.5 |

robust: share of all images that are correct when clean and not broken within eps; noise: robust accuracy under random noise; success: share of the correct clean images that are broken; flipped: share whose top class (or any label) changed, whatever the goal; fooled: share that is wrong after the attack, clean mistakes included; median: median size of the smallest perturbation; passes: forward and backward passes per image; intervals are 95 % Wilson intervals.
""".rstrip()
    )


def test_a_comparison_as_markdown():
    assert (
        compared_markdown(verdict().comparison)
        == """\
## net on toy · untargeted · Linf

| eps | attack | images | before | after | points | broken | mended | p | p (Holm) |
|--:|:--|--:|--:|--:|--:|--:|--:|--:|--:|
| 8/255 | worst case | 40 | 41.5 to 43.9 % | 24.4 to 26.8 % | -17.5 ±12.2 | 7 | 0 | 0.016 | 0.016 |

- 8/255 worst case, newly broken: s0 s1 s10 s12 s13 s14 s16

Paired by image; exact McNemar test, Holm's correction over all numbers (corruptions apart).
""".rstrip()
    )


def test_as_junit():
    assert (
        as_junit(verdict(), [("run_id", "0123"), ("seed", "0")])
        == """\
<?xml version="1.0" encoding="utf-8"?>
<testsuites name="advbench" tests="6" failures="1" errors="0" skipped="0">
  <testsuite name="net on toy · untargeted · Linf" tests="4" failures="1" errors="0" skipped="0">
    <properties>
      <property name="run_id" value="0123" />
      <property name="seed" value="0" />
    </properties>
    <testcase classname="net.toy.untargeted" name="worst case, Linf ≤ 8/255" time="61.500">
      <failure type="min_robust_accuracy" message="robust accuracy 24.4 to 26.8 % (10 to 11/41) [13.8, 41.9], at least 50.0 % required">robust accuracy 24.4 to 26.8 % (10 to 11/41) [13.8, 41.9], at least 50.0 % required</failure>
      <failure type="max_drop_pp" message="robust accuracy 17.5 points lower (±12.2): 41.5 to 43.9 % before, 24.4 to 26.8 % now, 7 images newly broken, 0 newly robust, p = 0.0078; at most 2 points lower allowed at p &lt; 0.05">robust accuracy 17.5 points lower (±12.2): 41.5 to 43.9 % before, 24.4 to 26.8 % now, 7 images newly broken, 0 newly robust, p = 0.0078; at most 2 points lower allowed at p &lt; 0.05</failure>
      <system-out>robust accuracy 24.4 to 26.8 % (10 to 11/41) [13.8, 41.9]; under noise 100.0 % (41/41) [91.4, 100.0]; success 73.2 to 75.6 % (30 to 31/41) [58.1, 86.2]; </system-out>
    </testcase>
    <testcase classname="net.toy.untargeted" name="pgd, Linf ≤ 8/255" time="20.500">
      <system-out>robust accuracy 48.8 to 51.2 % (20 to 21/41) [34.3, 65.7]; under noise 100.0 % (41/41) [91.4, 100.0]; success 48.8 to 51.2 % (20 to 21/41) [34.3, 65.7]; {}</system-out>
    </testcase>
    <testcase classname="net.toy.untargeted" name="noise, Linf ≤ 8/255" time="20.500">
      <system-out>robust accuracy 100.0 % (41/41) [91.4, 100.0]; under noise 100.0 % (41/41) [91.4, 100.0]; success 0.0 % (0/41) [0.0, 8.6]; {}</system-out>
    </testcase>
    <testcase classname="net.toy.untargeted" name="fmn, Linf ≤ 8/255" time="20.500">
      <system-out>robust accuracy 26.8 % (11/41) [15.7, 41.9]; under noise 100.0 % (41/41) [91.4, 100.0]; success 73.2 % (30/41) [58.1, 84.3]; {}</system-out>
    </testcase>
  </testsuite>
  <testsuite name="run" tests="2" failures="0" errors="0" skipped="0">
    <testcase classname="advbench" name="complete" time="0.000" />
    <testcase classname="advbench" name="max_unknown" time="0.000">
      <system-out>1 of 123 results are unknown (0.8%), at most 10.0% allowed</system-out>
    </testcase>
  </testsuite>
</testsuites>
"""
    )


def test_corruptions_as_junit():
    """A case for each at each severity, and one of the mean, which the gate is about."""
    rows = [*foggy(1, {0}), *foggy(5, {0, 3})]
    (suite, run) = ET.fromstring(as_junit(verdict(rows, Gates(max_corruption_error=0.2), flags=[])))
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("net on toy · corruptions", "3", "1")
    found = {case.get("name"): case for case in suite.iter("testcase")}
    assert [*found] == ["fog, severity 1", "fog, severity 5", "mean error under corruptions"]
    assert found["fog, severity 5"].findtext("system-out") == "error 50.0 % (2/4) [15.0, 85.0]"
    assert {case.get("classname") for case in found.values()} == {"net.toy.corruptions"}
    assert found["mean error under corruptions"].find("failure").get("type") == "max_corruption_error"
    assert run.get("tests") == "1"


def test_as_annotations():
    assert (
        "\n".join(annotations(verdict()))
        == """\
::error title=advbench%3A min_robust_accuracy::net on toy · untargeted · Linf ≤ 8/255: robust accuracy 24.4 to 26.8 %25 (10 to 11/41) [13.8, 41.9], at least 50.0 %25 required
::error title=advbench%3A max_drop_pp::net on toy · untargeted · Linf ≤ 8/255: robust accuracy 17.5 points lower (±12.2): 41.5 to 43.9 %25 before, 24.4 to 26.8 %25 now, 7 images newly broken, 0 newly robust, p = 0.0078; at most 2 points lower allowed at p < 0.05
::warning title=advbench%3A trust flag M4::M4 net on toy: the outputs are probabilities; leave the softmax out
""".rstrip()
    )


@pytest.mark.parametrize(
    ("options", "code", "headline"),
    [
        ({"rows": images([0.01, None]), "gates": Gates()}, 0, "DONE: no gates were set"),
        ({"gates": Gates(max_unknown=0.1)}, 0, "PASSED: 1 gate held"),
        ({"gates": Gates(max_unknown=0)}, 3, UNKNOWN),
        ({"gates": Gates(require_flags_clear=True, max_unknown=0.1), "flags": []}, 0, "PASSED: 2 gates held"),
        ({"gates": Gates(require_flags_clear=True, max_unknown=0.1)}, 1, "FAILED: 1 of 2 gates failed"),
        ({"gates": Gates(min_robust_accuracy=0.1, max_unknown=0.1)}, 0, "PASSED: 2 gates held"),
        ({}, 1, "FAILED: 2 of 3 gates failed"),
        ({"gates": Gates(min_robust_accuracy=1)}, 3, UNKNOWN),
        ({"missing": [a_unit(["s0"])]}, 3, "INCOMPLETE: 1 unit of work not done; `advbench resume` does the rest"),
        ({"rows": [], "gates": Gates()}, 5, "NOTHING RUN: the run has no images"),
        ({"rows": foggy(1, {0}), "gates": Gates(max_corruption_error=0.2)}, 1, "FAILED: 1 of 1 gate failed"),
        ({"rows": foggy(1, {0}), "gates": Gates(max_corruption_error=0.3)}, 0, "PASSED: 1 gate held"),
    ],
)  # fmt: skip
def test_every_output_gives_the_same_verdict(options, code, headline):
    found = verdict(**options)
    assert (found.exit_code, found.headline) == (code, headline)
    assert " ".join(printed(summary(found)).split()).startswith(headline)
    assert f"**{escaped(headline)}**" in as_markdown(found, "x")
    assert found.as_dict()["exit_code"] == code
    junit = ET.fromstring(as_junit(found))
    assert (int(junit.get("errors")) > 0) is (code in (3, 5))
    assert (int(junit.get("failures")) > 0) is bool(found.failures)
    assert any(line.startswith("::error ") for line in annotations(found)) is (code != 0)


def test_every_exit_code_of_a_verdict_has_its_mark():
    assert set(MARKS) == {code for code in ExitCode if code < 128}  # those above are signals, which leave no verdict


def hostile(name):
    """A run in which everything that a stranger may name is called so."""
    rows = [
        r | {"model": name, "dataset": name, "goal": f"targeted:{name}", "attack": name} for r in images([0.01, None])
    ]
    flag = FLAG | {"model": name, "dataset": name, "attack": name, "message": name, "advice": name}
    return verdict(rows, Gates(min_robust_accuracy=1, require_flags_clear=True), flags=[flag])


EVIL = (
    *fakes.HOSTILE,
    "\n::error::x",
    "a|b",
    "```\n",
    "%0A::error::x",
    "]]><!--",
    "[x](http://x)",
    "\x00\x08",
    "@everyone",
)


@pytest.mark.parametrize("name", EVIL)
def test_a_hostile_name_is_a_name(name):
    found = hostile(name)
    text = printed(summary(found))
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    markdown = as_markdown(found, name)
    assert "<script" not in markdown
    assert "\x1b" not in markdown
    assert all(line.count("|") - line.count("\\|") in (0, 11, 12) for line in markdown.splitlines())
    junit = ET.fromstring(as_junit(found, [(name, name)]))
    assert junit.get("tests") == "4"
    for line in annotations(found):
        assert "\n" not in line
        assert "\r" not in line
        assert line.startswith(("::error title=advbench", "::warning title=advbench"))
    json.dumps(found.as_dict(), allow_nan=False)


def test_properties_of_annotations_hold_no_separators():
    lines = list(annotations(hostile("a:b,c%d\r\n")))
    for line in lines:
        title = line.removeprefix("::").partition("title=")[2].partition("::")[0]
        assert not set(title) & set(":,\r\n")


def test_at_most_ten_annotations():
    flags = [FLAG | {"message": f"flag {i}"} for i in range(30)]
    floors = Gates(floors=[{"min_robust_accuracy": 1, "model": f"net{i}"} for i in range(30)], max_unknown=1)
    rows = [r | {"model": f"net{i}"} for i in range(30) for r in images([0.01])]
    lines = list(annotations(verdict(rows, floors, flags=flags)))
    assert len(lines) == 10
    assert [line for line in lines if "more, see the summary" in line] == [
        "::error title=advbench::26 more, see the summary",
        "::warning title=advbench::26 more, see the summary",
    ]


def test_a_summary_is_below_a_mebibyte(tmp_path):
    long = "| ü row |\n" * 200_000
    cut = shortened(long)
    assert len(cut.encode()) <= MOST_BYTES < 2**20
    assert cut.startswith("| ü row |\n")
    assert cut.splitlines()[-1] == "The report is longer than GitHub shows; `advbench report` makes the whole of it."
    assert shortened("short") == "short"
    place = tmp_path / "summary.md"
    place.write_text("before\n")
    write_summary("# x", {"GITHUB_STEP_SUMMARY": str(place)})
    assert place.read_text() == "before\n# x\n"
    write_summary("# x", {})


def test_inside_of_github_actions():
    assert in_actions({"GITHUB_ACTIONS": "true"})
    assert not in_actions({})


def test_columns_that_are_empty_are_left_out():
    text = printed(summary(verdict(images([0.01, None]), Gates(), flags=[])))
    assert "noise" not in text.splitlines()[4]
    assert "median" not in text.splitlines()[4]


def test_numbers_without_labels_say_so():
    rows = [r | {"label": None} for r in images([0.01, None])]
    found = verdict(rows, Gates())
    said = "without labels: correct means classified as when clean"
    assert said in printed(summary(found))
    assert said in as_markdown(found, "x")


def test_gates_that_held_are_counted():
    found = verdict(gates=Gates(min_robust_accuracy=0.1, max_unknown=0.1))
    assert printed(summary(found)).splitlines()[:2] == ["PASSED: 2 gates held", "  ok   2 gates held"]
    assert "\n- ✅ 2 gates held\n" in as_markdown(found, "x")

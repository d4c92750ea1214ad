"""`advbench report`, `compare` and `baseline`, and how a run ends: what is printed where, written, and exited with."""

import csv
import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner
from frames import images, unknown
from runs import a_run, write_run

from advbench import load_run
from advbench.analysis.baseline import read_baseline
from advbench.cli.main import main
from advbench.cli.verdict import conclude
from advbench.config.gates import Gates
from advbench.errors import UserError
from advbench.records.stored_run import read_run
from advbench.report.formats import FORMATS

ROWS = [*images([0.01, None, 0.02, None] * 5), *images([0.01, 0.02, 0.03, None] * 5, attack="fmn", eps=None)]
WORSE = [*images([0.01] * 18 + [None] * 2), *images([0.01, 0.02, 0.03, None] * 5, attack="fmn", eps=None)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the folders of two runs in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    write_run(Path("run"), ROWS)
    write_run(Path("worse"), WORSE)
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(main, [os.fspath(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_on_a_terminal(folder):
    result = run("report", "run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("DONE: no gates were set\n")
    assert "\nnet on toy · untargeted · Linf\nclean accuracy 100.0 % (20/20) [83.9, 100.0]\n" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_json_is_one_object(folder):
    found = json.loads(run("report", "run", "--format", "json").stdout)
    assert (found["verdict"], found["exit_code"], found["suite"], found["folder"]) == ("done", 0, "made", "run")
    assert [(cell["attack"], cell["robust_k"], cell["robust_n"]) for cell in found["cells"]] == [
        ("worst case", 5, 20),
        ("pgd", 10, 20),
        ("fmn", 5, 20),
    ]


def test_csv_has_the_numbers_and_no_formulas(folder):
    write_run(Path("evil"), [{**r, "model": "=1+1"} for r in ROWS])
    rows = list(csv.DictReader(io.StringIO(run("report", "evil", "--format", "csv").stdout)))
    assert [row["attack"] for row in rows] == ["worst case", "pgd", "fmn"]
    assert {row["model"] for row in rows} == {"'=1+1"}
    assert float(rows[1]["robust_rate"]) == 0.5


def test_junit_and_markdown(folder):
    junit = ET.fromstring(run("report", "run", "--format", "junit").stdout)
    assert (junit.get("tests"), junit.get("failures"), junit.get("errors")) == ("4", "0", "0")
    assert run("report", "run", "--format", "markdown").stdout.startswith("# advbench made\n")


@pytest.mark.parametrize("form", [name for name, form in FORMATS.items() if form.printed])
def test_a_file_holds_what_would_be_printed(folder, form):
    result = run("report", "run", "--format", form, "--out", "sub/report")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "written: sub/report\n")
    assert Path("sub/report").read_text().rstrip("\n") == run("report", "run", "--format", form).stdout.rstrip("\n")


def test_a_run_that_is_not_finished_is_reported_as_such(folder):
    write_run(Path("half"), ROWS, lost=1)
    result = run("report", "half")
    assert result.exit_code == 0
    assert result.stdout.startswith("INCOMPLETE: 1 unit of work not done; `advbench resume` does the rest")
    assert "0.0-50.0" in result.stdout


def test_no_run(folder):
    for command in (["report", "nix"], ["compare", "run", "nix"], ["baseline", "write", "nix"]):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: nix is not the folder of a run")


def test_compare_two_runs(folder):
    result = run("compare", "run", "worse")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "8/255 pgd, newly broken: s1 s3 s5 s7 s9 s11 s13 s15 and 1 more\n" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    found = json.loads(run("compare", "run", "worse", "--format", "json").stdout)
    pgd = next(change for change in found["changes"] if change["attack"] == "pgd")
    assert (pgd["drop_pp"], len(pgd["broken"]), pgd["mended"]) == (40, 9, ["s18"])
    assert run("compare", "run", "worse", "--format", "markdown").stdout.startswith("## net on toy\n")


def test_what_only_one_of_two_runs_has_is_told_once_for_each_size(folder):
    shorter = [*images([0.01, None], eps=8 / 255), *images([None] * 2, eps=0.2)]
    shorter = [each | {"params": '{"steps": 7}'} for each in shorter]
    write_run(Path("other"), [*shorter, *images([0.01, None], attack="fmn", eps=None)])
    lines = run("compare", "run", "other").stdout.splitlines()
    assert [line for line in lines if line.startswith("only")] == [
        "only in the first run: net on toy · untargeted · Linf ≤ 8/255: worst case, pgd {}",
        'only in the second run: net on toy · untargeted · Linf ≤ 8/255: worst case, pgd {"steps": 7}',
        "only in the second run: net on toy · untargeted · Linf ≤ 0.2: worst case, pgd, fmn",
    ]


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_runs_of_different_images_say_which_each_share_is_of(folder, form):
    told = "before and after are shares of all images of each run"
    write_run(Path("few"), images([0.01, None], eps=8 / 255))
    said = " ".join(run("compare", "run", "few", "--format", form).stdout.split())
    assert said.count(told) == 1
    assert told not in " ".join(run("compare", "run", "worse", "--format", form).stdout.split())


def test_runs_with_nothing_in_common(folder):
    write_run(Path("other"), images([None], dataset="other"))
    result = run("compare", "run", "other")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: run and other have no numbers in common",
        "the first has net on toy · untargeted · Linf ≤ 8/255: fmn",
        "the second has net on other · untargeted · Linf ≤ 8/255: pgd",
    ]


def test_a_baseline_is_written_once_and_then_updated(folder):
    result = run("baseline", "write", "run")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "written: advbench-baseline.json (4 numbers on 20 images); commit it\n"
    again = run("baseline", "write", "worse")
    assert again.exit_code == 2
    hint = "to replace it: advbench baseline update worse --baseline advbench-baseline.json"
    assert f"advbench-baseline.json already exists\n{hint}\n" in again.stderr
    update = run("baseline", "update", "worse")
    assert update.exit_code == 0
    assert "8/255 pgd, newly broken: s1 s3" in update.stdout
    compared = run("compare", "advbench-baseline.json", "worse")
    assert compared.exit_code == 0
    assert "newly" not in compared.stdout
    assert len(read_baseline(Path("advbench-baseline.json")).cells) == 4


def test_no_baseline_of_half_a_run(folder):
    write_run(Path("half"), ROWS, lost=1)
    write_run(Path("none"), [])
    assert "the run in half is not finished\nfinish it: advbench resume half" in run("baseline", "write", "half").stderr
    assert "the run in none has no images" in run("baseline", "write", "none").stderr
    assert run("baseline", "update", "run").exit_code == 2
    assert not Path("advbench-baseline.json").exists()


def test_a_report_compares_where_a_baseline_is_given(folder):
    write_run(Path("gated"), WORSE, gates={"max_drop_pp": 1})
    assert run("report", "gated").stdout.startswith("NO BASELINE: max_drop_pp needs one, and was skipped\n")
    run("baseline", "write", "run", "--baseline", "b.json")
    assert run("report", "gated", "--baseline", "b.json").stdout.startswith(("FAILED", "PASSED"))


def test_the_end_of_a_run_tells_everybody_the_same(folder, capsys, monkeypatch):
    run("baseline", "write", "run", "--baseline", "b.json")
    capsys.readouterr()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    gates = Gates(min_robust_accuracy=0.9, max_drop_pp=1)
    code = conclude(
        read_run("worse"), gates=gates, baseline_path=Path("b.json"), as_json=True, junit_xml=Path("junit.xml")
    )
    out, err = capsys.readouterr()
    assert code == json.loads(out)["exit_code"] == 1
    assert len(err.splitlines()) == 2
    assert err.startswith("::error title=advbench%3A min_robust_accuracy::net on toy")
    assert "❌ **FAILED" in Path("summary.md").read_text()
    assert ET.parse("junit.xml").getroot().get("failures") == "1"


def test_the_end_of_a_run_may_be_quiet(folder, capsys):
    assert conclude(read_run("run"), gates=Gates(), quiet=True) == 0
    assert conclude(read_run("run"), gates=Gates(min_robust_accuracy=1), quiet=True, github=False) == 1
    assert conclude(a_run([unknown("a")]), gates=Gates(), quiet=True) == 3
    assert conclude(a_run([]), gates=Gates(), quiet=True) == 5
    assert capsys.readouterr() == ("", "")


def test_a_baseline_that_is_missing_is_a_mistake(folder):
    with pytest.raises(UserError, match=r"there is no baseline at none\.json"):
        conclude(read_run("run"), gates=Gates(), baseline_path=Path("none.json"))


@pytest.mark.parametrize("command", [["report", "run"], ["compare", "run", "worse"], ["baseline", "write", "run"]])
def test_without_torch(folder, command):
    script = (
        f"import sys; from advbench.cli.main import main; main({command}, standalone_mode=False); print(*sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert "torch" not in done.stdout.splitlines()[-1].split()


def test_a_run_shows_itself_in_a_notebook(folder):
    write_run(Path("evil"), [{**r, "model": "<script>"} for r in ROWS])
    shown = load_run("evil")._repr_html_()
    assert "<b>&lt;script&gt; on toy · untargeted · Linf</b>" in shown
    assert "<script>" not in shown
    assert shown.count("<tr>") == 4

"""Runs that stop when they are decided: what they leave, and that nothing changes the decision."""

import json
import os
import shutil
import signal
from pathlib import Path

import accidents
import pandas as pd
import pytest
from accidents import DECIDED, finish
from command import advb, refused

import advbench
from advbench.analysis.anytime.estimate import Estimate
from advbench.api import run
from advbench.execution.tasks import do
from advbench.records.stored_run import SPARED

pytestmark = pytest.mark.usefixtures("plugged")
PLUGIN = ("--plugin", "fake_plugin")
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")


@pytest.fixture(autouse=True)
def in_steps_of_two(monkeypatch):
    monkeypatch.setattr("advbench.planning.units.looks.STEP", 2)
    monkeypatch.setattr("advbench.planning.units.looks.FEWEST", 1)


@pytest.fixture
def whole(tmp_path):
    """The same suite, run to its end."""
    return run(DECIDED | {"stop": "end"}, out=tmp_path / "whole", workers=1)


@pytest.fixture
def decided(tmp_path):
    return run(DECIDED, out=tmp_path / "decided", workers=1)


def same(a, b) -> None:
    """Two runs with the same rows, the same units left, and the same numbers."""
    frames = [each.frame.drop(columns="seconds") for each in (a, b)]
    pd.testing.assert_frame_equal(*frames, check_exact=True, check_categorical=False)
    assert [unit.unit_id for unit in a.spared] == [unit.unit_id for unit in b.spared]
    assert [cell.robust for cell in a.analysis.cells] == [cell.robust for cell in b.analysis.cells]
    assert a.complete
    assert b.complete


def test_it_stops_early_and_says_what_the_whole_run_says(decided, whole):
    assert decided.complete
    assert decided.manifest["status"] == "complete"
    assert decided.spared
    seen = {unit.look for unit in decided.plan if unit.look}
    assert seen == set(range(1, max(seen) + 1))
    assert min(unit.look for unit in decided.spared) == max(seen) + 1
    found = decided.frame.merge(whole.frame, on=["attack", "eps", "sample_id"], suffixes=("", "_whole"))
    assert len(found) == len(decided.frame) < len(whole.frame)
    assert (found["met"] == found["met_whole"]).all()
    for cell, truth in zip(decided.analysis.cells, whole.analysis.cells, strict=True):
        assert cell.attack == truth.attack
        if isinstance(cell.robust, Estimate):
            assert cell.robust.low <= truth.robust.rate <= cell.robust.high
        elif not cell.part_of:
            assert cell == truth or cell.robust == truth.robust


def test_every_eps_of_a_threat_sees_the_same_images(decided):
    last = decided.frame[decided.frame["attack"] == "pgd"]
    small, large = (set(rows["sample_id"]) for _, rows in last.groupby("eps"))
    assert small == large


def test_images_whose_clean_predictions_lie_in_several_files_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.planning.plan.CLEAN_BATCH", 2)
    monkeypatch.setattr("advbench.planning.units.looks.STEP", 6)
    found = run(DECIDED, out=tmp_path, workers=1)
    assert any(list(unit.samples) != sorted(unit.samples) for unit in found.plan if unit.look)
    assert found.unknown == 0


def test_workers_decide_the_same(decided, tmp_path):
    same(decided, run(DECIDED, out=tmp_path / "two", workers=2))


@POSIX
@pytest.mark.parametrize("units", [3, 5, pytest.param(8, marks=pytest.mark.slow)])
def test_killed_and_resumed_it_decides_the_same(decided, tmp_path, units):
    out = tmp_path / "killed"
    assert finish(accidents.killed_after, out, units) == -signal.SIGKILL
    assert not advbench.load_run(out).complete
    same(decided, run(DECIDED, out=out, workers=1))


def test_it_is_not_done_again(decided, tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.execution.runner.do", lambda *_: pytest.fail("something was done again"))
    same(decided, run(DECIDED, out=decided.folder, workers=1))


def test_other_gates_take_it_further(decided):
    close = DECIDED | {"gates": {"min_robust_accuracy": 0.35, "alpha": 1e-9}}
    again = run(close, out=decided.folder, workers=1)
    assert len(again.frame) > len(decided.frame)
    assert len(again.spared) < len(decided.spared)
    wide = [cell.robust for cell in again.analysis.cells if not cell.params]
    assert all(each.low >= 0.35 or each.high < 0.35 for each in wide), "what is certain needs no chance"


def test_a_width_is_enough(tmp_path):
    wide = DECIDED | {"gates": {"alpha": 0.5}, "width_pp": 60}
    done = run(wide, out=tmp_path / "wide", workers=1)
    assert done.spared
    widths = [cell.robust.high - cell.robust.low for cell in done.analysis.cells if isinstance(cell.robust, Estimate)]
    assert widths
    assert max(widths) <= 0.6


def test_a_crashed_unit_counts_for_both_sides(decided, tmp_path, monkeypatch):
    def fragile(job, context):
        if job.unit.look == 1:
            raise RuntimeError("this one is too much")
        return do(job, context)

    with monkeypatch.context() as patched:
        patched.setattr("advbench.execution.runner.do", fragile)
        lost = run(DECIDED, out=tmp_path / "lost", workers=1)
    robust, sound = ([cell.robust for cell in each.analysis.cells if not cell.params] for each in (lost, decided))
    assert lost.unknown == 4, "two images at two eps"
    assert lost.manifest["status"] == "incomplete"
    assert max(unit.look for unit in lost.plan) > max(unit.look for unit in decided.plan), "it takes more images then"
    assert all(each.rate < each.most for each in robust)
    mended = run(DECIDED, out=tmp_path / "lost", workers=1)
    assert mended.manifest["status"] == "complete"
    assert not mended.unknown
    assert [each.low <= one.low <= one.rate for each, one in zip(robust, sound, strict=True)]


TOML = """
models = "tiny"
datasets = "smooth"
attacks = ["fgsm", {{ name = "pgd", params = {{ steps = 3 }} }}]
eps = {{ linf = 0.0005 }}
noise = false
[gates]
alpha = 0.5
{gates}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda gates: Path("small.toml").write_text(TOML.format(gates=gates)) and "small.toml"


def test_exit_codes_are_those_of_gates(file):
    suite = file("")
    result = advb("run", suite, "--until-decided", "--fail-under", "0.1", "--workers", "1", *PLUGIN)
    assert "anytime-valid" in result.stdout
    left = json.loads(Path("reports/small/manifest.json").read_text())[SPARED]
    assert left
    watched = advb("watch", "reports/small", "--once")
    assert "(100 %)" in watched.stdout, "what is not needed is not waited for"
    advb("resume", "reports/small", "--fail-under", "0.99", "--workers", "1", *PLUGIN, code=1)
    advb("report", "reports/small", "--format", "html")
    assert "anytime-valid" in Path("reports/small/report.html").read_text()


def test_the_command_refuses_what_cannot_be_decided(file):
    assert "has nothing to decide" in refused("run", file(""), "--until-decided", *PLUGIN)
    assert not Path("reports").exists()
    told = refused("run", file("max_drop_pp = 1"), "--until-decided", "--fail-under", "0.1", *PLUGIN)
    assert "compared image by image" in told


def test_what_needs_every_image_refuses_it(file):
    advb("run", file(""), "--until-decided", "--fail-under", "0.1", "--workers", "1", *PLUGIN)
    shutil.copytree("reports/small", "other")
    for words in ("compare other", "baseline write", "evidence"):
        assert "stopped once it was decided" in refused(*words.split(), "reports/small")

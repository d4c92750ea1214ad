"""Pairs of a model and a data set that do not fit together are told in every report, with the reason."""

import json
import xml.etree.ElementTree as ET

import fakes
import pytest
from frames import images
from runs import a_run

from advbench.analysis.gates import evaluate
from advbench.analysis.run_analysis import RunAnalysis
from advbench.config.gates import Gates
from advbench.records.manifest import Misfit, describe_misfits, misfits_in
from advbench.report.formats import render
from advbench.report.notebook import as_html

WHY = "the data has 100 classes, and the model has 10"


def reported(form, misfits):
    run = a_run(images([0.01, None]))
    run.manifest["misfits"] = misfits
    return render(form, evaluate(run, Gates()), run)


@pytest.mark.parametrize("form", ["text", "markdown", "html", "test-report"])
def test_reports_name_the_pairs_and_the_reason(form):
    told = " ".join(reported(form, [["net", "large", WHY]]).replace("\\", "").split())
    assert f"ot run: net on large ({WHY})" in told
    assert "ot run: " not in reported(form, [])


def test_json_and_notebooks_have_them():
    told = json.loads(reported("json", [["net", "large", WHY]]))["misfits"]
    assert told == [{"model": "net", "dataset": "large", "why": WHY}]
    run = a_run(images([0.01, None]))
    run.manifest["misfits"] = [["net", "<b>", WHY]]
    assert f"not run: net on &lt;b&gt; ({WHY})" in as_html(RunAnalysis.of(run))


def test_junit_has_a_skipped_case_for_each():
    root = ET.fromstring(reported("junit", [["net", "large", WHY], ["net", "larger", WHY]]))
    assert root.get("skipped") == "2"
    skipped = [case for case in root.iter("testcase") if case.find("skipped") is not None]
    assert [case.get("classname") for case in skipped] == ["net.large", "net.larger"]
    assert {case.find("skipped").get("message") for case in skipped} == {WHY}


def test_many_pairs_with_one_reason_are_one_sentence():
    pairs = [Misfit(f"net{place}", "large", "the model is for other data") for place in range(9)]
    (told,) = describe_misfits(pairs)
    named = "net0 on large, net1 on large, net2 on large and 6 other pairs"
    assert told == f"not run: {named} (the model is for other data)"
    assert len(describe_misfits([*pairs, Misfit("a", "b", WHY)])) == 2


@pytest.mark.parametrize("name", fakes.HOSTILE)
@pytest.mark.parametrize("form", ["text", "markdown", "html", "test-report", "junit", "json"])
def test_hostile_names_stay_text(form, name):
    told = reported(form, [[name, name, name]])
    assert "\x1b" not in told.replace("\\u001b", "")
    assert "<script" not in told or form in ("text", "json")


@pytest.mark.parametrize("edited", [[1], ["net"], [["net", "large"]], [["net", "large", 3]]])
def test_edited_manifests_are_refused(edited):
    with pytest.raises(ValueError, match="expected misfits to be triples of texts"):
        misfits_in({"misfits": edited})

"""The profile in every format of the report, and only where the suite asks for it."""

import io
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from runs import write_run
from threat_rows import ROWS

from advbench.analysis.gates import evaluate
from advbench.analysis.profile.threat_rows import ThreatRow
from advbench.config.gates import Gates
from advbench.records.stored_run import read_run
from advbench.report.formats import render
from advbench.report.profile.lines import describe_threat


def report(folder, form, rows=ROWS, **suite):
    run = read_run(write_run(folder, rows, **{"profile": True} | suite))
    return render(form, evaluate(run, Gates()), run)


def test_text_has_a_line_for_each_threat_and_the_worst_cases(tmp_path):
    told = report(tmp_path / "run", "text")
    told = " ".join(told[told.index("net on toy · profile") : told.index("net on toy · untargeted")].split())
    for part in (
        "gradients", "only border:2", "queries", "rotated and shifted", "corruptions", "every attack", "every threat",
        "square, Linf ≤ 4/255, of the images right when clean: 1 query 0.0 %",
    ):  # fmt: skip
        assert part in told
    assert re.search(r"every attack.* 25\.0 1/4 4\.6-69\.9 ", told)


def test_markdown_has_it_as_a_table(tmp_path):
    told = report(tmp_path / "run", "markdown")
    assert "## net on toy · profile" in told
    assert "| **every threat together** | **image by image** | **0.0 %** |" in told
    assert "- square, Linf ≤ 4/255, of the images right when clean: 1 query 0.0 %" in told


def test_the_page_has_bars_and_a_figure(tmp_path):
    page = report(tmp_path / "run", "html")
    assert page.index("net on toy · profile") < page.index("<h2>Worst case</h2>")
    assert page.count('<table class="profile">') == 1
    assert 'alt="Success against queries; with all of them square: 50.0 %"' in page


def test_json_has_all_of_it(tmp_path):
    (told,) = json.loads(report(tmp_path / "run", "json"))["profiles"]
    assert told["robust_to_everything"]["k"] == 0
    assert [each["kind"] for each in told["threats"]][:3] == ["gradients", "mask", "queries"]


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_without_the_key_there_is_none(tmp_path, form):
    assert "profile" not in report(tmp_path / "run", form, profile=False).replace('class="profile', "")


def test_several_models_are_ranked(tmp_path):
    rows = [each | {"model": f"net{place}"} for place in range(3) for each in ROWS[:4]]
    for form in ("text", "markdown", "html"):
        told = report(tmp_path / form, form, rows)
        assert "toy · how 3 models rank from threat to threat" in told
        assert "all models are tied" in re.sub(r"\s+", " ", told)


def test_csv_has_a_row_for_each_corruption_and_severity(tmp_path):
    table = pd.read_csv(io.StringIO(report(tmp_path / "run", "csv", profile=False)))
    fog = table[table["attack"] == "corruption/fog"]
    assert fog["goal"].tolist() == ["corruptions"] * 2
    assert fog["params"].tolist() == ['{"severity": 1}', '{"severity": 5}']
    assert fog["robust_k"].tolist() == [3, 2]
    assert fog["eps"].isna().all()


def test_csv_of_corruptions_alone(tmp_path):
    fog = [each for each in ROWS if each["attack"].startswith("corruption/")]
    table = pd.read_csv(io.StringIO(report(tmp_path / "run", "csv", fog, profile=False)))
    assert table["clean_k"].tolist() == [4, 4]


@pytest.mark.parametrize("kind", ["transfer", "gradients", "queries", "universal"])
def test_a_threat_under_a_mask_says_so_whatever_its_kind(kind):
    state = np.zeros(1, np.int8)
    row = ThreatRow(kind=kind, goal="untargeted", norm="linf", eps=4 / 255, mask="border:4", state=state)
    assert describe_threat(row) == f"{kind} · only border:4 · Linf ≤ 4/255"
    assert describe_threat(replace(row, mask="")) == f"{kind} · Linf ≤ 4/255"
    assert describe_threat(replace(row, kind="mask")) == "only border:4 · Linf ≤ 4/255"

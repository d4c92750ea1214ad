"""Corruptions in a suite: which units of work there are, which mistakes are told, and a run from end to end."""

import json
import re

import pytest
from command import run
from PIL import Image

from advbench.analysis.gates import refuse_in_advance
from advbench.config.gates import Gates
from advbench.config.suite import Suite
from advbench.config.suite_files import load_suite
from advbench.errors import UserError
from advbench.evaluation.attack_factory import refuse_small
from advbench.planning.cells import cells_for, proofs_of

BASE = {"name": "x", "models": "lenet", "datasets": "mnist", "images": 12}


def planned(**fields):
    suite = Suite(**BASE | fields)
    return cells_for(suite, suite.models[0], suite.datasets[0])


def test_all_and_the_fifteen():
    assert len(load_suite(BASE | {"corruptions": ["all"]}).corruptions) == 19
    assert len(load_suite(BASE | {"corruptions": "imagenet-c"}).corruptions) == 15
    assert load_suite(BASE | {"corruptions": ["corruption/fog", "fog", "snow"]}).corruptions == ("fog", "snow")


def test_one_unit_for_each_severity_without_an_eps():
    cells = planned(corruptions="fog", severities=[4, 2, 2])
    assert [(cell.attack, json.loads(cell.params)["severity"], cell.eps) for cell in cells] == [
        ("corruption/fog", 2, None),
        ("corruption/fog", 4, None),
    ]
    assert {cell.goal for cell in cells} == {"untargeted"}


def test_beside_attacks_and_for_models_that_name_their_attacks():
    model = {"name": "lenet", "attacks": ["fgsm"]}
    names = {cell.attack for cell in planned(models=[model], attacks=["pgd", "fgsm"], corruptions="fog")}
    assert names == {"fgsm", "noise", "corruption/fog"}


def test_nothing_is_proved_about_corruptions():
    suite = Suite(**BASE, corruptions="fog", prove={})
    assert not list(proofs_of(suite, suite.datasets[0], planned(corruptions="fog")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"corruptions": ["fgo"]}, r"corruptions: unknown corruption 'fgo'; did you mean fog"),
        ({"corruptions": [3]}, r"corruptions: expected the name of a corruption, got 3"),
        ({"corruptions": "all", "severities": [0]}, r"severities\[0\]: Input should be greater than or equal to 1"),
        ({"corruptions": "all", "severities": 6}, r"severities\[0\]: Input should be less than or equal to 5"),
        ({"corruptions": []}, "attacks: is missing"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        load_suite(BASE | fields)


def test_inputs_that_are_too_small_are_refused_before_anything_is_attacked(tmp_path):
    code = tmp_path / "nets.py"
    code.write_text("from torch import nn\nnet = nn.Sequential(nn.Flatten(), nn.Linear(768, 3)).eval()\n")
    picture = tmp_path / "grey.png"
    Image.new("RGB", (40, 40), "grey").save(picture)
    model = ("--model", f"{code}:net", "--input-size", "16", "--num-classes", "3")
    done = run("attack", picture, *model, "--attack", "corruption/fog", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert re.search(r"error: corruption/fog needs at least 28 x 28 pixels, and .* have 16 x 16\n", done.stderr)


def test_images_of_a_data_set_that_are_too_small_are_refused_in_the_plan():
    with pytest.raises(UserError, match="corruption/fog needs at least 28 x 28 pixels, and these have 8 x 20"):
        refuse_small(["pgd", "corruption/fog"], (8, 20), "these")
    refuse_small(["pgd"], (8, 20), "these")
    refuse_small(["corruption/fog"], (28, 28), "these")


def test_a_run_from_end_to_end(tmp_path):
    suite = tmp_path / "weather.toml"
    lines = ('models = ["lenet"]', 'datasets = ["mnist"]', "images = 12", 'corruptions = ["fog", "contrast"]')
    suite.write_text("\n".join((*lines, "severities = [1, 5]")))
    folder = tmp_path / "out"
    done = run("run", str(suite), "--out", str(folder))
    assert done.exit_code == 0
    assert "lenet on mnist · corruptions" in done.stdout
    told = json.loads(run("report", str(folder), "--format", "json").stdout)
    (found,) = told["corruptions"]
    assert told["cells"] == []
    assert [(each["corruption"], each["severity"], each["n"]) for each in found["errors"]] == [
        ("fog", 1, 12), ("fog", 5, 12), ("contrast", 1, 12), ("contrast", 5, 12),
    ]  # fmt: skip
    assert found["mce"] is None
    assert "| contrast |" in run("report", str(folder), "--format", "markdown").stdout
    assert run("report", str(folder), "--format", "html").exit_code == 0
    (page,) = folder.rglob("*.html")
    assert '<table class="matrix heat">' in page.read_text(encoding="utf-8")
    assert run("verify", str(folder)).exit_code == 0
    suite.write_text(suite.read_text(encoding="utf-8") + "\n[gates]\nmax_corruption_error = 0.0\n")
    error = found["mean"]["value"]
    held = run("run", str(suite), "--out", str(folder))
    assert held.exit_code == (1 if error else 0)
    assert "max_corruption_error" in held.stdout or not error


def test_a_gate_for_corruptions_needs_some():
    suite = load_suite(BASE | {"attacks": "fgsm"})
    with pytest.raises(UserError, match="the gate max_corruption_error needs corruptions, and the run has none"):
        refuse_in_advance([], suite, Gates(max_corruption_error=0.1), None)

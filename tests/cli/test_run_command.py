"""`advbench run`, `resume`, `verify`, `schema` and `doctor` as a person types them."""

import json
import re
from pathlib import Path

import pytest
from accidents import TOML
from command import advb
from safetensors.numpy import load
from tables import tables_restored

import advbench
from advbench.records.storage.checksum import BLANK, sealed

PLUGIN = ("--plugin", "fake_plugin")


@pytest.fixture(autouse=True)
def plugged(monkeypatch, tmp_path):
    """An empty folder with a suite in it, and tables that are as they were afterwards."""
    with tables_restored():
        monkeypatch.setattr("advbench.planning.cost.batches.LARGEST_BATCH", 4)
        monkeypatch.chdir(tmp_path)
        Path("small.toml").write_text(TOML.format(model="tiny"))
        yield


def test_a_run_prints_a_verdict_and_leaves_a_folder():
    result = advb("run", "small.toml", *PLUGIN)
    assert "tiny on smooth" in result.stdout
    done = advbench.load_run("reports/small")
    assert done.complete
    assert advb("resume", "reports/small", *PLUGIN).stdout == result.stdout


def test_json_and_quiet_and_junit():
    result = advb("run", "small.toml", *PLUGIN, "--json", "--quiet", "--junit-xml", "junit.xml", "--out", "here")
    said = json.loads(result.stdout)
    assert said["suite"] == "small"
    assert result.stderr == ""
    assert Path("junit.xml").read_text().startswith("<?xml")
    assert not Path("reports").exists()


def test_gates_decide_the_exit_code_also_of_a_finished_run():
    advb("run", "small.toml", *PLUGIN, "--fail-under", "1", code=1)
    advb("run", "small.toml", *PLUGIN, "--fail-under", "0", code=0)
    advb("resume", "reports/small", *PLUGIN, "--fail-under", "1", code=1)


def test_a_failed_gate_of_the_suite_file():
    with Path("small.toml").open("a") as file:
        file.write("[gates]\nmin_robust_accuracy = 1.0\n")
    advb("run", "small.toml", *PLUGIN, code=1)


def test_unknown_rows_make_it_incomplete():
    Path("small.toml").write_text(TOML.format(model="not_finite"))
    advb("run", "small.toml", *PLUGIN, code=3)


def test_nothing_to_run():
    Path("small.toml").write_text(TOML.format(model="tiny").replace('"smooth"', '"nothing"'))
    result = advb("run", "small.toml", *PLUGIN, code=5)
    assert "nothing was run: the suite small has no images" in result.stderr


def test_a_limit_is_part_of_the_identity():
    advb("run", "small.toml", *PLUGIN, "--limit", "3")
    assert advbench.load_run("reports/small").frame["sample_id"].nunique() == 3
    result = advb("run", "small.toml", *PLUGIN, code=2)
    assert "reports/small holds another run\nimages.tiny on smooth:" in result.stderr
    assert "suite.images: 3 -> nothing" in result.stderr
    assert "choose another folder with --out" in result.stderr


def test_a_dry_run_does_nothing():
    result = advb("run", "small.toml", *PLUGIN, "--dry-run")
    assert re.search(r"^pgd +untargeted +Linf ≤ 0\.1 +3 +10 ", result.stdout, re.MULTILINE)
    assert "memory: about" in result.stdout
    assert not Path("reports").exists()


def test_adaptive_is_added_to_a_suite():
    result = advb("run", "small.toml", *PLUGIN, "--adaptive", "--dry-run")
    assert re.search(r"^pgd +untargeted +Linf ≤ 0\.1 +3 +10 ", result.stdout, re.MULTILINE)
    assert re.search(r"^adaptive +untargeted +Linf ≤ 0\.1 +3 +10 ", result.stdout, re.MULTILINE)


def test_full_trust_is_forecast_and_done():
    result = advb("run", "small.toml", *PLUGIN, "--trust", "full", "--dry-run")
    assert re.search(r"^checks of pgd +untargeted +Linf ≤ 0\.1 +1 +10 ", result.stdout, re.MULTILINE)
    advb("run", "small.toml", *PLUGIN, "--trust", "full")
    assert [unit.attack for unit in advbench.load_run("reports/small").plan if unit.task == "checks"] == [
        "",
        "pgd",
        "pgd",
    ]


def test_adaptive_needs_a_norm_that_it_works_in():
    suite = Path("small.toml").read_text().replace('name = "pgd"', 'name = "sparse_rs"')
    Path("other.toml").write_text(suite.replace("\neps = { linf = [0.01, 0.1]", '\nnorms = "l0"\neps = { l0 = 9'))
    result = advb("run", "other.toml", *PLUGIN, "--adaptive", "--dry-run", code=2)
    assert "--adaptive supports linf, l2, l1, and the suite uses l0" in result.stderr


def test_a_dry_run_with_a_model_that_has_no_gradient():
    lines = ('models = "gray_forest"', 'datasets = "cifar10-grey-samples"', 'attacks = "square"', "images = 2")
    Path("forest.toml").write_text("\n".join((*lines, "eps = { linf = 0.1 }")))
    result = advb("run", "forest.toml", "--dry-run")
    assert re.search(r"^square +untargeted +Linf ≤ 0\.1 +1 +2 ", result.stdout, re.MULTILINE)
    assert not result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "smoek"], "error: unknown suite 'smoek'\ndid you mean smoke?"),
        (["run", "small.toml"], r"unknown model 'tiny'"),
        (["run", "smoke", "--plugin", "no_such"], "error: cannot import the plugin 'no_such'"),
        (["run", "smoke", "--plugin", "json"], "error: the plugin 'json' adds nothing"),
        (["run", "smoke", "--baseline", "none.json"], "none.json"),
        (["run", "smoke", "--junit-xml", "small.toml/junit.xml"], "error: cannot write to the folder"),
        (["verify", "small.toml"], "error: small.toml is not the folder of a run: it has no manifest.json"),
        (["resume", "nowhere"], "error: nowhere is not the folder of a run: it has no manifest.json"),
        (["verify", "nowhere"], "error: nowhere is not the folder of a run"),
    ],
)
def test_mistakes_end_in_one_message(arguments, message, monkeypatch):
    monkeypatch.setattr("advbench.execution.runner.run_plan", lambda *_, **__: pytest.fail("it was run"))
    assert message in advb(*arguments, code=2).stderr


@pytest.mark.parametrize(
    ("gates", "options", "message"),
    [
        ("floors = [{ min_robust_accuracy = 0.5, model = 'other' }]", (), "a floor is set for model other"),
        ("max_drop_pp = 1", ("--baseline", "few.json"), "the baseline has other images or labels: tiny on smooth"),
        ("max_drop_pp = 1", ("--baseline", "weak.json"), "the baseline has other attacks: tiny on smooth: fmn"),
    ],
)
def test_gates_that_cannot_be_held_against_it_are_refused_before_any_work(monkeypatch, gates, options, message):
    suite = Path("small.toml").read_text()
    advb("run", "small.toml", *PLUGIN, "--limit", "5", "--out", "few")
    Path("small.toml").write_text(re.sub(r', \{ name = "fmn".*\}\]', "]", suite).replace(", l2 = 0.5", ""))
    advb("run", "small.toml", *PLUGIN, "--out", "weak")
    for name in ("few", "weak"):
        advb("baseline", "write", name, "--baseline", f"{name}.json")
    Path("small.toml").write_text(f"{suite}[gates]\n{gates}\n")
    monkeypatch.setattr("advbench.execution.runner.do", lambda *_: pytest.fail("something was done"))
    assert message in advb("run", "small.toml", *PLUGIN, *options, "--out", "refused", code=2).stderr
    assert not Path("refused").exists()


@pytest.mark.parametrize("gate", ["max_unknown = 0.1", "require_flags_clear = true"])
def test_a_gate_about_the_whole_run_alone_is_evaluated(gate):
    with Path("small.toml").open("a") as file:
        file.write(f"[gates]\n{gate}\n")
    verdict = json.loads(advb("run", "small.toml", *PLUGIN, "--json").stdout)
    assert [(each["gate"], each["passed"]) for each in verdict["gates"]] == [(gate.split()[0], True)]
    assert verdict["headline"] == "PASSED: 1 gate held"


def test_a_drop_of_corruptions_alone_is_refused_before_there_is_a_baseline():
    suite = re.sub(r"(?ms)^attacks = .*?\]$", 'corruptions = ["fog"]', Path("small.toml").read_text())
    suite = suite.replace(", l2 = 0.5", "")
    Path("small.toml").write_text(f"{suite}[gates]\nmax_drop_pp = 1\n")
    result = advb("run", "small.toml", *PLUGIN, code=2)
    assert "the gate max_drop_pp is about attacks, and the run has only corruptions" in result.stderr
    assert not Path("reports").exists()


def test_the_first_run_of_all_makes_the_baseline_that_its_gate_needs():
    with Path("small.toml").open("a") as file:
        file.write("[gates]\nmax_drop_pp = 1\n")
    result = advb("run", "small.toml", *PLUGIN, code=2)
    assert result.stderr.startswith("note: without --baseline the gate max_drop_pp cannot be evaluated in the end\n")
    assert "error: the gate max_drop_pp needs a baseline\ngive one with --baseline FILE" in result.stderr
    assert result.stdout.startswith("NO BASELINE: max_drop_pp needs one, and was skipped\n")
    assert "worst case" in result.stdout  # what was measured is not kept from anybody
    verdict = json.loads(advb("run", "small.toml", *PLUGIN, "--json", "--junit-xml", "j.xml", code=2).stdout)
    assert (verdict["verdict"], verdict["exit_code"], verdict["left_out"]) == ("no baseline", 2, ["max_drop_pp"])
    assert 'type="no baseline"' in Path("j.xml").read_text()
    advb("baseline", "write", "reports/small", "--baseline", "b.json")
    assert "PASSED" in advb("run", "small.toml", *PLUGIN, "--baseline", "b.json", "--out", "again").stdout


def test_resuming_asks_for_the_plugins():
    advb("run", "small.toml", *PLUGIN)
    result = advb("resume", "reports/small", code=2)
    assert "reports/small was run with plugins that were not given\n--plugin fake_plugin" in result.stderr


def test_what_is_complete_needs_no_model(monkeypatch):
    advb("run", "small.toml", *PLUGIN)
    monkeypatch.setattr("advbench.planning.resources.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    advb("resume", "reports/small", *PLUGIN)


def test_verify_finds_what_does_not_do_as_its_row_says():
    advb("run", "small.toml", *PLUGIN)
    result = advb("verify", "reports/small", *PLUGIN)
    assert result.stdout.endswith("adversarial images checked: no problems\n")
    fooled = next(path for path in Path("reports/small/adv").iterdir() if len(load(path.read_bytes())["rows"]) > 1)
    tensors = load(fooled.read_bytes())
    from safetensors.numpy import save

    swapped = tensors | {"x_adv": tensors["x_adv"][::-1].copy()}
    fooled.write_bytes(sealed(save(swapped, {"advbench": BLANK})))
    result = advb("verify", "reports/small", *PLUGIN, "--json", code=1)
    assert any("the row says" in problem for problem in json.loads(result.stdout)["problems"])
    fooled.write_bytes(fooled.read_bytes()[:-1])
    assert "the file was truncated or changed" in advb("verify", "reports/small", *PLUGIN, code=1).stdout


def test_schema_describes_every_key():
    schema = json.loads(advb("schema").stdout)
    assert set(schema["properties"]) > {"models", "datasets", "attacks", "gates"}
    assert schema["additionalProperties"] is False
    tables = [schema, *schema["$defs"].values()]
    lacking = [name for table in tables for name, key in table.get("properties", {}).items() if not key["description"]]
    assert lacking == []


def test_doctor_tells_versions_and_extras():
    said = json.loads(advb("doctor", "--json").stdout)
    assert "torch" in said["packages"]
    assert "mnist_convnet" in said["ready"]
    assert "devices" in advb("doctor").stdout

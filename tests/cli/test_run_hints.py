"""What a person is told to do next after a run: the options are those of what went wrong, or that the run needs."""

import re
from pathlib import Path

import pytest
from accidents import TOML
from command import advb
from PIL import Image
from tables import tables_restored

import advbench
from advbench.errors import UserError
from advbench.execution import runner

PLUGIN = ("--plugin", "fake_plugin")
NETS = """
from torch import nn
def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
"""


@pytest.fixture(autouse=True)
def plugged(monkeypatch, tmp_path):
    """An empty folder with a suite in it, and tables that are as they were afterwards."""
    with tables_restored():
        monkeypatch.chdir(tmp_path)
        Path("small.toml").write_text(TOML.format(model="tiny"))
        Path("nets.py").write_text(NETS)
        for place, name in enumerate("01"):
            Path("pictures", name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (90 * place, 40, 60)).save(f"pictures/{name}/a.png")
        yield


def own(models, datasets):
    Path("own.toml").write_text(f'models = {models}\ndatasets = {datasets}\nattacks = "fgsm"\neps = {{ linf = 0.1 }}\n')
    return "own.toml"


def test_a_report_that_cannot_be_written_names_its_own_option():
    Path("file").write_text("")
    result = advb("run", "small.toml", *PLUGIN, "--junit-xml", "file/x.xml", code=2)
    assert result.stderr.endswith("choose another file with --junit-xml\n")
    assert not Path("reports").exists()


def test_a_baseline_that_cannot_be_written_names_its_own_option():
    advb("run", "small.toml", *PLUGIN, "--quiet")
    Path("file").write_text("")
    result = advb("baseline", "write", "reports/small", "--baseline", "file/x.json", code=2)
    assert result.stderr.endswith("choose another file with --baseline\n")


def full_disk(monkeypatch):
    """No results can be written from now on."""
    real = runner.write_atomic

    def fail(path, content):
        if path.suffix == ".parquet":
            raise UserError(f"cannot write {path}: No space left on device")
        return real(path, content)

    monkeypatch.setattr("advbench.execution.runner.write_atomic", fail)


def test_the_command_that_resumes_has_the_options_that_it_needs(monkeypatch):
    model, data = (
        '{ name = "nets.py:net", num_classes = 2, input_size = 8, label = "mine" }',
        '{ name = "folder", path = "pictures" }',
    )
    said = "advbench resume 'the run' --plugin fake_plugin --allow-code"
    with monkeypatch.context() as patched:
        full_disk(patched)
        stopped = advb("run", own(model, data), *PLUGIN, "--allow-code", "--out", "the run", code=3)
    assert stopped.stderr.endswith(f"fix that, then: {said}\n")
    assert advb("watch", "the run", "--once", code=3).stdout.endswith(f"to continue: {said}\n")
    result = advb("baseline", "write", "the run", "--baseline", "x.json", code=2)
    assert result.stderr.endswith(f"finish it: {said}\n")
    advb("resume", "the run", "--plugin", "fake_plugin", "--allow-code")
    assert advbench.load_run("the run").complete


def test_a_run_that_needs_no_option_is_resumed_without_any(monkeypatch):
    full_disk(monkeypatch)
    suite = own('"lenet"', '"mnist-samples"')
    assert advb("run", suite, "--limit", 2, code=3).stderr.endswith("then: advbench resume reports/own\n")


@pytest.mark.parametrize("out", ["pictures", "pictures/results", "pictures/0"])
def test_results_do_not_go_where_images_are_read(out):
    """The next run, or the next attack, would take them for images or classes."""
    data = '{ name = "folder", path = "pictures" }'
    before = sorted(Path("pictures").rglob("*"))
    where = "" if out == "pictures" else "inside "
    say = f"results cannot go to {out}, {where}the folder whose images are read\nchoose another folder with --out"
    model = '{ name = "nets.py:net", num_classes = 2 }'
    assert say in advb("run", own(model, data), "--allow-code", "--out", out, code=2).stderr
    assert say in advb("attack", "pictures", "--model", "lenet", "--out", out, code=2).stderr
    assert say in advb("universal", "fit", "pictures", "--model", "lenet", "--out", out, code=2).stderr
    assert say in advb("patch", "fit", "pictures", "--model", "lenet", "--out", out, code=2).stderr
    assert sorted(Path("pictures").rglob("*")) == before


def test_results_may_go_next_to_one_picture():
    advb("attack", "pictures/0/a.png", "--model", "lenet", "--attack", "fgsm", "--out", "pictures/0", "--quiet")
    assert Path("pictures/0/record.csv").is_file()


def test_models_that_are_replaced_need_no_leave_to_run_code():
    """Surrogates of the suite remain, and need it still."""
    suite = own('{ name = "nets.py:net", num_classes = 2, input_size = 8 }', '"mnist-samples"')
    advb("run", suite, "--model", "lenet", "--dry-run")
    assert "names models that run code: nets.py" in advb("run", suite, "--dry-run", code=2).stderr
    with Path(suite).open("a") as file:
        file.write('[[surrogates]]\nmodels = "nets.py:net"\n')
    result = advb("run", suite, "--model", "lenet", "--dry-run", code=2)
    assert "names models that run code: nets.py" in result.stderr


def test_pairs_that_do_not_fit_are_told_before_and_after():
    models = '["lenet", { name = "nets.py:net", num_classes = 2, input_size = 8, label = "mine" }]'
    suite = own(models, '["mnist-samples", { name = "folder", path = "pictures" }]')
    say = "not run: mine on mnist-samples (the data has 10 classes, and the model has 2)"
    told = [
        advb("run", suite, "--allow-code", "--dry-run").stdout,
        advb("run", suite, "--allow-code").stdout,
        advb("report", "reports/own").stdout,
    ]
    assert all(say in re.sub(r"\s+", " ", each) for each in told)

"""Suites that name models of one's own: code is run only where somebody says so, and files are part of the key."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import advb
from test_own_models import onnx_file, script
from torch import nn

import advbench
from advbench.config.suite_files import load_suite
from advbench.errors import UserError

SUITE = """
models = {models}
datasets = "mnist"
images = 4
noise = false
attacks = [{{ name = "{attack}", params = {{ steps = 2 }} }}]
eps = {{ linf = 0.3 }}
"""
NETS = """
from pathlib import Path
import torch
from torch import nn
import advbench

def small(weights=None):
    Path("ran").touch()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
    return advbench.Classifier(network, num_classes=10, mean=[0.5], std=[0.5], input_size=28)

def seven():
    network = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 7))
    return advbench.Classifier(network, num_classes=7, mean=[0.5], std=[0.5], input_size=28)

def large():
    return advbench.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(9, 10)), num_classes=10, mean=[0.5], input_size=28)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a suite in a folder, and its models beside it."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/nets.py").write_text(NETS)
    write('"nets.py:small"')


def write(models: str, attack: str = "pgd") -> None:
    Path("in/own.toml").write_text(SUITE.format(models=models, attack=attack))


REFUSED = (
    "suite own names models that run code: in/nets.py\nif you would run that file yourself, allow it with --allow-code"
)


def test_code_is_not_run_because_a_suite_says_so():
    for arguments in (("run", "in/own.toml"), ("run", "in/own.toml", "--dry-run")):
        assert REFUSED in advb(*arguments, code=2).stderr
    with pytest.raises(UserError, match="names models that run code"):
        advbench.run("in/own.toml", out="run")
    assert not Path("ran").exists()
    assert not Path("reports").exists()


def test_a_run_folder_from_somebody_else_runs_no_code_either():
    advb("run", "in/own.toml", "--allow-code", "--out", "run")
    Path("ran").unlink()
    for arguments in (("resume", "run"), ("verify", "run")):
        assert REFUSED in advb(*arguments, code=2).stderr
    advb("report", "run")
    assert not Path("ran").exists()
    assert "no problems" in advb("verify", "run", "--allow-code").stdout
    shutil.rmtree("run/shards")
    advb("resume", "run", "--allow-code")
    assert advbench.load_run("run").complete


def test_what_the_function_returns_is_measured_under_its_name():
    advb("run", "in/own.toml", "--allow-code", "--out", "run")
    done = advbench.load_run("run")
    assert set(done.frame["model"]) == {"nets.py:small"}
    assert (done.frame["status"] == "ok").all()
    assert done.manifest["suite"]["models"][0]["name"] == "in/nets.py:small"


def test_another_text_of_the_file_is_another_model():
    advb("run", "in/own.toml", "--allow-code", "--out", "run")
    Path("in/nets.py").write_text(f"{NETS}\n# mended\n")
    result = advb("run", "in/own.toml", "--allow-code", "--out", "run", code=2)
    assert "run holds another run\nmodels.nets.py:small: " in result.stderr
    ids = [unit.unit_id for unit in advbench.load_run("run").plan]
    advb("run", "in/own.toml", "--allow-code", "--out", "again")
    assert not set(ids) & {unit.unit_id for unit in advbench.load_run("again").plan}


def test_files_of_networks():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 10)).eval()
    torch.manual_seed(0)
    script(network, Path("in/net.pt"))
    onnx_file(network, Path("in/net.onnx"))
    for name in ("net", "other"):
        Path(f"in/{name}.toml").write_text("input_size = 8\n")
    write('"net.onnx"', "square")
    advb("run", "in/own.toml", "--out", "onnx")  # an ONNX file is no program
    assert (advbench.load_run("onnx").frame["status"] == "ok").all()
    write('{ name = "net.pt", label = "traced" }')
    assert "run code: in/net.pt" in advb("run", "in/own.toml", code=2).stderr
    advb("run", "in/own.toml", "--allow-code", "--out", "traced")
    assert set(advbench.load_run("traced").frame["model"]) == {"traced"}


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ('"nets.py:seven"', "suite own has no data set for the model 'nets.py:seven', which has 7 classes"),
        ('"nets.py:large"', "model nets.py:large fails on an image of shape (1, 28, 28): "),
        ('"nets.py:none"', "in/nets.py has no function 'none'"),
        ('"gone.py:small"', "gone.py"),
        ('"nets.pth"', "models[0].name: unknown model 'nets.pth'; weights go with the name of their network"),
        ('"nets.py"', "unknown model 'nets.py'; name a function or a network in it as well: nets.py:NAME"),
        ('"timm:resnet18"', "unknown model 'timm:resnet18'; did you mean timm/resnet18?"),
        ('"torchvision:resnet18"', "unknown model 'torchvision:resnet18'; did you mean resnet18?"),
        ('{ name = "nets.py:seven", weights = "nets.py" }', "it is called with the path of the weights file alone"),
    ],
)
def test_mistakes_end_in_one_message(models, message):
    write(models)
    assert message in advb("run", "in/own.toml", "--allow-code", "--out", "run", code=2).stderr
    assert not Path("run").exists()


def test_labels_beyond_the_classes_of_the_model_are_told():
    np.savez("in/digits.npz", x=np.zeros((10, 28, 28), np.uint8), y=np.arange(10))
    write('"nets.py:seven"')
    Path("in/own.toml").write_text(Path("in/own.toml").read_text().replace('"mnist"', '"arrays:digits.npz"'))
    said = advb("run", "in/own.toml", "--allow-code", "--out", "run", code=2).stderr
    assert (
        "no data set for the model 'nets.py:seven', which has 7 classes\narrays has labels up to 9: are they of" in said
    )


def test_a_suite_in_python_says_so_itself():
    done = advbench.run(load_suite("in/own.toml", allow_code=True), out="run")
    assert json.loads(Path("run/manifest.json").read_text())["status"] == "complete"
    assert len(done.frame) == 4


@pytest.mark.slow
def test_workers_load_it_too():
    text = Path("in/own.toml").read_text()
    Path("in/own.toml").write_text(text.replace("linf = 0.3", "linf = [0.2, 0.3]"))
    frames = []
    for workers in (1, 2):
        advb("run", "in/own.toml", "--allow-code", "--out", f"run{workers}", "--workers", workers)
        frames.append(advbench.load_run(f"run{workers}").frame.drop(columns="seconds"))
    pd.testing.assert_frame_equal(*frames, check_exact=True, check_categorical=False)

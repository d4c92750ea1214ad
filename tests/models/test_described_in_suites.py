"""A suite describes models of one's own in their tables; paths in it start at the suite, and all of it is identity."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from command import advb
from torch import nn

import advbench
from advbench.config.suite_files import load_suite
from advbench.errors import UserError

SUITE = """
models = [{models}]
datasets = "mnist"
images = 4
noise = false
attacks = [{{ name = "pgd", params = {{ steps = 2 }} }}]
eps = {{ linf = 0.3 }}
"""
NETS = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))

def soft():
    return nn.Sequential(net(), nn.Softmax(1))

def blind():
    network = net().eval().requires_grad_(False)
    return lambda x: network(x.detach())

def seven():
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 7))
"""
TABLE = """{ name = "nets.py:net", num_classes = 10, mean = [0.5], std = [0.5], input_size = 28, classes = "names.txt",
label = "net" }"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a suite, its networks and its names in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/nets.py").write_text(NETS)
    Path("in/names.txt").write_text("\n".join("abcdefghij"))
    write(TABLE)


def write(*models: str, goal: str = "untargeted") -> None:
    tables = ", ".join(" ".join(each.split()) for each in models)
    Path("in/own.toml").write_text(f'goals = "{goal}"\n{SUITE.format(models=tables)}')


def run(out: str = "run", code: int = 0) -> Result:
    return advb("run", "in/own.toml", "--allow-code", "--out", out, code=code)


def manifest(out: str = "run") -> dict:
    return json.loads(Path(out, "manifest.json").read_text())


def test_a_described_network_is_run_resumed_and_verified() -> None:
    done = run()
    assert done.stderr == ""
    assert (advbench.load_run("run").frame["status"] == "ok").all()
    assert manifest()["suite"]["models"][0]["classes"] == [*"abcdefghij"]
    assert manifest()["classes"] == {"mnist": [*"abcdefghij"]}
    assert manifest()["notes"] == {"net": []}
    assert "no problems" in advb("verify", "run", "--allow-code").stdout
    shutil.rmtree("run/shards")
    advb("resume", "run", "--allow-code")
    assert advbench.load_run("run").complete


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("mean = [0.5]", "mean = [0.4]", "suite.models[0].mean[0]: 0.5 -> 0.4"),
        ("input_size = 28,", "", "suite.models[0].input_size: 28 -> nothing"),
        ("num_classes = 10,", 'num_classes = 10, gradients_from = "nets.py:net",', "suite.models[0].gradients_from:"),
    ],
)
def test_another_description_is_another_run(old: str, new: str, told: str) -> None:
    run()
    ids = [unit.unit_id for unit in advbench.load_run("run").plan]
    write(TABLE.replace(old, new))
    assert told in run(code=2).stderr
    run("again")
    assert not set(ids) & {unit.unit_id for unit in advbench.load_run("again").plan}


def test_other_names_in_the_same_file_are_another_run() -> None:
    run()
    Path("in/names.txt").write_text("\n".join("abcdefghik"))
    assert "suite.models[0].classes[9]: j -> k" in run(code=2).stderr


def test_what_was_assumed_is_said_once_and_stands_in_the_manifest() -> None:
    write('{ name = "nets.py:net", label = "net" }')
    told = "in/nets.py:net has no mean and std, so images are passed unnormalised, from 0 to 1"
    assert run().stderr.count(told) == 1
    assert told in manifest()["notes"]["net"]


def test_probabilities_are_flagged() -> None:
    write('{ name = "nets.py:soft", mean = 0.5, label = "soft" }', TABLE)
    run()
    flags = json.loads(Path("run/flags.json").read_text())
    assert [(flag["id"], flag["model"]) for flag in flags] == [("M4", "soft")]


def test_a_network_without_gradients_borrows_those_of_its_twin() -> None:
    write('{ name = "nets.py:blind", mean = 0.5, std = 0.5, label = "net" }', goal="targeted:3")
    run("alone", code=3)
    frame = advbench.load_run("alone").frame
    assert frame["error"].str.contains("gradients_from in a suite").all()
    write(
        '{ name = "nets.py:blind", mean = 0.5, std = 0.5, gradients_from = "nets.py:net", label = "net" }',
        goal="targeted:3",
    )
    run("borrowed")
    write(TABLE, goal="targeted:3")
    run("plain")
    frames = [advbench.load_run(name).frame for name in ("borrowed", "plain")]
    assert [*frames[0]["adv_class"]] == [*frames[1]["adv_class"]]


def test_the_code_of_a_twin_is_not_run_because_a_suite_says_so() -> None:
    write('{ name = "lenet", gradients_from = "nets.py:net" }')
    assert "suite own names models that run code: in/nets.py" in advb("run", "in/own.toml", code=2).stderr


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('{ name = "lenet", mean = [0.5] }', "models[0]: model lenet takes no mean: it already defines"),
        ('{ name = "nets.py:net", meen = [0.5] }', "models[0].meen: unknown key; did you mean mean?"),
        ('{ name = "nets.py:net", classes = "gone.txt" }', "models[0].classes: in/gone.txt cannot be read"),
        ('{ name = "nets.py:net", classes = ["a", "b"] }', "has 10 classes, but its description names 2"),
        ('{ name = "nets.py:net", input_size = -3 }', "models[0].input_size: expected input_size >= 1"),
        ('{ name = "nets.py:net", input_size = 16 }', "in/nets.py:net fails on images of 16 x 16 pixels"),
        ('{ name = "nets.py:net", num_classes = 7 }', "returns 10 classes, but its description says 7"),
        ('{ name = "nets.py:net", mean = [0.5, 0.5] }', "in 2 channels"),
        ('{ name = "nets.py:net", gradients_from = "nothing" }', "models[0].gradients_from: unknown model 'nothing'"),
        ('{ name = "nets.py:net", gradients_from = "nets.py:seven" }', "it has 7 classes, not 10"),
    ],
)
def test_mistakes_end_in_one_message(table: str, message: str) -> None:
    write(table)
    done = run(code=2)
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_a_model_given_as_an_object_takes_no_description() -> None:
    suite = load_suite("in/own.toml", allow_code=True)
    network = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
    model = advbench.Classifier(network, num_classes=10, mean=[0.5], input_size=28)
    with pytest.raises(UserError, match=r"model net is given as an object, which has its own .*mean"):
        advbench.run(suite, out="run", models={"net": model})

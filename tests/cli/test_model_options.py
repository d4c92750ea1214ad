"""The options that describe a model of one's own: every command with `--model` takes them; mistakes end in one line."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from command import advb
from PIL import Image

NETS = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5))

def grey():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))

def conv():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))

def blind():
    network = net()
    return lambda x: network(x.detach()).round(decimals=3)

def seven():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 7))

def large():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 5))

def soft():
    return nn.Sequential(net(), nn.Softmax(1))
"""
ALL = ("--num-classes", "--mean", "--std", "--input-size", "--classes", "--thresholds", "--output", "--gradients-from")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    Path("names.txt").write_text("ant\nbee\ncat\ndog\nelk\n")
    Path("three.txt").write_text("ant\nbee\ncat\n")
    Path("map.json").write_text('{"ant": 0}')
    for number in range(6):
        Image.new("RGB", (20, 12), (40 * number, 120, 40)).save(f"{number}.png")


def attack(*options: object, model: str = "nets.py:net", code: int = 0) -> Result:
    fixed = ("--attack", "pgd", "--goal", "untargeted", "--eps", "0.5", "--out", "out")
    return advb("attack", "0.png", "--model", model, *fixed, *options, code=code)


DESCRIBED = ("--num-classes", 5, "--mean", "0.5,0.5,0.5", "--std", "0.25", "--input-size", 8, "--classes", "names.txt")


def test_a_described_network_is_attacked_under_its_classes() -> None:
    done = attack(*DESCRIBED, "--json")
    (row,) = json.loads(done.stdout)
    assert set(row["clean_topk_names"]) <= {"ant", "bee", "cat", "dog", "elk"}
    assert row["notes"] == []
    assert done.stderr == "note: nets.py is run as code\n"


def test_without_a_description_0_to_1_goes_in_and_that_is_said_once() -> None:
    done = attack("--input-size", "8x8", "--json")
    (row,) = json.loads(done.stdout)
    told = "nets.py:net has no mean and std, so images are passed unnormalised, from 0 to 1"
    assert row["notes"] == [told]
    assert done.stderr.count(told) == 1
    other = json.loads(attack("--input-size", 8, "--mean", "0.5,0.5,0.5", "--json").stdout)[0]
    assert row["run_id"] != other["run_id"], "a changed description is another run"


def test_labels_is_another_name_of_classes() -> None:
    done = attack("--input-size", 8, "--labels", "names.txt", "--goal", "targeted:bee")
    assert "targeted" in done.stdout


def test_a_network_without_gradients_is_told_of_a_twin() -> None:
    done = attack("--input-size", 8, model="nets.py:blind", code=3)
    assert "or use those of a twin of the model: --gradients-from MODEL" in done.stderr
    done = attack("--input-size", 8, "--gradients-from", "nets.py:net", model="nets.py:blind")
    assert "is attacked with the gradients of nets.py:net; verdicts are its own" in done.stderr
    assert done.stderr.count("is run as code") == 1


def test_universal_perturbations_remember_the_description() -> None:
    pictures = [f"{number}.png" for number in range(6)]
    advb("universal", "fit", *pictures, "--model", "nets.py:net", *DESCRIBED, "--steps", 3, "--out", "u", "--quiet")
    file = "u/perturbation.safetensors"
    told = json.loads(advb("universal", "eval", file, *pictures, "--json").stdout)[0]
    assert told["card"]["about"]["input_size"] == 8
    assert {name for name, _ in told["classes"]} <= {"ant", "bee", "cat", "dog", "elk"}
    named = ("--model", "nets.py:net", *DESCRIBED, "--out", "applied")
    advb("universal", "apply", file, pictures[0], *named)
    assert "has other weights" in advb("universal", "eval", file, *pictures, *named[:-4], "--std", 1, code=2).stderr


def test_explanations_take_a_description() -> None:
    options = ("--model", "nets.py:conv", *DESCRIBED, "--what", "predictions", "--out", "explained")
    assert "elk" in advb("explain", "0.png", *options).stdout
    refused = advb("explain", "--run", "gone", "--mean", 0.5, code=2)
    assert "it takes no picture, attack, --what or description" in refused.stderr


@pytest.mark.parametrize("command", ["attack", "explain", "universal fit", "universal eval", "universal apply"])
def test_every_command_with_a_model_has_all_of_them(command: str) -> None:
    text = advb(*command.split(), "--help").stdout
    assert [option for option in ALL if option not in text] == []


MISTAKES = [
    (("--mean", "0.5,0.5"), "fails on images of 224 x 224 pixels in 2 channels"),
    (("--mean", "a,b"), "--mean 'a,b' is not a list of numbers such as 0.485,0.456,0.406 or 0.5"),
    (("--mean", "0.5,nan,0.5"), "--mean (number 2): Input should be a finite number"),
    (("--std", "0,1,1", "--input-size", 8), "expected std > 0"),
    (("--input-size", "0"), "--input-size: expected input_size >= 1"),
    (("--input-size", "8by8"), "--input-size '8by8' is not a size in pixels"),
    (("--input-size", "1x2x3"), "is not a size in pixels such as 224 or 480x640"),
    (("--input-size", "16"), "nets.py:net fails on images of 16 x 16 pixels"),
    (("--classes", "three.txt", "--input-size", 8), "nets.py:net has 5 classes, but its description names 3"),
    (("--classes", "gone.txt"), "--classes: gone.txt cannot be read: No such file or directory"),
    (("--classes", "map.json"), "--classes: expected a list of names in map.json"),
    (("--num-classes", 7, "--input-size", 8), "returns 5 classes, but its description says 7"),
    (("--num-classes", 0), "--num-classes: Input should be greater than 0"),
    (("--output", "logits", "--input-size", 8), "has no output 'logits'"),
    (("--gradients-from", "nets.py:seven", "--input-size", 8), "is not a twin of nets.py:net: it has 7 classes, not 5"),
    (("--gradients-from", "nets.py:large", "--input-size", 8), "nets.py:large fails on images of 8 x 8 pixels"),
    (("--gradients-from", "nets.py:blind", "--input-size", 8), "nets.py:blind has no gradient"),
    (("--gradients-from", "lenet", "--input-size", 8), "is not a twin of nets.py:net"),
    (("--gradients-from", "nothing"), "unknown model 'nothing'"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=lambda each: " ".join(map(str, each))[:40])
def test_a_mistake_ends_in_one_sentence(options: tuple[object, ...], message: str) -> None:
    done = attack(*options, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert not Path("out").exists()


def test_a_model_that_describes_itself_takes_no_description() -> None:
    done = attack("--mean", 0.5, "--std", 0.5, model="lenet", code=2)
    assert "model lenet takes no mean and no std: it already defines its input and its classes" in done.stderr
    Path("own.py").write_text(
        "import advbench\nfrom torch import nn\n\n"
        "def net():\n    return advbench.Classifier(nn.Flatten(), num_classes=12, input_size=2)\n"
    )
    done = attack("--mean", 0.5, model="own.py:net", code=2)
    assert "own.py:net returns an advbench.Classifier, which defines mean itself" in done.stderr

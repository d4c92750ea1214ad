"""`advbench attack --surrogate`: the attack sees another model, and the model named by --model judges."""

import json
from pathlib import Path

import pytest
import torch
from command import refused, run
from PIL import Image
from safetensors.torch import load_file

import advbench
from attacks import MIFGSM, Fast, Untargeted, ensemble

NETS = """
import torch
from torch import nn
from advbench import Classifier

def net(classes=10, side=28):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(side * side, classes))

def five():
    return net(5)

def own():
    return Classifier(net(), num_classes=10, mean=[0.5], preprocess=lambda picture: torch.zeros(1, 28, 28))

def small():
    return Classifier(net(side=14), num_classes=10, mean=[0.5], input_size=14)
"""
ATTACK = ("attack", "--data", "mnist-samples", "--limit", 6, "--model", "lenet", "--attack", "mifgsm")
ATTACK = (*ATTACK, "--goal", "untargeted", "--eps", "0.3", "--device", "cpu", "--out", "out")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
    Path("nets.py").write_text(NETS)


def attacked(*options):
    """The rows of a command, and the images that it wrote (N, C, H, W)."""
    done = run(*ATTACK, "--json", "--quiet", *options)
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)
    return rows, torch.stack([load_file(row["files"]["adversarial.safetensors"])["adversarial"] for row in rows])


@pytest.mark.parametrize("names", ["mlp_mnist", "mnist_convnet+mlp_mnist"])
def test_the_attack_sees_the_surrogate_and_the_model_judges(names):
    rows, x_adv = attacked("--surrogate", names, "--precise")
    judge, data = advbench.load_model("lenet"), advbench.load_dataset("mnist-samples")
    x = torch.stack([judge.preprocess(data.read(data.images.index(row["image"]))) for row in rows])
    others = [advbench.load_model(name) for name in names.split("+")]
    seen = others[0] if len(others) == 1 else ensemble(others)
    goal = Untargeted(torch.tensor([row["label"] for row in rows]))
    torch.testing.assert_close(x_adv, MIFGSM()(seen, x, goal, eps=0.3))
    met = [row["met"] for row in rows]
    assert met == (goal.margin(judge(x_adv)) < 0).tolist()
    assert True in met
    assert [row["surrogate_class"] for row in rows] == seen(x).argmax(1).tolist()
    assert {row["surrogate"] for row in rows} == {names.replace("+", " + ")}
    assert {row["model"] for row in rows} == {"lenet"}


def test_it_is_not_what_gradients_of_another_model_are():
    transferred, borrowed = attacked("--surrogate", "mlp_mnist"), attacked("--gradients-from", "mlp_mnist")
    assert not torch.equal(transferred[1], borrowed[1])
    assert {row["surrogate"] for row in borrowed[0]} == {""}


def test_each_of_several_attacks_is_made_on_it():
    rows, _ = attacked("--surrogate", "mlp_mnist", "--attack", "mifgsm,pgd")
    assert {row["surrogate"] for row in rows} == {"mlp_mnist"}
    printed = run(*ATTACK, "--surrogate", "mlp_mnist", "--limit", 1).stdout
    assert "lenet · mifgsm on mlp_mnist · Linf" in printed


def test_a_model_of_ones_own_with_images_of_another_size():
    rows, x_adv = attacked("--surrogate", "nets.py:small", "--limit", 2)
    assert x_adv.shape[2:] == (28, 28)
    assert {row["surrogate"] for row in rows} == {"nets.py:small"}


def test_photographs_are_attacked_at_their_own_size_on_it():
    """On the model itself as a surrogate, the file is that of the plain attack; on another it is not."""
    digit = advbench.load_dataset("mnist-samples").read(0)
    digit.resize((40, 40)).save("photo.png")
    options = ("--model", "lenet", "--attack", "mifgsm", "--goal", "untargeted", "--eps", "0.3", "--size", "original")
    written = {}
    for names in ("", "lenet", "mlp_mnist", "mnist_convnet+mlp_mnist"):
        surrogate = ("--surrogate", names) if names else ()
        done = run("attack", "photo.png", *options, "--device", "cpu", "--json", "--quiet", *surrogate, "--out", "out")
        (row,) = json.loads(done.stdout)
        assert row["surrogate"] == names.replace("+", " + ")
        written[names] = Path("out/adversarial.png").read_bytes()
    assert written[""] == written["lenet"]
    assert len({*written.values()}) == 3


def test_its_gradients_come_from_its_fastest_form(monkeypatch):
    """As in runs, and recorded; `--precise` has it as it is."""
    asked = []

    def quick(net, x, most):
        asked.append((net.name, tuple(x.shape[1:]), most))
        return Fast(net, "channels_last", x)

    monkeypatch.setattr("advbench.pictures.sessions.surrogate.fastest_here", quick)
    rows, _ = attacked("--surrogate", "mnist_convnet+nets.py:small", "--limit", 1)
    assert asked == [("mnist_convnet", (1, 28, 28), "bfloat16"), ("nets.py:small", (1, 14, 14), "bfloat16")]
    assert [row["form"] for row in rows] == ["channels_last"]
    rows, _ = attacked("--surrogate", "mnist_convnet", "--limit", 1, "--precise")
    assert (len(asked), [row["form"] for row in rows]) == (2, ["plain"])


def test_its_code_is_announced():
    done = run(*ATTACK, "--surrogate", "nets.py:net", "--limit", 1, "--quiet")
    assert done.exit_code == 0
    assert done.stderr.count("note: nets.py is run as code") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--surrogate", "nets.py:five"),
            "does not fit the model 'lenet': nets.py:five has 5 classes, and lenet has 10",
        ),
        (("--surrogate", "eight_digits"), "'lenet': eight_digits has several labels"),
        (("--surrogate", "gray_cnn"), "'lenet': gray_cnn is for CIFAR-10 grey, and lenet for MNIST"),
        (("--surrogate", "mlp_mnst"), "error: unknown model 'mlp_mnst'\ndid you mean mlp_mnist"),
        (("--surrogate", "lenet+"), "error: unknown model ''"),
        (("--surrogate", "nets.py:own", "--size", "original"), "cannot see how nets.py:own resizes pictures"),
    ],
)
def test_what_does_not_fit_is_told_before_the_attack(options, message):
    Image.new("L", (28, 28), 90).save("digit.png")
    assert message in refused("attack", "digit.png", "--model", "lenet", "--out", "out", *options)
    assert not Path("out").exists()

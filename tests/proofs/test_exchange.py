"""Open images go out as ONNX and VNN-LIB, and what another verifier proves comes back with its name."""

import csv
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_nets import NETS, small_net

from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.run_analysis import RunAnalysis
from advbench.api import run
from advbench.cli.main import main
from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.specifications import specification
from advbench.proofs.exchange.onnx_file import as_onnx
from advbench.proofs.exchange.vnnlib import as_vnnlib
from advbench.proofs.reading.reader import read_network
from advbench.records.record import PROOF
from advbench.records.stored_run import read_run
from attacks import L2, LabelOutOfTopK, Linf, OrderedTopK, Targeted, Untargeted

X = torch.rand(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETS)
def test_onnx_answers_as_the_network_does(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    net = small_net(name, 1)
    session = onnxruntime.InferenceSession(as_onnx(read_network(net, X)), providers=["CPUExecutionProvider"])
    for x in X:
        (found,) = session.run(["Y"], {"X": x.unsqueeze(0).numpy()})
        np.testing.assert_allclose(found, net(x.unsqueeze(0)).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("goal", "last"),
    [
        (Untargeted(torch.tensor([1])), "(or (and (<= Y_1 Y_0)) (and (<= Y_1 Y_2)))"),
        (Targeted(torch.tensor([2])), "(or (and (<= Y_0 Y_2) (<= Y_1 Y_2)))"),
        (LabelOutOfTopK(torch.tensor([0]), k=2), "(or (and (<= Y_0 Y_1) (<= Y_0 Y_2)))"),
        (OrderedTopK(torch.tensor([[2, 0]])), "(or (and (<= Y_0 Y_2) (<= Y_1 Y_0)))"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_property_is_what_the_goal_asks(goal, last):
    ball = BallInBox.around(X[:1].double(), Linf(), 0.1)
    text = as_vnnlib(ball, specification(goal, 3), 3)
    assert text.count("(declare-const X_") == 50
    assert text.count("(declare-const Y_") == 3
    low = float(re.search(r">= X_0 ([0-9.]+)\)", text).group(1))
    assert low == pytest.approx(max(X[0].flatten()[0].item() - 0.1, 0), abs=1e-5)
    assert text.splitlines()[-1] == f"(assert {last})"


def test_a_ball_that_is_no_box_is_refused():
    ball = BallInBox.around(X[:1].double(), L2(), 0.1)
    with pytest.raises(ValueError, match="expected a ball of linf, which is a box, got one of l2"):
        as_vnnlib(ball, specification(Untargeted(torch.tensor([1])), 3), 3)


@pytest.fixture
def opened(plugged, tmp_path):
    """A run in which intervals leave images open."""
    suite = {
        "name": "open", "models": "tiny", "datasets": "smooth", "attacks": "fgsm", "eps": {"linf": 0.002},
        "prove": {"method": "interval"}, "noise": False,
    }  # fmt: skip
    return run(suite, out=tmp_path / "run", workers=1)


def open_of(stored):
    (worst,) = [cell for cell in RunAnalysis.of(stored).cells if cell.attack == WORST_CASE]
    return worst.open.k


def test_open_images_go_out_and_come_back(opened, tmp_path):
    pytest.importorskip("onnx")
    before = open_of(opened)
    assert before > 1
    told = CliRunner().invoke(
        main, ["prove", str(opened.folder), "--export", str(tmp_path / "out"), "--plugin", "fake_plugin"]
    )
    assert told.exit_code == 0, told.output
    assert f"{before} open images written" in told.output
    instances = list(csv.reader((tmp_path / "out/instances.csv").read_text().splitlines()))
    assert len(instances) == before
    assert all((tmp_path / "out" / file).exists() for row in instances for file in row[:2])
    first, second = instances[0][1], instances[1][1]
    (tmp_path / "results.csv").write_text(
        f"vision,./onnx/net.onnx,./vnnlib/{first},0.5,unsat,3.2\nvision,net.onnx,{second},0.1,sat,0.3\nx,y,z.vnnlib,unsat\n"
    )
    asked = ["prove", str(opened.folder), "--import", str(tmp_path / "results.csv"), "--by", "abc"]
    told = CliRunner().invoke(main, asked)
    assert told.exit_code == 0, told.output
    assert told.output.startswith("1 image proved by abc; 1 can be fooled, according to it: attack them; 1 other line")
    again = read_run(opened.folder)
    assert open_of(again) == before - 1
    rows = again.frame[again.frame["attack"] == PROOF]
    assert rows.loc[rows["proof_method"] == "abc", "proved"].tolist() == [True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n", "names no open image"),
        (None, "cannot read"),
    ],
)
def test_results_of_nothing_are_refused(opened, tmp_path, text, message):
    if text is not None:
        (tmp_path / "results.csv").write_text(text)
    asked = ["prove", str(opened.folder), "--import", str(tmp_path / "results.csv"), "--by", "abc"]
    told = CliRunner().invoke(main, asked)
    assert told.exit_code == 2
    assert message in told.output


def test_the_command_asks_for_one_of_the_two(tmp_path):
    told = CliRunner().invoke(main, ["prove", str(tmp_path)])
    assert told.exit_code == 2
    assert "give --export FOLDER or --import FILE" in told.output

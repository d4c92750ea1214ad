"""`advbench attack --prove`: the largest change that cannot do it, for one picture."""

import json

import fakes
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from advbench.cli.main import main
from advbench.pictures.proving import reach_of
from attacks import L0, L2, Linf, Untargeted


def identity() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).eval()
    nn.init.eye_(model[1].weight)
    return model.requires_grad_(False)


@pytest.mark.parametrize(("norm", "expected"), [(Linf(), 0.2), (L2(), 0.2 * 2**0.5)])
def test_bisection_finds_the_largest_eps(norm, expected):
    x, goal = torch.tensor([[0.7, 0.3]]), Untargeted(torch.tensor([0]))
    for start, found in ((0.01, None), (0.9, None), (0.1, expected * 1.001)):
        reach = reach_of(identity(), x, goal, norm, start=start, found=found)
        assert 0.97 * expected < reach.eps < expected
        assert reach.method != "none"


def test_no_value_can_be_changed_at_all():
    reach = reach_of(identity(), torch.tensor([[0.7, 0.3]]), Untargeted(torch.tensor([0])), L0(), start=1.0, found=1.0)
    assert (reach.eps, reach.method) == (0.0, "none")


def test_a_layer_that_cannot_be_followed_is_named():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.GELU()).eval()
    x = torch.tensor([[0.7, 0.3]])
    reach = reach_of(model, x, Untargeted(model(x).argmax(1)), Linf(), start=0.1, found=None)
    assert (reach.eps, reach.reason) == (0.0, "cannot be proved: layer GELU")


def test_the_command_says_what_cannot_do_it(tmp_path):
    picture = fakes.picture(tmp_path / "tiger.png")
    options = ["--model", "tiny", "--goal", "untargeted", "--eps", "0.05/255", "--device", "cpu", "--attack", "pgd"]
    with fakes.registered():
        arguments = [
            "attack",
            str(picture or tmp_path / "tiger.png"),
            *options,
            "--prove",
            "--out",
            str(tmp_path / "o"),
        ]
        told = CliRunner().invoke(main, arguments)
        assert told.exit_code == 0, told.output
        assert "proved: no change within" in told.output
        found = json.loads(CliRunner().invoke(main, [*arguments, "--json", "--quiet"]).stdout)[0]
    assert found["proved"]
    assert found["proved_eps"] >= 0.05 / 255

"""Whoever calls may have switched gradients off, as tests of models do: no number and no flag depends on it."""

from contextlib import nullcontext

import pytest
import torch
from pandas.testing import assert_series_equal
from torch import nn

import advbench
from advbench.evaluation.checks.model import check_model
from advbench.testing import Bench

MODES = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", MODES)
def test_a_model_is_not_without_a_gradient_because_its_caller_is(mode, net, images):
    expected = check_model(net, images, dataset="d")
    assert "M6" not in {flag.id for flag in expected}
    with MODES[mode]():
        assert check_model(net, images, dataset="d") == expected
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("mode", MODES)
def test_a_test_without_gradients_measures_the_same(mode, net, images):
    found = []
    for within in (nullcontext, MODES[mode]):
        with within():
            # made within: an inference tensor has no graph
            found.append(Bench("t", None)(net, images.clone(), attack="pgd", params={"steps": 2}, eps="8/255"))
    plain, without = found
    assert without.flags == plain.flags
    assert_series_equal(without.frame["linf"], plain.frame["linf"])


@pytest.mark.parametrize("mode", MODES)
def test_a_run_without_gradients_is_the_same(mode, tmp_path):
    suite = {
        "name": "x",
        "models": "mlp_mnist",
        "datasets": "mnist",
        "attacks": "fgsm",
        "images": 2,
        "eps": {"linf": 0.1},
    }
    plain = advbench.run(suite, out=tmp_path / "plain", workers=1)
    with MODES[mode]():
        without = advbench.run(suite, out=tmp_path / mode, workers=1)
    assert (without.frame["status"] == "ok").all()
    assert without.flags == plain.flags
    assert_series_equal(without.frame["linf"], plain.frame["linf"])


def test_an_assertion_that_asserts_nothing_is_refused(net, images):
    result = Bench("t", None)(net, images, attack="fgsm", eps="8/255")
    for severities in ("", "e", "Q", "EFX", None, 3, ["E"]):
        with pytest.raises(ValueError, match="expected severities as letters of EFI, got"):
            result.assert_trusted(severities)
    result.assert_trusted("E")

"""Files of torch's newer exporter to ONNX are white boxes too."""

from pathlib import Path

import pytest
import torch
from torch import nn

from advbench import load_model

pytest.importorskip("onnxscript", reason="the package onnxscript is not installed")
pytest.importorskip("onnx2pytorch", reason="the package onnx2pytorch is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_gradients_are_those_of_the_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ends = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), *ends).eval()
    batch = {0: torch.export.Dim("n")}
    file = str(tmp_path / "net.onnx")
    torch.onnx.export(
        network,
        (torch.rand(2, 3, 8, 8),),
        file,
        dynamo=True,
        verbose=False,
        dynamic_shapes=(batch,),
        external_data=False,
    )
    model, x = load_model(file), torch.rand(3, 3, 8, 8, requires_grad=True)
    assert model.notes[-1].endswith("gradients come from a network that onnx2pytorch converted from it")
    (ours,), (theirs,) = (torch.autograd.grad(each(x)[:, 1].sum(), x) for each in (model, network))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)

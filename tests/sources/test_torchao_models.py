"""Networks that torchao has quantised: a function makes them, and a float twin lends its gradients."""

from pathlib import Path

import pytest
import torch

import attacks
from advbench import load_dataset, load_model

pytest.importorskip("torchao", reason="the package torchao is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

NETS = """
import torch

from advbench import load_model

MEAN, STD = load_model("lenet").mean, load_model("lenet").std


def twin():
    return load_model("lenet").module.float()


def images():
    return torch.rand(32, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def static():
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    shapes = ({0: torch.export.Dim("n")},)
    program = torch.export.export(twin(), (images(),), dynamic_shapes=shapes).module()
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(program, quantizer)
    prepared((images() - MEAN[0]) / STD[0])
    return convert_pt2e(prepared)


def dynamic():
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    network = twin()
    quantize_(network, Int8DynamicActivationInt8WeightConfig())
    return network
"""


@pytest.mark.parametrize("way", ["static", "dynamic"])
def test_pgd_with_a_twin_beats_square_in_a_tenth_of_the_passes(tmp_path: Path, way: str) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    ours, data = load_model("lenet"), load_dataset("mnist")
    about = {"mean": ours.mean, "std": ours.std, "input_size": 28, "num_classes": 10}
    name = f"{tmp_path / 'nets.py'}:{way}"
    alone, model = load_model(name, **about), load_model(name, gradients_from="lenet", **about)
    x, labels = torch.stack([ours.preprocess(data.read(i)) for i in range(16)]), torch.tensor(data.labels[:16])
    assert torch.equal(model(x), alone(x))
    assert not torch.equal(model(x), ours(x))
    goal = attacks.Untargeted(labels)
    by_pgd = alone(attacks.PGD(steps=20)(model, x, goal, eps=0.15)).argmax(1) == labels
    by_square = alone(attacks.Square(steps=400)(alone, x, goal, eps=0.15)).argmax(1) == labels
    assert int(by_pgd.sum()) <= int(by_square.sum()) < 16

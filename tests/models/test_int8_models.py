"""Int8 networks: gradients from the float twin, verdicts from the quantised network itself."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import digits
from torch import Tensor, nn

import attacks
from advbench import Classifier, load_model
from advbench.evaluation.checks.model import check_model
from advbench.evaluation.evaluate import evaluate_quickly
from advbench.models.restricted import restricted
from advbench.models.twins import paired
from advbench.planning.identity.run import model_digest

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.ao.quantization is deprecated, and still ships networks
IMAGES, EPS = 24, 0.15


def quantised(network: nn.Module, x: Tensor) -> nn.Module:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    prepared = prepare_fx(copy.deepcopy(network).float(), get_default_qconfig_mapping("x86"), (x[:1],))
    prepared(x)
    return convert_fx(prepared)


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    """An int8 lenet as it ships: the mean and std of lenet, and no gradient."""
    twin, (x, _) = load_model("lenet"), digits(IMAGES)
    network = quantised(twin.module, (x - twin.mean[0]) / twin.std[0])
    return Classifier(network, num_classes=10, mean=twin.mean, std=twin.std, input_size=28, name="int8")


def with_twin(shipped: Classifier) -> Classifier:
    same = Classifier(
        shipped.module, num_classes=10, mean=shipped.mean, std=shipped.std, input_size=28, name=shipped.name
    )
    return paired(same, load_model("lenet"))


def robust(model: Classifier, attack: Any, x: Tensor, labels: Tensor) -> tuple[float, float]:
    """Robust accuracy, and passes on each image."""
    clean = model(x).detach()
    seen = evaluate_quickly(model, attack, x, clean, attacks.Untargeted(labels), eps=EPS, seed=0)
    assert torch.equal(seen.verdicts.clean_logits, clean)
    return 1 - float(seen.verdicts.met.float().mean()), float((seen.forwards + seen.backwards).float().mean())


def test_a_twin_finds_at_least_what_square_does_in_a_tenth_of_the_passes(shipped: Classifier) -> None:
    x, labels = digits(IMAGES)
    found, passes = robust(with_twin(shipped), attacks.PGD(steps=20), x, labels)
    by_square, queries = robust(shipped, attacks.Square(steps=600), x, labels)
    assert found <= by_square < 1
    assert passes <= queries / 10


def test_verdicts_are_those_of_the_network_that_ships(shipped: Classifier) -> None:
    x, _ = digits(IMAGES)
    model = with_twin(shipped)
    assert torch.equal(model(x), shipped(x))
    assert torch.equal(model(x.clone().requires_grad_()).detach(), shipped(x))
    assert [flag.id for flag in check_model(shipped, x, dataset="mnist")] == ["M6"]
    assert check_model(model, x, dataset="mnist") == []


def test_the_advice_names_the_option(shipped: Classifier) -> None:
    (flag,) = check_model(shipped, digits(IMAGES)[0], dataset="mnist")
    assert "--gradients-from MODEL" in flag.advice


def test_a_twin_is_kept_among_some_classes_and_is_part_of_the_digest(shipped: Classifier) -> None:
    x, _ = digits(IMAGES)
    model = with_twin(shipped)
    few = restricted(model, [1, 3, 5])
    assert few.twin is not None
    assert few(x[:2].clone().requires_grad_()).requires_grad
    assert few.notes == model.notes
    assert model_digest(model) != model_digest(shipped)


def test_a_quantised_onnx_file_with_a_float_twin(tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="needs onnxruntime and onnx")
    from test_own_models import onnx_file

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)).numpy())

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.left, None)
            return None if image is None else {"x": image[None]}

    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5)).eval()
    file = onnx_file(network, tmp_path / "float.onnx")
    quantization.quantize_static(str(file), str(tmp_path / "int8.onnx"), Images())
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n\ndef net():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5)).eval()\n"
    )
    alone = load_model(str(tmp_path / "int8.onnx"))
    model = load_model(str(tmp_path / "int8.onnx"), gradients_from=f"{tmp_path / 'nets.py'}:net", input_size=8)
    x = torch.rand(16, 3, 8, 8)
    assert torch.equal(model(x), alone(x))
    assert not torch.equal(alone(x), network(x))
    x_adv = attacks.PGD(steps=10)(model, x, attacks.Untargeted(alone(x).argmax(1)), eps=0.2)
    assert (alone(x_adv).argmax(1) != alone(x).argmax(1)).all()

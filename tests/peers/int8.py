"""Attacks on int8 networks with the gradients of a float twin: `python -m tests.peers.int8`.

The ResNet-20 in the folder `shared` is quantised in three ways, each of which yields a network without gradients. PGD,
with the gradients of the float network, and Square, without gradients, look for images that fool the quantised
network. One way needs `onnx` and `onnxruntime`, another `torchao`; ways whose packages are missing are skipped.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from advbench.evaluation.evaluate import evaluate_quickly
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.models.twins import paired
from attacks import PGD, Square, Untargeted
from tests.peers.machine import processor, processors
from tests.peers.report import Report, add_shared, parser_for, say
from tests.peers.victims import cifar10

NETWORK = "cifar10-resnet20"
EPS = (1, 2, 4)
"""Budgets in Linf, 255ths."""

_PAGE = """# Int8 networks, attacked with the gradients of their float twin

Made by `python -m tests.peers.int8{flags}`; the numbers are in `int8.json`.

ResNet-20 for CIFAR-10, quantised to 8 bits after training, on {images} test images that the quantised network
classifies correctly. The table shows robust accuracy in Linf, judged by the quantised network itself. In brackets:
passes per image, which are forward and backward passes for PGD ({steps} steps) and queries for Square (at most
{queries:,}). Measured on {processor}.

| quantised by | same class as float | eps | noise as large as PGD's | PGD with the twin's gradients | Square |
|---|--:|--:|--:|--:|--:|
{rows}
"""
_ROW = (
    "| {way} | {same:.1%} | {eps}/255 | {noise:.1%} | {pgd:.1%} ({pgd_passes:.0f}) "
    "| {square:.1%} ({square_passes:,.0f}) |"
)


def main() -> None:
    parser = parser_for("int8", __doc__)
    parser.add_argument("--images", type=int, metavar="N", default=100)
    parser.add_argument("--steps", type=int, metavar="N", default=40, help="steps of PGD; default: 40")
    parser.add_argument("--queries", type=int, metavar="N", default=5000, help="queries of Square; default: 5000")
    parser.add_argument("--eps", type=int, nargs="+", metavar="N", default=EPS, help="in 255ths; default: 1 2 4")
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "int8", _page)
    if options.page:
        report.rewrite_page()
        return
    rows = []
    for way, make in WAYS.items():
        try:
            rows += measure(way, make, options)
        except ImportError as error:
            say(f"{way}: skipped, {error}")
    given = {"images": options.images, "steps": options.steps, "queries": options.queries, "eps": list(options.eps)}
    report.save({**given, "rows": rows})


def measure(way: str, make: Callable[[nn.Module, Tensor], Classifier], options: Any) -> list[dict[str, Any]]:
    """Attack one quantised network at every budget."""
    twin, x, labels = cifar10(NETWORK, 2 * options.images)()
    normalised = (x[:64] - _column(twin.mean)) / _column(twin.std)
    network = make(twin.module, normalised)
    model = Classifier(network, num_classes=10, mean=twin.mean, std=twin.std, input_size=32, name=way)
    twin.input_size = 32
    with torch.no_grad():
        own, theirs = model(x).argmax(1), twin(x).argmax(1)
    right = (own == labels).nonzero().squeeze(1)[: options.images]
    model, x, goal = paired(model, twin), x[right], Untargeted(labels[right])
    with torch.no_grad():
        clean = model(x)
    found = []
    for eps in options.eps:
        row = {"way": way, "same": float((own == theirs).float().mean()), "eps": eps, "images": len(x)}
        row["processor"] = processor()
        for name, attack in (("pgd", PGD(steps=options.steps)), ("square", Square(steps=options.queries))):
            seen = evaluate_quickly(model, attack, x, clean, goal, eps=eps / 255, seed=0)
            passes = seen.forwards + seen.backwards
            row |= {name: 1 - float(seen.verdicts.met.float().mean()), f"{name}_passes": float(passes.float().mean())}
        noise = (x + eps / 255 * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 1)).clamp(0, 1)
        with torch.no_grad():
            row["noise"] = float((model(noise).argmax(1) == goal.labels).float().mean())
        say(_ROW.format(**row))
        found.append(row)
    return found


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def by_torch(network: nn.Module, x: Tensor) -> nn.Module:
    """Static quantisation by `torch.ao`, with integer kernels."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    prepared = prepare_fx(copy.deepcopy(network), get_default_qconfig_mapping("x86"), (x[:1],))
    with torch.no_grad():
        prepared(x)
    converted: nn.Module = convert_fx(prepared)
    return converted


def by_torchao(network: nn.Module, x: Tensor) -> nn.Module:
    """Static quantisation by `torchao`, of an exported program."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    shapes = ({0: torch.export.Dim("n")},)
    program = torch.export.export(copy.deepcopy(network), (x[:2],), dynamic_shapes=shapes).module()
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(program, quantizer)
    with torch.no_grad():
        prepared(x)
    converted: nn.Module = convert_pt2e(prepared)
    return converted


def by_onnxruntime(network: nn.Module, x: Tensor) -> nn.Module:
    """Static quantisation of an ONNX file by `onnxruntime`, which also runs it."""
    import onnx  # noqa: F401 - torch exports with it
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(x.numpy())

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.left, None)
            return None if image is None else {"x": image[None]}

    with tempfile.TemporaryDirectory() as folder:
        names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
        torch.onnx.export(network, (x[:1],), f"{folder}/float.onnx", dynamo=False, **names)
        quantization.quantize_static(f"{folder}/float.onnx", f"{folder}/int8.onnx", Images(), per_channel=True)
        return load_model(f"{folder}/int8.onnx").module


WAYS = {"torch.ao": by_torch, "torchao (pt2e)": by_torchao, "onnxruntime": by_onnxruntime}


def _page(found: dict[str, Any]) -> str:
    usual = {"images": 100, "steps": 40, "queries": 5000}
    given = {name: found[name] for name in usual}
    flags = "".join(f" --{name} {value}" for name, value in given.items() if value != usual[name])
    flags += "" if tuple(found["eps"]) == EPS else f" --eps {' '.join(map(str, found['eps']))}"
    lines = "\n".join(_ROW.format(**row) for row in found["rows"])
    return _PAGE.format(flags=flags, rows=lines, processor=processors(found["rows"]), **given)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated
    main()

"""Universal perturbations: fooling rates on held-out images, compared with ART's: `python -m tests.peers.universal`.

Models and images are in the folder `shared` next to the repository. A perturbation is fitted to one part of the images
and measured on the rest. Other stored results are kept.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.pictures.files import as_perturbation, as_png
from attacks import FoolingCounts, Perturbation, UniversalPerturbation, fooled
from tests.peers.photographs import cut_for, photographs, shared_classifier
from tests.peers.report import REPORTS, Report, add_shared, parser_for, say
from tests.peers.universal_methods import (
    ART,
    FEW,
    METHODS,
    OF_THE_ATTACK,
    OURS,
    PLAIN,
    QUICK,
    THEIRS,
    VERSION,
    WITHOUT,
    Task,
)
from tests.peers.universal_page import page
from tests.peers.victims import Target, cifar10_training, mnist

REPORT = REPORTS / "universal"


class Net(NamedTuple):
    """A model with images to fit to and images to measure on."""

    load: Callable[[int], tuple[Classifier, Tensor]]
    """Gives the model and all images, see :func:`divided_photographs`."""
    fit: int
    """Number of images to fit to; the others are measured on."""
    eps: tuple[float, ...]
    """Budgets in Linf; the other methods only get the first."""
    few: int = 0
    """Number of images for ART, with which it takes about as long as ours; 0: ART is left out."""


def _small(load: Callable[[], Target], first: int = 0) -> Callable[[int], tuple[Classifier, Tensor]]:
    def loaded(split: int) -> tuple[Classifier, Tensor]:
        target = load()
        return target.model, target.x[first:]

    return loaded


def divided_photographs(model: Classifier, split: int) -> tuple[Classifier, Tensor]:
    """A model and the photographs as it takes them, in an order that depends on the number of the split."""
    pictures = photographs()
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(split)).tolist()
    return model, cut_for(model, [pictures[number] for number in order])


def _shared(name: str, size: int, resize: int) -> Callable[[int], tuple[Classifier, Tensor]]:
    return lambda split: divided_photographs(shared_classifier(name, size, resize), split)


_SEEN = 1000
"""Number of digits at the start that are left out, because a choice was made on them."""
_SIZES = tuple(size / 255 for size in (10, 6, 4))
NETS = {
    "mnist-lenet5-clean": Net(_small(mnist("mnist-lenet5-clean", 3000), _SEEN), 500, (0.2, 0.1), 50),
    "mnist-conv-small-clean": Net(_small(mnist("mnist-conv-small-clean", 3000), _SEEN), 500, (0.2, 0.1), 50),
    "cifar10-resnet20": Net(_small(cifar10_training("cifar10-resnet20", 1500)), 500, (8 / 255, 4 / 255), 50),
    "imagenet-mobilenet_v1-0.5-160": Net(_shared("imagenet-mobilenet_v1-0.5-160", 160, 183), 400, _SIZES),
    "imagenet-squeezenet1_0": Net(_shared("imagenet-squeezenet1_0-deepcompression", 227, 256), 400, _SIZES),
    "efficientnet_lite0": Net(lambda split: divided_photographs(load_model("efficientnet_lite0"), split), 400, _SIZES),
}


def main() -> None:
    parser = parser_for("universal", __doc__)
    parser.add_argument("--only", nargs="+", metavar="NET", choices=NETS, help="networks to fit to")
    parser.add_argument("--methods", nargs="+", metavar="NAME", choices=METHODS, help="default: all")
    parser.add_argument("--steps", type=int, metavar="N", default=UniversalPerturbation.steps, help="steps of each fit")
    parser.add_argument("--batch", type=int, metavar="N", default=16, help="images in a step")
    parser.add_argument(
        "--split", type=int, metavar="K", default=0, help="which split of the photographs to use (default: 0)"
    )
    parser.add_argument("--first", action="store_true", help="only the first budget of each network")
    parser.add_argument("--transfer", action="store_true", help="only measure the transfer of stored perturbations")
    add_shared(parser, "--page")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    add_shared(parser, "--out", out=REPORT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    nets = options.only or [name for name in NETS if not options.split or _kind(name) == "imagenet"]
    if options.split and any(_kind(name) != "imagenet" for name in nets):
        parser.error("--split only applies to photographs: name only ImageNet networks in --only")
    for name in [] if options.page or options.transfer else nets:
        _measure(name, NETS[name], options)
    _keep(options.out, {}, _transfer(options.out) if options.transfer else None)


def _measure(name: str, net: Net, options: argparse.Namespace) -> None:
    """Fit to one network, with every requested method and budget."""
    model, x = net.load(options.split)
    for eps in net.eps[: 1 if options.first else None]:
        for method in _methods(net, eps):
            if options.methods and method not in options.methods:
                continue
            say(f"{name}, eps {eps:.3g}: {method}")
            images = net.few if method in (ART, FEW, QUICK) else net.fit
            start = time.process_time()
            found = METHODS[method](Task(model, x[:images], eps, options.steps, options.batch))
            seconds = time.process_time() - start
            counts = _counts(model, x[net.fit :], found)
            row = {"net": name, "eps": eps, "method": method, "fitted": images, "seconds": seconds}
            if method in (*OF_THE_ATTACK, PLAIN):
                row |= {"steps": options.steps // (4 if method == QUICK else 1), "batch": options.batch}
            if method in OF_THE_ATTACK:
                row["version"] = VERSION
            if options.split:
                row["split"] = options.split
            elif method == OURS and eps == net.eps[0]:
                found.save(options.out / f"{name}.safetensors")
                (options.out / f"{name}.png").write_bytes(as_png(as_perturbation(found.delta)))
            key = f"{name} {eps:.4f} {method}" + (f", split {options.split}" if options.split else "")
            _keep(options.out, {key: row | counts._asdict()})


def _methods(net: Net, eps: float) -> list[str]:
    """Names of the methods for a budget: ours for each, the others for the first."""
    if eps != net.eps[0]:
        return [OURS]
    left_out = {WITHOUT} if net.few else {ART, FEW, QUICK}
    return [method for method in METHODS if method not in left_out and (THEIRS or method != ART)]


def _counts(model: Classifier, x: Tensor, found: Perturbation) -> FoolingCounts:
    return fooled(model, x.split(50), found.apply)


def _transfer(folder: Path) -> dict[str, dict[str, Any]]:
    """Fooling counts of each perturbation on every network of the same kind, resized where needed."""
    table: dict[str, dict[str, Any]] = {}
    there = [name for name in NETS if (folder / f"{name}.safetensors").exists()]
    for target in there:
        model, x = NETS[target].load(0)
        rest = x[NETS[target].fit :]
        for source in there:
            if _kind(source) != _kind(target):
                continue
            found = Perturbation.load(folder / f"{source}.safetensors").resized(*rest.shape[2:])
            table.setdefault(source, {})[target] = _counts(model, rest, found)._asdict()
    return table


def _kind(name: str) -> str:
    return name.partition("-")[0].replace("efficientnet_lite0", "imagenet")


def _keep(folder: Path, rates: dict[str, Any], transfer: dict[str, Any] | None = None) -> None:
    """Add to what is stored by now, also by other processes, and write the page."""
    report = Report(folder, "results", partial(page, folder=folder), page_name="README")
    results = {"rates": {}, "transfer": {}} | report.stored()
    every, order = results["rates"] | rates, list(NETS)
    keys = sorted(every, key=lambda key: order.index(every[key]["net"]))
    numbers = {
        "rates": {key: every[key] for key in keys},
        "transfer": results["transfer"] if transfer is None else transfer,
        "transfer_version": results.get("transfer_version", 1) if transfer is None else VERSION,
    }
    report.save(numbers)


if __name__ == "__main__":
    main()

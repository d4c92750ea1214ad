"""Universal perturbations: fooling rates on images not fitted to, beside ART's: `python -m tests.peers.universal`.

Models and images lie in the folder `shared` beside the repository. A perturbation is fitted to one part of the images
and measured on the rest. What was measured before stays unless it is asked for again.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported

import torch
from torch import Tensor

from advbench.intervals import Proportion
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.report.files import as_perturbation, as_png
from attacks import Fooled, Linf, Perturbation, UniversalDeepFool, UniversalPerturbation, fast, fooled
from tests.peers.photographs import cut_for, photographs, shared_classifier
from tests.peers.victims import cifar10, mnist

REPORT = Path(__file__).parents[2] / "reports" / "universal"
NOISE, OURS, ORIGINAL, ART = "noise", "UniversalPerturbation", "UniversalDeepFool", "ART UniversalPerturbation"


class Net(NamedTuple):
    """A model with images to fit to and images to measure on."""

    load: Callable[[], tuple[Classifier, Tensor]]
    """Gives the model and all images."""
    fit: int
    """How many images are fitted to; the rest is measured on."""
    eps: tuple[float, ...]
    """Budgets in Linf, the first of which the others' methods are given too."""
    steps: int
    """Of a fit."""
    passes: int = 1
    """Of the other methods through the images at most; 0: they are left out."""


def _small(load: Callable[[], Any]) -> Callable[[], tuple[Classifier, Tensor]]:
    return lambda: (load().model, load().x)


def _photographs(model: Classifier) -> tuple[Classifier, Tensor]:
    pictures = photographs()
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0)).tolist()
    return model, cut_for(model, [pictures[number] for number in order])


def _shared(name: str, size: int, resize: int) -> Callable[[], tuple[Classifier, Tensor]]:
    return lambda: _photographs(shared_classifier(name, size, resize))


_SIZES = tuple(size / 255 for size in (10, 8, 6, 4))
NETS = {
    "mnist-lenet5-clean": Net(_small(mnist("mnist-lenet5-clean", 1000)), 500, (0.2, 0.1), 300),
    "mnist-conv-small-clean": Net(_small(mnist("mnist-conv-small-clean", 1000)), 500, (0.2, 0.1), 300),
    "cifar10-resnet20": Net(_small(cifar10("cifar10-resnet20", 1000)), 500, (8 / 255, 4 / 255), 300),
    "imagenet-mobilenet_v1-0.5-160": Net(_shared("imagenet-mobilenet_v1-0.5-160", 160, 183), 400, _SIZES, 450, 0),
    "imagenet-squeezenet1_0": Net(_shared("imagenet-squeezenet1_0-deepcompression", 227, 256), 400, _SIZES, 450, 0),
    "efficientnet_lite0": Net(lambda: _photographs(load_model("efficientnet_lite0")), 400, _SIZES, 450, 0),
}


class Shuffled:
    """Images in batches, in another order in each pass."""

    def __init__(self, x: Tensor, size: int = 16) -> None:
        self.x, self.size, self.epoch = x, size, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(self.epoch))
        return iter(self.x[order].split(self.size))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.universal", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NET", choices=NETS, help="networks to fit to")
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", choices=(NOISE, OURS, ORIGINAL, ART), help="default: all"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="of each fit, in place of the table's")
    parser.add_argument("--first", action="store_true", help="the first budget of each network alone")
    parser.add_argument("--page", action="store_true", help="measure nothing but transfer, and write the page again")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=REPORT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.out / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rates": {}, "transfer": {}}
    for name in [] if options.page else options.only or NETS:
        model, x = NETS[name].load()
        for eps in NETS[name].eps[: 1 if options.first else None]:
            for method, fit in _methods(NETS[name], eps, options.steps).items():
                if options.methods and method not in options.methods:
                    continue
                _say(f"{name}, eps {eps:.3g}: {method}")
                start = time.process_time()
                found = fit(model, x[: NETS[name].fit])
                seconds = time.process_time() - start
                counts = _counts(model, x[NETS[name].fit :], found)
                row = {"net": name, "eps": eps, "method": method, "seconds": seconds, **counts._asdict()}
                row |= {"steps": options.steps or NETS[name].steps} if method == OURS else {}
                results["rates"][f"{name} {eps:.4f} {method}"] = row
                if method == OURS and eps == NETS[name].eps[0]:
                    options.out.mkdir(parents=True, exist_ok=True)
                    found.save(options.out / f"{name}.safetensors")
                    (options.out / f"{name}.png").write_bytes(as_png(as_perturbation(found.delta)))
                _write(options.out, results)
    results["transfer"] = _transfer(options.out)
    _write(options.out, results)


def _methods(net: Net, eps: float, steps: int | None) -> dict[str, Callable[[Classifier, Tensor], Perturbation]]:
    def noise(model: Classifier, x: Tensor) -> Perturbation:
        signs = torch.randn(x[0].shape, generator=torch.Generator().manual_seed(0)).sign()
        return Perturbation(delta=eps * signs, norm=Linf(), eps=eps)

    def ours(model: Classifier, x: Tensor) -> Perturbation:
        attack = UniversalPerturbation(eps=eps, steps=steps or net.steps)
        return attack.fit(fast(model, x[:4]), Shuffled(x)).on_grid()

    def original(model: Classifier, x: Tensor) -> Perturbation:
        return UniversalDeepFool(eps=eps, passes=net.passes).fit(model, Shuffled(x)).on_grid()

    methods = {NOISE: noise, OURS: ours}
    if net.passes and eps == net.eps[0]:
        methods[ORIGINAL] = original
        if _has_art():
            methods[ART] = lambda model, x: _art(model, x, eps, net.passes)
    return methods


def _has_art() -> bool:
    from importlib.util import find_spec

    return find_spec("art") is not None


def _art(model: Classifier, x: Tensor, eps: float, passes: int) -> Perturbation:
    """ART's universal perturbation with DeepFool inside, its default; the images are those it is fitted to."""
    from art.attacks.evasion import UniversalPerturbation as Theirs
    from art.estimators.classification import PyTorchClassifier

    shape, loss = tuple(x.shape[1:]), torch.nn.CrossEntropyLoss()
    victim = PyTorchClassifier(model, loss=loss, input_shape=shape, nb_classes=model.num_classes, clip_values=(0, 1))
    attack = Theirs(victim, attacker="deepfool", eps=eps, norm="inf", max_iter=passes, verbose=False)
    attack.generate(x.numpy())
    return Perturbation(delta=Linf().project(torch.from_numpy(attack.noise).float(), eps)[0], norm=Linf(), eps=eps)


def _counts(model: Classifier, x: Tensor, found: Perturbation) -> Fooled:
    return fooled(model, x.split(50), found.apply)


def _transfer(folder: Path) -> dict[str, dict[str, Any]]:
    """Each perturbation on the images of each other network of the same kind, resized where needed."""
    table: dict[str, dict[str, Any]] = {}
    there = [name for name in NETS if (folder / f"{name}.safetensors").exists()]
    for target in there:
        model, x = NETS[target].load()
        rest = x[NETS[target].fit :]
        for source in there:
            if _kind(source) != _kind(target):
                continue
            found = Perturbation.load(folder / f"{source}.safetensors").resized(*rest.shape[2:])
            table.setdefault(source, {})[target] = _counts(model, rest, found)._asdict()
    return table


def _kind(name: str) -> str:
    return name.partition("-")[0].replace("efficientnet_lite0", "imagenet")


_HEAD = """# Universal perturbations

Made by `python -m tests.peers.universal`; the numbers are in `results.json`.

One perturbation for all images, fitted to some and measured on the rest: how often the first class is no longer that
of the clean image (the fooling rate), with a 95 % interval, and the class that most perturbed images are put into. The
loss for models of few classes was chosen on the very images that the rows of MNIST and CIFAR-10 are measured on, which
makes those rates somewhat too high. Perturbations are in whole steps of 1/255, those of ART excepted. **Seconds**
are of the processor, on one machine that did other work too, and comparable by their ratio only.

"""


def _page(results: dict[str, Any]) -> str:
    lines = ["| Model | Linf eps | Method | Fooled | Interval, % | Most frequent class | Seconds |"]
    lines += ["|---|--:|---|--:|--:|--:|--:|"]
    for row in results["rates"].values():
        share = Proportion(row["changed"], row["images"])
        shown = f"{row['eps']:g}" if round(row["eps"], 2) == row["eps"] else f"{row['eps'] * 255:g}/255"
        most = f"{row['classes'][0][0]}: {row['classes'][0][1] / row['images']:.0%}"
        method = f"{row['method']}, {row['steps']} steps" if "steps" in row else row["method"]
        cells = (row["net"], shown, method, f"{share.percent} ({share.counts})", share.interval, most)
        lines.append(f"| {' | '.join(cells)} | {row['seconds']:.1f} |")
    lines += ["", "## Transfer", "", "Fitted to the model of the row, put before the model of the column.", ""]
    columns = list(results["transfer"])
    lines += [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    for source, found in results["transfer"].items():
        cells = [f"{found[c]['changed'] / found[c]['images']:.1%}" if c in found else "" for c in columns]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    pictures = [f"![Scaled perturbation]({name}.png) *{name}*" for name in columns]
    return _HEAD + "\n".join([*lines, "", "## What they look like", "", *pictures]) + "\n"


def _write(folder: Path, results: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_page(results), encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

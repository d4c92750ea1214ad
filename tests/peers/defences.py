"""`adaptive` on planted defences that hide a gradient: `python -m tests.peers.defences`.

The networks and images are in the folder `shared` next to the repository. Results are saved as they come, so the
command can be interrupted; `--again` repeats them. AutoAttack takes minutes for each defence: `--autoattack N` runs it
on the first N images.
"""

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.peers.machine import processor, processors
from tests.peers.report import Report, add_shared, parser_for, say

IMAGES = 100
PASSES = 20
"""Number of passes over which a random model is judged."""
NETWORKS = (("cifar10-cnn-a-adv", 2 / 255), ("mnist-lenet5-adv-linf0.3", 0.3))
NOT_THERE = {"mnist-lenet5-adv-linf0.3": ("k-winners", "mean sparse", "sign", "dropout")}
"""Network that calls its activations as functions -> defences it cannot get, because they replace modules."""
HEALTHY = (
    *(("mnist-cnn-a-adv", 0.3), ("mnist-kw-linf0.1", 0.1), ("mnist-mlp-clean", 0.1), ("mnist-conv-small-clean", 0.1)),
    *(("mnist-lenet5-clean", 0.1), ("mnist-lenet5-adv-linf0.3", 0.3), ("cifar10-cnn-a-adv", 2 / 255)),
    *(("cifar10-cnn-a-mix", 2 / 255), ("cifar10-resnet2b-adv2", 2 / 255), ("cifar10-kw-linf8", 8 / 255)),
    *(("cifar10-kw-l2-36", 2 / 255), ("cifar10-resnet20", 1 / 255), ("cifar10-resnet32", 1 / 255)),
)
"""Networks without a defence, and eps."""
HEALTHY_IMAGES = 20
UNDEFENDED = "none"

_HEAD = """# Defences that hide a gradient

Made by `python -m tests.peers.defences`; the numbers are in `defences.json`.

Each defence is planted around a network (`tests/support/tricks.py`), which is attacked on the first {images} test
images, including misclassified ones. **Undefended** is `standard` on the network alone, **adaptive** is
`attacks.Adaptive` on the defended one: the share of images that the model itself still classifies correctly, averaged
over {passes} passes if it is random. **Clean** is the defended model's accuracy without an attack. **PGD** is its
accuracy under 40 steps of PGD with the gradient that the defended model provides: this is what many papers report, and
what `adaptive` should be compared with. **Time** is the processor time of `adaptive` divided by that of `standard` on
the undefended network; **pass** is that of a forward and backward pass of the defended model divided by that of the
undefended network. **Flags** are those that a run with any attack raises. **AutoAttack** is `pyautoattack`, version
"standard", on the given number of first images; "fails" means that it ended in an error. Empty cells have not been
measured; `python -m tests.peers.defences` continues where it was interrupted. Other programs used most of the processor
at the same time, which makes the times noisy. Measured on {processor}.

Three of these are small copies of published defences: `k-winners` (Xiao et al., 2020), `thermometer` (Buckman et al.,
2018) and `jpeg` (Guo et al., 2018), here on networks that were not trained with them. Papers reported robust accuracy
under the model's own gradient, as in the column PGD; Athalye et al. (2018) broke the last two and Tramer et al. (2020)
the first, with attacks written for each. If a defence makes the network worse on clean images, its robust accuracy may
be below the undefended one. Defences that replace activations are only planted in networks that have these as modules.
"""
_COLUMNS = """
## {network}, eps {eps:.4f}

| Defence | Clean | PGD | Undefended | Adaptive | Difference | Time | Pass | Flags | AutoAttack | Its messages |
|---|--:|--:|--:|--:|--:|--:|--:|---|--:|---|
"""
_HEALTHY = """
## Networks that hide nothing

`adaptive` compared with `standard` on the first {images} images.

| Network | Robust: standard | adaptive | Same images | Time | Flags E or F |
|---|--:|--:|---|--:|---|
"""


def main() -> None:
    parser = parser_for("defences", __doc__)
    parser.add_argument("--only", nargs="+", metavar="DEFENCE", help="only these defences, or `healthy`")
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="only around these networks")
    add_shared(parser, "--again")
    parser.add_argument("--autoattack", type=int, metavar="N", default=0, help="run AutoAttack on the first N images")
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "defences", _page)
    if options.page:
        report.rewrite_page()
        return
    results = report.stored()
    for name, key, measure in _jobs(options):
        entry = results.setdefault(name, {})
        if key in entry and not options.again:
            continue
        entry[key] = measure() | {"processor": processor()}
        say(name, key, {k: v for k, v in entry[key].items() if k != "robust"})
        report.save(results)


def _jobs(options: argparse.Namespace) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Measurements to make: name of the row, key of the number, and the function that measures it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
    import torch
    from tricks import DETERMINISTIC, RANDOM

    torch.set_num_threads(1)
    tricks = {UNDEFENDED: lambda net: net} | DETERMINISTIC | RANDOM
    chosen = [name for name in tricks if not options.only or name in options.only]
    networks = [pair for pair in NETWORKS if not options.networks or pair[0] in options.networks]
    for network, eps in networks:
        for trick in (each for each in chosen if each not in NOT_THERE.get(network, ())):
            name, target = f"{network} {trick}", _planted(network, tricks[trick], IMAGES)
            yield name, "adaptive", lambda target=target, eps=eps, trick=trick: _attacked(target, eps, trick)
            bare = _planted(network, tricks[UNDEFENDED], IMAGES)
            yield name, "plain", lambda target=target, eps=eps, bare=bare: _plainly(target, eps, bare)
    for network, eps in HEALTHY if not options.only or "healthy" in options.only else ():
        target = _planted(network, tricks[UNDEFENDED], HEALTHY_IMAGES)
        yield f"healthy {network}", "adaptive", lambda target=target, eps=eps: _healthy(target, eps)
    for network, eps in networks if options.autoattack else ():
        for trick in (each for each in chosen if each not in NOT_THERE.get(network, ())):
            target = _planted(network, tricks[trick], options.autoattack)
            yield f"{network} {trick}", "autoattack", lambda target=target, eps=eps: _by_autoattack(target, eps)


def _planted(network: str, trick: Callable[[Any], Any], images: int) -> Callable[[], Any]:
    """Function that loads a defended network with images and labels."""

    def load() -> Any:
        from tests.peers.victims import cifar10, mnist

        target = (cifar10 if network.startswith("cifar10") else mnist)(network, images)()
        target.model.eval().requires_grad_(False)
        return target._replace(model=trick(target.model))

    return load


def _attacked(load: Callable[[], Any], eps: float, trick: str) -> dict[str, Any]:
    from attacks import Adaptive, Standard, Untargeted

    target = load()
    goal, start = Untargeted(target.y), time.process_time()
    if trick == UNDEFENDED:
        x_adv, found = Standard()(target.model, target.x, goal, eps=eps), []
    else:
        report = Adaptive().report(target.model, target.x, goal, eps=eps)
        x_adv, found = report.x_adv, [*report.findings, *map(str, report.tried)]
    seconds = time.process_time() - start
    robust, clean = (_accuracy(target.model, images, target.y) for images in (x_adv, target.x))
    return {"clean": clean, "robust": robust, "seconds": seconds, "found": found, "flags": _flags(target)}


def _plainly(load: Callable[[], Any], eps: float, bare: Callable[[], Any]) -> dict[str, Any]:
    """Robust accuracy under PGD with the model's own gradient, and the cost of a pass relative to the bare network."""
    from attacks import PGD, Untargeted
    from attacks.queries.derivatives import NoGradientError

    target, other = load(), bare()
    try:
        x_adv = PGD(steps=40)(target.model, target.x, Untargeted(target.y), eps=eps)
    except (NoGradientError, ValueError):  # no gradient, or probabilities as outputs: PGD leaves the clean images
        x_adv = target.x
    ratio = min(_pass(target) for _ in range(5)) / min(_pass(other) for _ in range(5))
    return {"robust": _accuracy(target.model, x_adv, target.y), "pass": ratio}


def _pass(target: Any) -> float:
    """Processor seconds of a forward pass, and of a backward pass if the model has a gradient."""
    x, start = target.x.clone().requires_grad_(), time.process_time()
    logits = target.model(x)
    if logits.requires_grad:
        logits.sum().backward()
    return time.process_time() - start


def _healthy(load: Callable[[], Any], eps: float) -> dict[str, Any]:
    from attacks import Adaptive, Standard, Untargeted

    target, taken, robust = load(), [], []
    for attack in (Standard(), Adaptive(), Adaptive(), Standard()):  # in both orders: the first call warms up
        start = time.process_time()
        x_adv = attack(target.model, target.x, Untargeted(target.y), eps=eps)
        taken.append(time.process_time() - start)
        robust.append((target.model(x_adv).argmax(1) == target.y).nonzero().squeeze(1).tolist())
    seconds = {"standard": min(taken[0], taken[3]), "adaptive": min(taken[1], taken[2])}
    return {"standard": robust[0], "adaptive": robust[1], "seconds": seconds, "flags": _flags(target)}


def _accuracy(model: Any, x: Any, y: Any) -> float:
    """Share of images that the model classifies correctly, averaged over several passes."""
    import torch

    with torch.no_grad():
        torch.manual_seed(0)
        right = [(model(x).argmax(1) == y).float() for _ in range(PASSES)]
    return float(torch.stack(right).mean())


def _flags(target: Any) -> list[str]:
    from advbench.evaluation.checks.model import check_model

    found = check_model(target.model, target.x[:16], target.y[:16], dataset="test", name="planted")
    return [f"{flag.id}" for flag in found if flag.severity in "EF"]


class _Heard(logging.Handler):
    """Collects the warnings of a logger."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _by_autoattack(load: Callable[[], Any], eps: float) -> dict[str, Any]:
    from pyautoattack import AutoAttack

    target, heard, start = load(), _Heard(), time.process_time()
    robust = None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            attack = AutoAttack(target.model, norm="Linf", eps=eps, seed=0)
            attack.logger.addHandler(heard)
            found = attack.run_standard_evaluation(target.x, target.y, batch_size=len(target.x))
            x_adv = found[0] if isinstance(found, tuple) else found
            robust = _accuracy(target.model, x_adv.detach(), target.y)
        except Exception as error:
            heard.said.append(f"{type(error).__name__}: {error}".splitlines()[0])
    says = sorted({" ".join(line.split()) for line in [*heard.said, *(str(each.message) for each in warned)]})
    seconds = time.process_time() - start
    return {"robust": robust, "images": len(target.x), "seconds": seconds, "says": says}


def _page(results: dict[str, Any]) -> str:
    measured = (part for entry in results.values() for part in entry.values())
    page = _HEAD.format(images=IMAGES, passes=PASSES, processor=processors(measured))
    for network, eps in NETWORKS:
        rows = {name.removeprefix(f"{network} "): entry for name, entry in results.items() if name.startswith(network)}
        twin = rows.pop(UNDEFENDED, {}).get("adaptive")
        if twin:
            page += _COLUMNS.format(network=network, eps=eps)
            page += "".join(_row(trick, entry, twin) for trick, entry in rows.items() if "adaptive" in entry)
    healthy = {
        name.removeprefix("healthy "): e["adaptive"] for name, e in results.items() if name.startswith("healthy")
    }
    if healthy:
        page += _HEALTHY.format(images=HEALTHY_IMAGES)
        page += "".join(_healthy_row(network, entry) for network, entry in healthy.items())
    return page


def _row(trick: str, entry: dict[str, Any], twin: dict[str, Any]) -> str:
    ours, theirs = entry["adaptive"], entry.get("autoattack")
    reference, says = "", ""
    if theirs:
        robust = "fails" if theirs["robust"] is None else f"{theirs['robust']:.0%}"
        reference = f"{robust} of {theirs['images']}"
        says = "; ".join(line[:90].replace("|", "/") for line in theirs["says"]) or "none"
    plain = entry.get("plain")
    under_pgd, costs = (f"{plain['robust']:.1%}", f"{plain['pass']:.1f}") if plain else ("", "")
    return (
        f"| {trick} | {ours['clean']:.1%} | {under_pgd} | {twin['robust']:.1%} | {ours['robust']:.1%} "
        f"| {100 * (ours['robust'] - twin['robust']):+.1f} | {ours['seconds'] / twin['seconds']:.1f} | {costs} "
        f"| {', '.join(dict.fromkeys(ours['flags']))} | {reference} | {says} |\n"
    )


def _healthy_row(network: str, entry: dict[str, Any]) -> str:
    taken = entry["seconds"]
    same = "yes" if entry["standard"] == entry["adaptive"] else "no"
    counts = " | ".join(f"{len(entry[name]) / HEALTHY_IMAGES:.0%}" for name in ("standard", "adaptive"))
    flags = ", ".join(entry["flags"]) or "none"
    return f"| {network} | {counts} | {same} | {taken['adaptive'] / taken['standard']:.2f} | {flags} |\n"


if __name__ == "__main__":
    main()

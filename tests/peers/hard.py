"""Images that attacks miss: `python -m tests.peers.hard`.

The folder `shared` next to the repository lists digits for which complete verification has proved that an adversarial
image exists, so the best possible result is all of them. Each attack gets them in one batch, on one thread. The other
parts are images of several networks that `standard` leaves: the first ones, and those that it comes nearest to fooling,
about which nothing is proved, and some that another attack has broken.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.peers.autoattack import in_one_call
from tests.peers.report import Report, add_shared, parser_for, say

Eps = float | list[float]
"""One eps for all images, or one for each."""


LEFT = (
    ("mnist-conv-small-clean", 0.1, 0, 20),
    ("mnist-kw-linf0.1", 0.1, 0, 20),
    ("cifar10-cnn-a-adv", 2 / 255, 0, 20),
    ("mnist-cnn-a-adv", 0.3, 200, 40),
)
"""Model, eps in Linf, the first test image to try, and how many to take of those that `standard` leaves."""
NEAR = (
    ("mnist-cnn-a-adv", 0.3, 2600, 24),
    ("mnist-conv-small-clean", 0.1, 2000, 24),
)
"""Model, eps in Linf, how many test images to try, and how many to take of those that `standard` nearly fools."""
SHOWN = (("mnist-cnn-a-adv", 100, 6), ("cifar10-cnn-a-adv", 100, 6))
"""Model, how many images of `reports/peers/optimality.md` to try, and the most to take of those `standard` leaves."""
TIGHT = 1.001
"""The eps of an image in this part, as a multiple of the smallest size that any attack found."""
LEFT_OUT = {
    "proved": (),
    "left": ("standard",),
    "near": ("standard",),
    "shown": ("standard", "AutoAttack", "Foolbox PGD, 200 steps, 10 times"),
}
"""Part -> contenders left out: `standard`, which chose the images, and those that take one eps for all images."""
BLOCK = 100
"""Number of images that `standard` gets at a time."""

_HEAD = """# Hard images

Made by `python -m tests.peers.hard`; the numbers are in `hard.json`.

Complete verification has shown that each of these images can be broken, so the best possible result is all of them.
**Broken** is decided by a fresh forward pass of the model, within the budget and [0, 1]. **Seconds** are processor time
on one thread; **passes** are averaged over the images.

| Model | Attack | Broken | Seconds | Forward passes | Backward passes |
|---|---|--:|--:|--:|--:|
"""

_LEFT_HEAD = """
## Images that `standard` leaves

These are the first test images, in the range given, that `standard` does not fool within eps in Linf. Nothing is proved
about them: it is not known whether any of them can be broken. No setting of `thorough` was chosen on them.

| Model | eps | Test images | Left | Attack | Broken | Seconds | Forward passes | Backward passes |
|---|--:|--:|--:|---|--:|--:|--:|--:|
"""

_NEAR_HEAD = """
## Images that `standard` comes nearest to fooling

Among the given number of first test images, these are the ones that `standard` does not fool but comes closest to
fooling: the margin at its best point is the smallest fraction of the clean image's. Images of the first table are left
out. Nothing is proved about them, and no setting of `thorough` was chosen on them.

| Model | eps | Test images | Nearest | Attack | Broken | Seconds | Forward passes | Backward passes |
|---|--:|--:|--:|---|--:|--:|--:|--:|
"""

_SHOWN_HEAD = """
## Images known to be breakable that `standard` leaves

Each of these images can be broken: an attack did so with about a thousand passes. They are images of `optimality.md`,
each with its own eps in Linf, 0.1 % above the smallest size that any attack found there. The table covers the first
ones that `standard` does not break, among the given number of images; a network on which it breaks all of them has no
row. No setting of `thorough` was chosen on them.

| Model | eps | Test images | Left | Attack | Broken | Seconds | Forward passes | Backward passes |
|---|--:|--:|--:|---|--:|--:|--:|--:|
"""


def main() -> None:
    parser = parser_for("hard", __doc__)
    parser.add_argument(
        "--list", type=Path, metavar="FILE", help="proved images; default: models/hard.json of `shared`"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="attacks to run; other results are kept")
    parser.add_argument("--part", choices=("proved", "left", "near", "shown"), help="default: all")
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="for the parts whose images `standard` chooses")
    parser.add_argument("--seed", type=int, default=0)
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "hard", _page)
    if options.page:
        report.rewrite_page()
        return
    results = {"proved": {}, "left": {}, "near": {}, "shown": {}} | report.stored()
    for part, model, entry in _entries(options, results):
        found = results[part].setdefault(model, {})
        if part != "proved":
            if found.get("entry") != entry:  # the images have changed
                found |= {"entry": entry, "attacks": {}}
            found = found["attacks"]
        for name, call in _contenders().items() if entry["indices"] else ():
            if (options.only and name not in options.only) or name in LEFT_OUT[part]:
                continue
            found[name] = run = _measure(model, entry, call, options.seed)
            say(f"{name} on {model}: {run['broken']} of {run['images']}")
            report.save(results)


def _entries(options: argparse.Namespace, before: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Part of the page, model, and the images to attack."""
    from tests.peers.victims import SHARED

    listed = json.loads((options.list or SHARED / "models/hard.json").read_text(encoding="utf-8"))
    if options.part in (None, "proved"):
        yield from (("proved", model, entry) for model, entry in listed.items())
    asked = [("left", model, {"eps": eps, "first": first, "count": count}) for model, eps, first, count in LEFT]
    asked += [("near", model, {"eps": eps, "images": images, "count": count}) for model, eps, images, count in NEAR]
    asked += [("shown", model, {"images": images, "most": most}) for model, images, most in SHOWN]
    for part, model, entry in asked:
        if options.list or options.part not in (None, part) or (options.models and model not in options.models):
            continue
        entry = {"norm": "linf", **entry}
        kept = before[part].get(model, {}).get("entry", {})
        if not entry.items() <= kept.items():
            proved = listed.get(model, {}).get("indices", [])
            choose = {"left": _first, "shown": partial(_shown, options.out)}.get(part, partial(_nearest, proved))
            kept = entry | choose(model, entry)
        yield part, model, kept


def _first(model: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The first images that `standard` leaves, and the number of the last of them."""
    indices: list[int] = []
    last = entry["first"]
    while len(indices) < entry["count"]:
        indices += _of_block(model, last, entry["eps"])
        last += BLOCK
    indices = indices[: entry["count"]]
    return {"indices": indices, "last": indices[-1]}


def _nearest(proved: list[int], model: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Those of the first images that `standard` comes nearest to fooling but leaves, without those listed as proved."""
    margins: dict[int, float] = {}
    for first in range(0, entry["images"], BLOCK):
        margins |= _of_block(model, first, entry["eps"])
    candidates = sorted(set(margins) - set(proved), key=margins.__getitem__)
    return {"indices": candidates[: entry["count"]]}


def _shown(out: Path, model: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The first images of `optimality.json` that `standard` leaves at an eps just above the smallest known size."""
    import torch

    from tests.peers.victims import VICTIMS

    runs = json.loads((out / "optimality.json").read_text(encoding="utf-8"))["runs"][model]["linf"]
    known = [run["sizes"] for run in runs.values() if "sizes" in run]
    found = [min((size for size in sizes if size), default=None) for sizes in zip(*known, strict=True)]
    loaded = VICTIMS[model].load()
    with torch.no_grad():
        right = (loaded.model(loaded.x).argmax(1) == loaded.y).nonzero().squeeze(1)[: entry["images"]].tolist()
    eps = {row: TIGHT * size for row, size in zip(right, found, strict=False) if size}
    left = _by_standard(model, list(eps), list(eps.values()))
    indices = [row for row in eps if row in left][: entry["most"]]
    return {"indices": indices, "count": len(indices), "eps": [eps[row] for row in indices]}


def _of_block(model: str, first: int, eps: float) -> dict[int, float]:
    """Images of a block that `standard` leaves -> margins as in :func:`_by_standard`."""
    return _by_standard(model, list(range(first, first + BLOCK)), eps)


def _by_standard(model: str, images: list[int], eps: Eps) -> dict[int, float]:
    """Images that `standard` leaves -> margin at the best point, as a fraction of the clean image's."""
    import torch

    from attacks import Standard, Untargeted
    from attacks.goals import met

    torch.set_num_threads(1)
    rows = torch.tensor(images)
    target = _target(model, max(images) + 1)
    x, goal = target.x[rows], Untargeted(target.y[rows], ids=rows)
    x_adv = Standard()(target.model, x, goal, eps=_radius(eps))
    with torch.no_grad():
        logits = target.model(x_adv)
        share = goal.margin(logits) / goal.margin(target.model(x))
    left = ~met(goal, logits)
    return dict(zip(rows[left].tolist(), share[left].tolist(), strict=True))


def _radius(eps: Eps) -> Any:
    """Eps as an attack takes it: a number, or a tensor (N,)."""
    import torch

    return torch.tensor(eps) if isinstance(eps, list) else eps


def _target(model: str, images: int) -> Any:
    from tests.peers.victims import cifar10, mnist

    return (cifar10 if model.startswith("cifar10") else mnist)(model, images)()


def _contenders() -> dict[str, Callable[..., Any]]:
    """Attack -> call `(model, x, goal, eps, seed) -> x_adv`; libraries that are not installed are left out."""
    from importlib.util import find_spec

    import torch

    import attacks

    def foolbox_pgd(model: Any, x: Any, goal: Any, eps: float, seed: int) -> Any:
        import foolbox

        class Asked(torch.nn.Module):
            """The model as a module, which Foolbox requires."""

            def forward(self, x: Any) -> Any:
                return model(x)

        attack = foolbox.attacks.LinfPGD(steps=200).repeat(10)
        victim = foolbox.PyTorchModel(Asked().eval(), bounds=(0, 1), device="cpu")
        return attack(victim, x, goal.labels, epsilons=eps)[1]

    def autoattack(model: Any, x: Any, goal: Any, eps: float, seed: int) -> Any:
        return in_one_call(model, x, goal.labels, eps=eps, seed=seed)

    def ours(attack: attacks.BudgetAttack) -> Callable[..., Any]:
        return lambda model, x, goal, eps, seed: attack(model, x, goal, eps=eps, seed=seed)

    calls = {"Foolbox PGD, 200 steps, 10 times": foolbox_pgd, "AutoAttack": autoattack}
    if not find_spec("pyautoattack"):
        del calls["AutoAttack"]
    return calls | {name: ours(attacks.ATTACKS[name]()) for name in ("standard", "thorough") if name in attacks.ATTACKS}


def _measure(model: str, entry: dict[str, Any], call: Callable[..., Any], seed: int) -> dict[str, Any]:
    """How many images of an entry an attack breaks, and at what cost."""
    import torch

    from advbench.evaluation.judge import judge
    from advbench.evaluation.meter import Meter
    from attacks import NORMS, Untargeted

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rows = torch.tensor(entry["indices"])
    target = _target(model, int(rows.max()) + 1)
    x, eps = target.x[rows], _radius(entry["eps"])
    goal = Untargeted(target.y[rows], ids=rows)
    metered, start = Meter(target.model, rows), time.process_time()
    x_adv = call(metered, x, goal, eps, seed)
    seconds = time.process_time() - start
    met = judge(target.model, x, x_adv.detach(), goal, NORMS[entry["norm"]](), eps).met
    return {
        "images": len(rows),
        "eps": entry["eps"],
        "broken": int(met.sum()),
        "left": rows[~met].tolist(),
        "seconds": seconds,
        "forwards": metered.forwards.mean().item(),
        "backwards": metered.backwards.mean().item(),
        "seed": seed,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def _page(results: dict[str, Any]) -> str:
    lines = [
        f"| {model} {_cells(name, run)}" for model, runs in results["proved"].items() for name, run in runs.items()
    ]
    heads = {"left": _LEFT_HEAD, "near": _NEAR_HEAD, "shown": _SHOWN_HEAD}
    return (
        _HEAD + "".join(lines) + "".join(head + _rows(results[part]) for part, head in heads.items() if results[part])
    )


def _rows(part: dict[str, Any]) -> str:
    """The rows of a part whose images `standard` chose."""
    rows = []
    for model, found in part.items():
        entry = found["entry"]
        images = f"{entry['images']:,}" if "images" in entry else f"{entry['first']} to {entry['last']}"
        eps = entry["eps"]
        shown = f"{min(eps):.4f} to {max(eps):.4f}" if isinstance(eps, list) else f"{eps:.4f}"
        cells = f"| {model} | {shown} | {images} | {entry['count']} "
        rows += [cells + _cells(name, run) for name, run in found["attacks"].items()]
    return "".join(rows)


def _cells(name: str, run: dict[str, Any]) -> str:
    """The last columns of a row."""
    return (
        f"| {name} | {run['broken']} of {run['images']} | {run['seconds']:.0f} "
        f"| {run['forwards']:,.0f} | {run['backwards']:,.0f} |\n"
    )


if __name__ == "__main__":
    main()

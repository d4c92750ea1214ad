"""`standard` beside AutoAttack on every small model there is: `python -m tests.peers.standard`.

The models and images lie in the folder `shared` beside the repository. AutoAttack takes minutes for each model; what it
found is kept, and only `--again` runs it once more.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from tests.peers.commands import processor

REPORT = Path(__file__).parents[2] / "reports" / "peers"
IMAGES = 200

CASES = (
    ("mnist-cnn-a-adv", "linf", 0.3, IMAGES),
    ("mnist-kw-linf0.1", "linf", 0.1, IMAGES),
    ("mnist-conv-small-clean", "linf", 0.1, IMAGES),
    ("mnist-mlp-clean", "linf", 0.1, IMAGES),
    ("cifar10-cnn-a-adv", "linf", 2 / 255, IMAGES),
    ("cifar10-cnn-a-mix", "linf", 2 / 255, IMAGES),
    ("cifar10-resnet2b-adv2", "linf", 2 / 255, IMAGES),
    ("cifar10-kw-linf8", "linf", 8 / 255, IMAGES),
    ("cifar10-kw-l2-36", "l2", 36 / 255, IMAGES),
    ("cifar10-resnet20", "linf", 1 / 255, IMAGES),
    ("cifar10-resnet32", "linf", 1 / 255, IMAGES),
    ("mnist-lenet5-clean", "linf", 0.1, IMAGES),
    ("mnist-lenet5-adv-linf0.3", "linf", 0.3, IMAGES),
    ("mnist-mlp-clean", "l2", 1.0, IMAGES),
    ("mnist-mlp-clean", "l1", 8.0, IMAGES),
    ("cifar10-cnn-a-adv", "l2", 0.25, 100),
    ("cifar10-cnn-a-adv", "l1", 6.0, 100),
)
"""Model, norm, eps and how many images. Linf, and L2 once: what the model was trained for where it was trained for any,
the most expensive last. Then other norms."""

LARGER = (("efficientnet_lite0", "linf", 1 / 255, 8),)
"""The same for photographs, right ones alone."""
WITH_FORM = ("cifar10-resnet20 linf", "efficientnet_lite0 linf")
"""Cases in which `standard` is also run on `attacks.fast(model, x)`."""
_FORM = """
## With the faster form of the network

The same, with `standard` on `attacks.fast(model, x)`: gradients come from the form that is fastest here, verdicts
from the network.

| Model | Images | Form | Robust: AutoAttack | standard | with form | Seconds: standard | with form | AutoAttack |
|---|--:|---|--:|--:|--:|--:|--:|--:|
"""

_HEAD = """# The standard verdict

Made by `python -m tests.peers.standard`; the numbers are in `standard.json`.

The first test images, misclassified ones included, in one batch on one thread. **Robust accuracy** is what
a fresh forward pass of the model says; lower is stronger. **Seconds** are of the processor. **Ratio** is
AutoAttack's time divided by that of `standard`. **Passes**, forward and backward, are a mean over all images, and over
those that `standard` does not fool; counting them is part of its seconds. AutoAttack is `pyautoattack` {version},
version "standard". It is run once for each model and its numbers are kept, so that the two may have been measured on
different days; where the processor had more to do on the day of `standard`, the ratio is too low. Measured on
{processor}.

| Model | Norm | eps | Images | Robust: AutoAttack | standard | Time: AutoAttack | standard | Ratio | Passes | robust |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.standard", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="models whose names begin so")
    parser.add_argument("--again", action="store_true", help="run AutoAttack, too, where its numbers are there")
    parser.add_argument("--reference", action="store_true", help="run AutoAttack alone, where it has not been run")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=REPORT)
    options = parser.parse_args()
    # read when torch is imported; threads that spin while they wait disturb every measurement
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    path = options.out / "standard.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for model, norm, eps, images in (*CASES, *LARGER):
        name = f"{model} {norm}"
        if options.only and not any(name.startswith(only) for only in options.only):
            continue
        entry, case = results.get(name, {}), {"norm": norm, "eps": eps, "images": images}
        if not case.items() <= entry.items():  # measured at other settings
            entry = results[name] = case | {"processor": processor()}
        if options.again or "autoattack" not in entry:
            entry["autoattack"] = _measure(_target(model, images), norm, eps, _autoattack)
        if not options.reference:
            entry["standard"] = _measure(_target(model, images), norm, eps, _standard)
        if not options.reference and name in WITH_FORM:
            target = _target(model, images)
            quick = _faster(target)
            entry["fast"] = {"form": quick.form, **_measure(target._replace(model=quick), norm, eps, _standard)}
        print(_row(name, entry), file=sys.stderr, flush=True)
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (options.out / "standard.md").write_text(_page(results), encoding="utf-8")


def _target(model: str, images: int) -> Any:
    from tests.peers.victims import VICTIMS, cifar10, mnist

    if model in {name for name, *_ in LARGER}:
        return VICTIMS[model].target(images)
    return (cifar10 if model.startswith("cifar10") else mnist)(model, images)()


def _faster(target: Any) -> Any:
    """The model with its fastest form beside."""
    import torch

    from attacks import fast

    torch.set_num_threads(1)
    return fast(target.model, target.x[:32])


def _measure(target: Any, norm: str, eps: float, call: Callable[..., Any]) -> dict[str, Any]:
    """The images that an attack leaves, the seconds that it takes, and its passes for each image."""
    import torch

    from advbench.evaluation.judge import judge
    from advbench.evaluation.meter import Meter
    from attacks import NORMS, Untargeted

    torch.set_num_threads(1)
    goal = Untargeted(target.y)
    # AutoAttack's rows bear no ids, so that its passes cannot be told apart
    victim = Meter(target.model, goal.ids) if call is _standard else target.model
    start = time.process_time()
    x_adv = call(victim, target.x, goal, norm, eps)
    seconds = time.process_time() - start
    met = judge(target.model, target.x, x_adv.detach(), goal, NORMS[norm](), eps).met
    found = {"robust": (~met).nonzero().squeeze(1).tolist(), "seconds": seconds}
    return found | ({"passes": (victim.forwards + victim.backwards).tolist()} if victim is not target.model else {})


def _autoattack(model: Any, x: Any, goal: Any, norm: str, eps: float) -> Any:
    from pyautoattack import AutoAttack

    attack = AutoAttack(model, norm=norm.capitalize(), eps=eps, seed=0)
    found = attack.run_standard_evaluation(x, goal.labels, batch_size=len(x))
    return found[0] if isinstance(found, tuple) else found


def _standard(model: Any, x: Any, goal: Any, norm: str, eps: float) -> Any:
    from attacks import NORMS, Standard

    return Standard(norm=NORMS[norm]())(model, x, goal, eps=eps)


def _accuracy(entry: dict[str, Any], name: str) -> str:
    return f"{len(entry[name]['robust']) / entry['images']:.1%}"


def _row(name: str, entry: dict[str, Any]) -> str:
    ours, reference = entry.get("standard"), entry["autoattack"]
    begins = f"| {name.rpartition(' ')[0]} | {entry['norm']} | {entry['eps']:.4f} | {entry['images']}"
    if not ours:
        return f"{begins} | {_accuracy(entry, 'autoattack')} | | {reference['seconds']:.0f} |"
    passes, robust = ours["passes"], ours["robust"]
    left = f"{sum(passes[i] for i in robust) / len(robust):,.0f}" if robust else ""
    return (
        f"{begins} | {_accuracy(entry, 'autoattack')} | {_accuracy(entry, 'standard')} "
        f"| {reference['seconds']:.0f} | {ours['seconds']:.1f} | {reference['seconds'] / ours['seconds']:.1f} "
        f"| {sum(passes) / len(passes):,.0f} | {left} |"
    )


def _page(results: dict[str, Any]) -> str:
    from importlib.metadata import version

    done = {model: entry for model, entry in results.items() if "standard" in entry}
    head = _HEAD.format(version=version("pyautoattack"), processor=processor())
    rows = "".join(f"{_row(model, entry)}\n" for model, entry in done.items())
    if not done:
        return head
    ratios = [entry["autoattack"]["seconds"] / entry["standard"]["seconds"] for entry in done.values()]
    weaker = [model for model, e in done.items() if len(e["standard"]["robust"]) > len(e["autoattack"]["robust"])]
    faster = "".join(map(_form_row, done, done.values()))
    return (
        f"{head}{rows}\nMedian time ratio over {len(done)} models: {median(ratios):.1f}. Models on which `standard` "
        f"leaves more images than AutoAttack: {', '.join(weaker) or 'none'}.\n" + (_FORM + faster if faster else "")
    )


def _form_row(name: str, entry: dict[str, Any]) -> str:
    if "fast" not in entry:
        return ""
    columns = ("autoattack", "standard", "fast")
    robust = " | ".join(_accuracy(entry, column) for column in columns)
    taken = " | ".join(f"{entry[column]['seconds']:.1f}" for column in ("standard", "fast", "autoattack"))
    return f"| {name.rpartition(' ')[0]} | {entry['images']} | {entry['fast']['form']} | {robust} | {taken} |\n"


if __name__ == "__main__":
    main()

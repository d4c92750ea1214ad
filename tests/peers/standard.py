"""`standard` compared with AutoAttack on every small model available: `python -m tests.peers.standard`.

The models and images are in the folder `shared` next to the repository. AutoAttack takes minutes for each model; its
results are kept, and only `--again` repeats them.
"""

import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import fmean, median
from typing import Any

from tests.peers.autoattack import InParts
from tests.peers.machine import processor, processors
from tests.peers.report import Report, add_shared, parser_for, say

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
    ("cifar10-resnet2b-adv2", "l2", 0.15, 100),
    ("cifar10-resnet2b-adv2", "l1", 2.0, 100),
    ("mnist-cnn-a-adv", "l1", 5.0, IMAGES),
)
"""Model, norm, eps and number of images. First Linf, and L2 once: the threat that a model was trained for, if any, the
most expensive last. Then other norms."""

LARGER = (
    ("efficientnet_lite0", "linf", 0.15 / 255, 48),
    ("imagenet-mobilenet_v1-0.5-160", "linf", 0.1 / 255, 48),
    ("imagenet-mobilenet_v1-0.5-160-first-100", "linf", 0.1 / 255, 24),
    ("imagenet-squeezenet1_0-deepcompression", "linf", 0.1 / 255, 48),
)
"""The same for photographs, only those classified correctly, and a thousand classes or the first hundred of those that
the photographs show."""
HUNDRED = "-first-100"
SIDES = {"imagenet-mobilenet_v1-0.5-160": (160, 183), "imagenet-squeezenet1_0-deepcompression": (224, 256)}
"""Network of the folder `shared` -> side of its images, and shorter side of a picture before it is cropped, pixels.
Others are loaded by name."""
_FORM = """
## With the faster form of the network

The same, with `standard` on `attacks.fast(model, x)`: gradients come from the form that is fastest here, verdicts
from the network.

| Model | Norm | Form | Robust: AutoAttack | standard | with form | Seconds: AutoAttack | standard | with form | Ratio |
|---|---|---|--:|--:|--:|--:|--:|--:|--:|
"""

_HEAD = """# The standard verdict

Made by `python -m tests.peers.standard`; the numbers are in `standard.json`.

Both attack the first test images, including misclassified ones, in one batch on one thread. **Robust accuracy** comes
from a fresh forward pass of the model; lower is stronger. **Seconds** are processor time. **Ratio** is AutoAttack's
time divided by that of `standard`. **Passes**, forward and backward, are averaged over all images, and over those that
`standard` does not fool; counting them is included in its seconds. **Only** is the number of images that one fools and
the other does not. AutoAttack is `pyautoattack` {version}, version "standard". With `--again`, both are run in one
process: `standard`, AutoAttack, `standard` again, whose seconds are the mean of the two; otherwise AutoAttack's numbers
are kept from before. `-first-100` means the logits of only a hundred of the network's classes. Measured on {processor}.

| Model | Norm | eps | Images | Robust: AutoAttack | standard | Only: AutoAttack | standard | Time: AutoAttack \
| standard | Ratio | Passes | robust |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""


def main() -> None:
    parser = parser_for("standard", __doc__)
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="models with these prefixes")
    parser.add_argument("--again", action="store_true", help="run AutoAttack even where its numbers are stored")
    parser.add_argument("--reference", action="store_true", help="only run AutoAttack, where it has not been run")
    parser.add_argument(
        "--parts", action="store_true", help="save the results of each attack of AutoAttack, and resume from them"
    )
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "standard", _page)
    if options.page:
        report.rewrite_page()
        return
    options.out.mkdir(parents=True, exist_ok=True)
    results = report.stored()
    for model, norm, eps, images in (*CASES, *LARGER):
        name = f"{model} {norm}"
        if options.only and not any(name.startswith(only) for only in options.only):
            continue
        entry, case = results.get(name, {}), {"norm": norm, "eps": eps, "images": images}
        if not case.items() <= entry.items():  # measured at other settings
            entry = results[name] = case
        target, runs = _target(model, images), []
        if not options.reference:
            runs.append(_measure(target, norm, eps, _standard))
        if options.again or "autoattack" not in entry:
            entry["processor"] = processor()
            parts = InParts(options.out / f"{name}.pt" if options.parts else None)
            entry["autoattack"] = _measure(target, norm, eps, parts)
            entry["autoattack"]["seconds"] += parts.earlier
            entry["autoattack"] |= {"earlier": parts.earlier, "version": version("pyautoattack")}
            if not options.reference:
                runs.append(_measure(target, norm, eps, _standard))
        if runs:
            entry["standard"] = runs[0] | {"seconds": fmean(run["seconds"] for run in runs), "runs": len(runs)}
            quick = _faster(target)
            entry["fast"] = {"form": quick.form, **_measure(target._replace(model=quick), norm, eps, _standard)}
        say(_row(name, entry))
        report.save(results)


def _target(model: str, images: int) -> Any:
    from tests.peers.victims import cifar10, mnist

    if model in {name for name, *_ in LARGER}:
        return _photographs(model, images)
    return (cifar10 if model.startswith("cifar10") else mnist)(model, images)()


def _photographs(model: str, images: int) -> Any:
    """An ImageNet network, or some of its classes, with the first photographs, of twice as many, that it gets right."""
    import torch

    from advbench.models import load_model
    from tests.peers.photographs import cut_for, labels, photographs, shared_classifier
    from tests.peers.victims import Target

    name, y = model.removesuffix(HUNDRED), torch.tensor(labels())
    classes = None if name == model else y.unique()[:100]
    classifier = shared_classifier(name, *SIDES[name], classes) if name in SIDES else load_model(name)
    some = torch.arange(len(y)) if classes is None else torch.isin(y, classes).nonzero().squeeze(1)
    some = some[: 2 * images]
    x = cut_for(classifier, [photographs()[i] for i in some.tolist()])
    y = y[some] if classes is None else torch.searchsorted(classes, y[some])
    with torch.no_grad():
        right = (classifier(x).argmax(1) == y).nonzero().squeeze(1)[:images]
    return Target(classifier, x[right], y[right])


def _faster(target: Any) -> Any:
    """The model in its fastest form for gradients."""
    import torch

    from attacks import fast

    torch.set_num_threads(1)
    return fast(target.model, target.x[:32])


def _measure(target: Any, norm: str, eps: float, call: Callable[..., Any]) -> dict[str, Any]:
    """The images that an attack leaves, its seconds, and its passes for each image."""
    import torch

    from advbench.evaluation.judge import judge
    from advbench.evaluation.meter import Meter
    from attacks import NORMS, Untargeted

    torch.set_num_threads(1)
    goal = Untargeted(target.y)
    # AutoAttack passes no ids, so its passes cannot be attributed to images
    victim = Meter(target.model, goal.ids) if call is _standard else target.model
    start = time.process_time()
    x_adv = call(victim, target.x, goal, norm, eps)
    seconds = time.process_time() - start
    met = judge(target.model, target.x, x_adv.detach(), goal, NORMS[norm](), eps).met
    found = {"robust": (~met).nonzero().squeeze(1).tolist(), "seconds": seconds}
    return found | ({"passes": (victim.forwards + victim.backwards).tolist()} if victim is not target.model else {})


def _standard(model: Any, x: Any, goal: Any, norm: str, eps: float) -> Any:
    from attacks import NORMS, Standard

    return Standard(norm=NORMS[norm]())(model, x, goal, eps=eps)


def _accuracy(entry: dict[str, Any], name: str) -> str:
    return f"{len(entry[name]['robust']) / entry['images']:.1%}"


def _row(name: str, entry: dict[str, Any]) -> str:
    ours, reference = entry.get("standard"), entry["autoattack"]
    begins = f"| {name.rpartition(' ')[0]} | {entry['norm']} | {entry['eps']:.4f} | {entry['images']}"
    if not ours:
        return f"{begins} | {_accuracy(entry, 'autoattack')} | | | | {reference['seconds']:.0f} |"
    passes, robust = ours["passes"], ours["robust"]
    only = [len(set(one["robust"]) - set(other["robust"])) for one, other in ((ours, reference), (reference, ours))]
    left = f"{sum(passes[i] for i in robust) / len(robust):,.0f}" if robust else ""
    return (
        f"{begins} | {_accuracy(entry, 'autoattack')} | {_accuracy(entry, 'standard')} | {only[0]} | {only[1]} "
        f"| {reference['seconds']:.0f} | {ours['seconds']:.1f} | {_ratio(entry, 'standard'):.1f} "
        f"| {sum(passes) / len(passes):,.0f} | {left} |"
    )


def _page(results: dict[str, Any]) -> str:
    done = {model: entry for model, entry in results.items() if "standard" in entry}
    versions = dict.fromkeys(e["autoattack"]["version"] for e in done.values())
    head = _HEAD.format(version=" and ".join(versions), processor=processors(results.values()))
    rows = "".join(f"{_row(model, entry)}\n" for model, entry in done.items())
    if not done:
        return head
    ratios = {name: [_ratio(e, name) for e in done.values() if name in e] for name in ("standard", "fast")}
    weaker = [model for model, e in done.items() if len(e["standard"]["robust"]) > len(e["autoattack"]["robust"])]
    faster = "".join(map(_form_row, done, done.values()))
    missing = [model for model in results if model not in done]
    pieces = [model for model, entry in done.items() if entry["autoattack"].get("earlier")]
    older = [model for model, entry in done.items() if entry["standard"].get("runs", 1) == 1]
    return (
        f"{head}{rows}\nRatio over {len(done)} cases: median {median(ratios['standard']):.1f}, least "
        f"{min(ratios['standard']):.1f}. Cases in which `standard` leaves more images than AutoAttack: "
        f"{', '.join(weaker) or 'none'}.\n"
        + (f"\nAutoAttack was run in an earlier process: {', '.join(older)}.\n" if older else "")
        + (f"\nAttacks of AutoAttack were run in several processes: {', '.join(pieces)}.\n" if pieces else "")
        + (f"\nNot measured since `standard` changed: {', '.join(missing)}.\n" if missing else "")
        + (f"{_FORM}{faster}\nMedian ratio with the form: {median(ratios['fast']):.1f}.\n" if faster else "")
    )


def _form_row(name: str, entry: dict[str, Any]) -> str:
    if "fast" not in entry:
        return ""
    columns = ("autoattack", "standard", "fast")
    robust = " | ".join(_accuracy(entry, column) for column in columns)
    taken = " | ".join(f"{entry[column]['seconds']:.1f}" for column in columns)
    model, _, norm = name.rpartition(" ")
    return f"| {model} | {norm} | {entry['fast']['form']} | {robust} | {taken} | {_ratio(entry, 'fast'):.1f} |\n"


def _ratio(entry: dict[str, Any], name: str) -> float:
    """AutoAttack's seconds as a multiple of ours."""
    ratio: float = entry["autoattack"]["seconds"] / entry[name]["seconds"]
    return ratio


if __name__ == "__main__":
    main()

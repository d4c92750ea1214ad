"""Runs that stop when they are decided, drawn anew from complete ones: `python -m tests.peers.anytime`.

Each network is run to its end once; then its images are put into a thousand random orders, and each is looked at as
such a run looks at them. Real runs that stop are compared with the complete one, image by image.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from tests.peers.commands import processor

REPORT = Path(__file__).parents[2] / "reports" / "peers"
IMAGES, DRAWS, ALPHA, WIDTH = 1000, 1000, 0.05, 2.0
BATCH = 250
"""Images that a run of a small network attacks together; the looks depend on it."""
DISTANCES = (1, 2, 5, 10)
"""Percentage points between a gate and the robust accuracy of the complete run."""
QUICK = {"fgsm": {"name": "fgsm"}, "pgd, 10 steps": {"name": "pgd", "params": {"steps": 10}}}
"""The attacks that every image gets."""


class Network(NamedTuple):
    norm: str
    eps: float


NETWORKS = {
    "mnist-mlp-clean": Network("linf", 0.05),
    "mnist-kw-linf0.1": Network("linf", 0.1),
    "cifar10-kw-linf8": Network("linf", 8 / 255),
    "mnist-conv-small-clean": Network("linf", 0.1),
    "mnist-cnn-a-adv": Network("linf", 0.3),
    "cifar10-cnn-a-adv": Network("linf", 2 / 255),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.anytime", description=__doc__)
    parser.add_argument("--networks", nargs="+", metavar="NETWORK", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--complete", action="store_true", help="do the complete runs alone, and the rest later")
    parser.add_argument("--again", action="store_true", help="run anew what is there already")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=REPORT)
    options = parser.parse_args()
    path = options.out / "anytime.json"
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"networks": {}}
    for name in options.networks:
        known = results["networks"].get(name, {})
        if options.again or "complete" not in known:
            known = {"complete": _complete(name, options.images)}
            _save(results, name, known, path)
        if options.complete:
            continue
        if "real" not in known:
            quick = [*QUICK][-1]
            known["real"] = {quick: _real(name, options.images, known["complete"], quick)}
        if known.get("draws") != options.draws:
            known |= {"drawn": {quick: drawn(known["complete"], quick, options.draws) for quick in QUICK}}
            known["draws"] = options.draws
        print(name, known["real"], known["drawn"], file=sys.stderr, flush=True)
        results |= {"processor": processor(), "draws": options.draws}
        _save(results, name, known, path)
        (options.out / "anytime.md").write_text(page(results), encoding="utf-8")


def _save(results: dict[str, Any], name: str, known: dict[str, Any], path: Path) -> None:
    """Keep what is there, so that the rest can be done later."""
    results["networks"][name] = known
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, separators=(",", ":")) + "\n", encoding="utf-8")


def _run(name: str, images: int, attacks: Sequence[Any], folder: Path, **more: Any) -> Any:
    """A run of one network, with its rows."""
    import advbench
    from tests.peers.proofs import _target

    model, x, y = _target(name, images)
    numbers = tuple(map(str, range(images)))
    data = advbench.Dataset(name="first", images=numbers, labels=tuple(y.tolist()), read=x.__getitem__)
    norm, eps = NETWORKS[name]
    suite = {
        "name": "anytime", "models": name, "datasets": "first", "attacks": attacks, "norms": norm, "eps": {norm: eps},
        "noise": False, "save": "none", "precise": True,
    }  # fmt: skip
    return advbench.run(suite | more, out=folder, models={name: model}, datasets={"first": data})


def _complete(name: str, images: int) -> dict[str, Any]:
    """For each image whether it is right when clean, what each attack made of it, and how many passes that took."""
    # in large batches, since a small network takes as long for a few images as for many
    with tempfile.TemporaryDirectory() as folder, patch("advbench.planning.plan.batch_size", lambda *_: 1000):
        done = _run(name, images, [*QUICK.values(), "standard"], Path(folder))
    frame = done.frame
    found: dict[str, Any] = {"images": list(dict.fromkeys(frame["sample_id"]))}
    for label, attack in zip((*QUICK, "standard"), ("fgsm", "pgd", "standard"), strict=True):
        rows = frame[frame["attack"] == attack].set_index("sample_id").loc[found["images"]]
        wrong = (rows["label"] != rows["clean_class"]).to_numpy(bool)
        assert (rows["status"] == "ok").all()
        found[label] = {
            "stands": "".join("1" if each else "0" for each in ~(wrong | rows["met"].to_numpy(bool))),
            "passes": [int(each) for each in rows["forwards"] + rows["backwards"]],
        }
    return found


class Known(NamedTuple):
    """What a complete run says of each image, with a quick attack before `standard`."""

    quick: np.ndarray
    robust: np.ndarray
    before: float
    """Passes of the quick attack on all images."""
    passes: np.ndarray
    """Passes of `standard`."""

    @classmethod
    def of(cls, complete: Mapping[str, Any], quick: str) -> "Known":
        stands, last = (np.array([*complete[each]["stands"]]) == "1" for each in (quick, "standard"))
        return cls(stands, stands & last, sum(complete[quick]["passes"]), np.array(complete["standard"]["passes"]))

    def cost(self, order: np.ndarray, seen: int) -> float:
        """Passes of a run that stopped there, relative to `standard` on every image."""
        return float((self.before + self.passes[order[:seen]].sum()) / self.passes.sum())


def drawn(complete: Mapping[str, Any], quick: str, draws: int) -> dict[str, Any]:
    """How often the bounds hold in random orders, and after how many images gates and a width are decided."""
    known = Known.of(complete, quick)
    truth, generator = known.robust.mean(), np.random.default_rng(0)
    gates = [float(truth + way * points / 100) for points in DISTANCES for way in (-1, 1)]
    gates = [gate for gate in gates if 0 < gate < 1]
    held, seen, costs, wrong = 0, list[int](), list[float](), 0
    decided: dict[float, list[float]] = {gate: [] for gate in gates}
    mistakes = dict.fromkeys(gates, 0)
    for _ in range(draws):
        order = generator.permutation(len(known.quick))
        path = list(bounds(known, order))
        held += all(low <= truth <= high for _, low, high in path)
        stop, low, high = next(each for each in path if 100 * (each[2] - each[1]) <= WIDTH)
        seen.append(stop)
        costs.append(known.cost(order, stop))
        wrong += not low <= truth <= high
        for gate in gates:
            stop, low, _ = next(each for each in path if each[1] >= gate or each[2] < gate)
            decided[gate].append(known.cost(order, stop))
            mistakes[gate] += (low >= gate) != (truth >= gate)
    return {
        "robust": float(truth),
        "quick": float(known.quick.mean()),
        "quick_cost": known.cost(np.arange(0), 0),
        "held": held / draws,
        "width": {"images": median(seen), "cost": median(costs), "held": 1 - wrong / draws},
        "gates": {
            f"{100 * (gate - truth):+.0f}": {
                "cost": median(decided[gate]),
                "90 %": float(np.quantile(decided[gate], 0.9)),
                "wrong": mistakes[gate] / draws,
            }
            for gate in gates
        },
    }


def bounds(known: Known, order: np.ndarray) -> Iterator[tuple[int, float, float]]:
    """Images seen, and the bounds of robust accuracy, after each look of a run in this order."""
    from advbench.analysis.anytime.estimate import Look, narrowing
    from advbench.planning.units.looks import parts

    stops = np.cumsum(list(_sizes(len(order), parts)))
    stands, broken = known.quick[order].cumsum(), (known.quick & ~known.robust)[order].cumsum()
    looks = [Look(int(stop), int(stands[stop - 1]), int(broken[stop - 1]), 0) for stop in stops]
    ends = narrowing(looks, standing=int(known.quick.sum()), n=len(order), alpha=ALPHA)
    for look, (low, high) in zip(looks, ends, strict=True):
        yield look.seen, low, high


_SIZES: dict[int, list[int]] = {}


def _sizes(count: int, parts: Any) -> list[int]:
    """Number of images of each look."""
    if count not in _SIZES:
        found: dict[int, int] = {}
        for part in parts([str(number) for number in range(count)], 0, BATCH):
            found[part.look] = found.get(part.look, 0) + len(part.rows)
        _SIZES[count] = list(found.values())
    return _SIZES[count]


def _real(name: str, images: int, complete: Mapping[str, Any], quick: str) -> dict[str, Any]:
    """A run that stops, with a gate 5 points below what the complete one found; every verdict is compared."""
    known = Known.of(complete, quick)
    gates = {"min_robust_accuracy": float(known.robust.mean()) - 0.05}
    with tempfile.TemporaryDirectory() as folder:
        attacks = [QUICK[quick], "standard"]
        done = _run(name, images, attacks, Path(folder), stop="decided", gates=gates)
    rows = done.frame[done.frame["attack"] == "standard"]
    places = {image: place for place, image in enumerate(complete["images"])}
    where = np.array([places[image] for image in rows["sample_id"]])
    stands = ~rows["met"].to_numpy(bool) & (rows["label"] == rows["clean_class"]).to_numpy(bool)
    worst = done.analysis.cells[0].robust
    before = np.array([*complete["standard"]["stands"]]) == "1"
    cost = sum(float((done.frame[each]).sum()) for each in ("forwards", "backwards"))
    return {
        "gate": gates["min_robust_accuracy"],
        "said": str(worst),
        "passed": bool(worst.low >= gates["min_robust_accuracy"]),
        "seen": len(rows),
        "cost": cost / float(known.passes.sum()),
        "other verdicts": int((stands != before[where]).sum()),
    }


_HEAD = """# Runs that stop when they are decided

Made by `python -m tests.peers.anytime`; the numbers are in `anytime.json`.

The first {images:,} test images, wrong ones included. Each network was run to its end once: a quick attack, then
`standard`. Then its images were put into {draws:,} random orders, and the bounds computed at each look of a run that
stops (alpha 0.05). **Held**: the share of orders in which the bounds contain the robust accuracy of the complete run at
*every* look, from the first one to the last image. **Cost**: passes, forward and backward, of the quick attack on all
images and of `standard` on the part, relative to `standard` on all images; medians over the orders. Measured on
{processor}.

## Coverage, and the cost of a width of {width:g} points

| Network | Norm | eps | Quick attack | leaves | Robust | Its cost | Held | Images to ±{half:g} | Cost |
|---|---|--:|---|--:|--:|--:|--:|--:|--:|
"""
_GATES = """
## The cost of a gate, by its distance from the robust accuracy

Below the robust accuracy the gate holds (-), above it fails (+). **Wrong**: the largest share of orders, over all
gates of the row, that were decided the wrong way; at most 5 % is promised.

"""
_REAL = """
## Real runs

Each network run once more with `stop = "decided"` and a gate 5 points below its robust accuracy. **Other verdicts**:
images of which `standard` said something else than in the complete run; sums are rounded differently in batches of
another size.

| Network | Quick attack | Robust accuracy | Gate | Cost | Other verdicts |
|---|---|---|--:|--:|--:|
"""


def page(results: Mapping[str, Any]) -> str:
    networks = {name: network for name, network in results["networks"].items() if "drawn" in network}
    images = max(len(each["complete"]["images"]) for each in networks.values())
    head = _HEAD.format(
        images=images, draws=results["draws"], processor=results["processor"], width=WIDTH, half=WIDTH / 2
    )
    every = [(name, quick, net["drawn"][quick]) for name, net in networks.items() for quick in QUICK]
    lines = [head.rstrip("\n")]
    for name, quick, found in every:
        norm, eps = NETWORKS[name]
        width = found["width"]
        lines.append(
            f"| {name} | {norm} | {eps:.4f} | {quick} | {found['quick']:.1%} | {found['robust']:.1%} | "
            f"{_times(found['quick_cost'])} | {found['held']:.1%} | {width['images']:,.0f} | {_times(width['cost'])} |"
        )
    signs = [f"{sign}{points}" for points in reversed(DISTANCES) for sign in "-"]
    signs += [f"+{points}" for points in DISTANCES]
    lines += [_GATES.rstrip("\n"), "", f"| Network | Quick attack | {' | '.join(signs)} | Wrong |"]
    lines.append(f"|---|---|{'--:|' * (len(signs) + 1)}")
    for name, quick, found in every:
        cells = [_times(found["gates"][sign]["cost"]) if sign in found["gates"] else "" for sign in signs]
        wrong = max(each["wrong"] for each in found["gates"].values())
        lines.append(f"| {name} | {quick} | {' | '.join(cells)} | {wrong:.1%} |")
    lines.append(_REAL.rstrip("\n"))
    for name, net in networks.items():
        for quick, real in net["real"].items():
            verdict = "passed" if real["passed"] else "open"
            lines.append(
                f"| {name} | {quick} | {real['said']} | {real['gate']:.1%}, {verdict} | {_times(real['cost'])} | "
                f"{real['other verdicts']} of {real['seen']:,} |"
            )
    return "\n".join(lines) + "\n"


def _times(cost: float) -> str:
    return f"1/{1 / cost:.0f}" if cost < 0.095 else f"{cost:.2f}"


if __name__ == "__main__":
    main()

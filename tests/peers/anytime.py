"""Runs that stop once they are decided, resampled from complete runs: `python -m tests.peers.anytime`.

The outcome of `standard` on each image, and its passes, are read from the published `standard.json`; two quick attacks
are run on the same images. Then the images are put into a thousand random orders, and each order is evaluated as by a
run that stops early.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from tests.peers.machine import processor
from tests.peers.report import PEERS, Report, add_shared, parser_for, say

DRAWS, ALPHA, WIDTH = 1000, 0.05, 2.0
LARGE = 10_000
"""Size of the data set drawn, with replacement, from the images of a network."""
BATCH = 250
"""Batch size of a run on a small network, on which the looks depend."""
DISTANCES = (1, 2, 5, 10)
"""Percentage points between a gate and the robust accuracy of the complete run."""
QUICK = ("fgsm", "pgd, 10 steps")
CASES = (
    "mnist-cnn-a-adv linf",
    "mnist-kw-linf0.1 linf",
    "mnist-conv-small-clean linf",
    "mnist-mlp-clean l2",
    "cifar10-cnn-a-adv linf",
    "cifar10-cnn-a-mix linf",
    "cifar10-resnet2b-adv2 linf",
    "cifar10-kw-linf8 linf",
)
"""Entries of `standard.json`, each for a different network."""


def main() -> None:
    parser = parser_for("anytime", __doc__)
    parser.add_argument("--only", nargs="+", metavar="CASE", default=CASES, choices=CASES)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--again", action="store_true", help="run the quick attacks again")
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    complete = json.loads((PEERS / "standard.json").read_text(encoding="utf-8"))
    report = Report(options.out, "anytime", partial(page, complete=complete), indent=None)
    if options.page:
        report.rewrite_page()
        return
    results = {"cases": {}} | report.stored()
    for name in options.only:
        entry, known = complete[name], results["cases"].get(name, {})
        if options.again or "quick" not in known:
            known["quick"] = {quick: _quick(name.split()[0], entry, quick) for quick in QUICK}
        for quick in QUICK:
            few = Images.of(entry, known["quick"][quick])
            many = few.some(np.random.default_rng(0).integers(len(few.stands), size=LARGE))
            known[quick] = {"few": drawn(few, options.draws), "many": drawn(many, options.draws)}
            say(name, quick, known[quick]["many"])
        results["cases"][name] = known
        results |= {"processor": processor(), "draws": options.draws}
        report.save(results)


def _quick(network: str, entry: Mapping[str, Any], quick: str) -> dict[str, Any]:
    """The images that a quick attack leaves, and its passes for each image."""
    import torch

    import attacks
    from advbench.evaluation.judge import judge
    from advbench.evaluation.meter import Meter
    from tests.peers.standard import _target

    torch.set_num_threads(1)
    target, norm = _target(network, entry["images"]), attacks.NORMS[entry["norm"]]()
    goal = attacks.Untargeted(target.y)
    meter = Meter(target.model, goal.ids)
    attack = attacks.FGSM(norm=norm) if quick == "fgsm" else attacks.PGD(norm=norm, steps=10, relative_step=0.25)
    x_adv = attack(meter, target.x, goal, eps=entry["eps"])
    met = judge(target.model, target.x, x_adv, goal, norm, entry["eps"]).met
    return {
        "robust": (~met).nonzero().squeeze(1).tolist(),
        "passes": float((meter.forwards + meter.backwards).sum()),
    }


class Images(NamedTuple):
    """Outcome of a complete run for each image."""

    stands: np.ndarray
    """Which images survive the quick attack, bool (N,)."""
    robust: np.ndarray
    """Which images survive `standard` too, bool (N,)."""
    before: float
    """Passes of the quick attack on all images."""
    passes: np.ndarray
    """Passes of `standard` on each image (N,)."""

    @classmethod
    def of(cls, entry: Mapping[str, Any], quick: Mapping[str, Any]) -> "Images":
        stands, last = (np.isin(np.arange(entry["images"]), each["robust"]) for each in (quick, entry["standard"]))
        return cls(stands, stands & last, quick["passes"], np.array(entry["standard"]["passes"]))

    def some(self, rows: np.ndarray) -> "Images":
        """A data set of the images with these row numbers."""
        before = self.before * len(rows) / len(self.stands)
        return Images(self.stands[rows], self.robust[rows], before, self.passes[rows])

    def bounds(self, order: np.ndarray) -> Iterator[tuple[int, float, float]]:
        """Images seen, and the bounds of robust accuracy, after each look of a run in this order."""
        from advbench.analysis.anytime.estimate import Look, narrowing

        stands, broken = self.stands[order].cumsum(), (self.stands & ~self.robust)[order].cumsum()
        looks = [Look(stop, int(stands[stop - 1]), int(broken[stop - 1]), 0) for stop in _stops(len(order))]
        ends = narrowing(looks, standing=int(self.stands.sum()), n=len(order), alpha=ALPHA)
        for look, (low, high) in zip(looks, ends, strict=True):
            yield look.seen, low, high


def _stops(count: int, known: dict[int, list[int]] = {}) -> list[int]:  # noqa: B006 - to compute them once
    """Numbers of images seen at each look."""
    from advbench.planning.units.looks import parts

    if count not in known:
        sizes: dict[int, int] = {}
        for part in parts([str(number) for number in range(count)], 0, BATCH):
            sizes[part.look] = sizes.get(part.look, 0) + len(part.rows)
        known[count] = np.cumsum([*sizes.values()]).tolist()
    return known[count]


def drawn(images: Images, draws: int) -> dict[str, Any]:
    """How often the bounds hold in random orders, and the cost of deciding gates and of reaching the width."""
    truth, generator = images.robust.mean(), np.random.default_rng(1)
    gates = [float(truth + way * points / 100) for points in DISTANCES for way in (-1, 1)]
    gates = [gate for gate in gates if 0 < gate < 1]
    held, seen, costs = 0, list[int](), list[float]()
    decided: dict[float, list[float]] = {gate: [] for gate in gates}
    mistakes = dict.fromkeys(gates, 0)
    for _ in range(draws):
        order = generator.permutation(len(images.stands))
        path, spent = list(images.bounds(order)), images.passes[order].cumsum()
        held += all(low <= truth <= high for _, low, high in path)
        stop = next(stop for stop, low, high in path if 100 * (high - low) <= WIDTH)
        seen.append(stop)
        costs.append(float((images.before + spent[stop - 1]) / spent[-1]))
        for gate in gates:
            stop, low = next((stop, low) for stop, low, high in path if low >= gate or high < gate)
            decided[gate].append(float((images.before + spent[stop - 1]) / spent[-1]))
            mistakes[gate] += bool((low >= gate) != (truth >= gate))
    return {
        "images": len(images.stands),
        "robust": float(truth),
        "quick": float(images.stands.mean()),
        "quick cost": float(images.before / images.passes.sum()),
        "held": held / draws,
        "width": {"images": median(seen), "cost": median(costs)},
        "gates": {
            f"{100 * (gate - truth):+.0f}": {"cost": median(decided[gate]), "wrong": mistakes[gate] / draws}
            for gate in gates
        },
    }


_HEAD = """# Runs that stop once they are decided

Made by `python -m tests.peers.anytime`; the numbers are in `anytime.json`.

The outcome of `standard` on each test image, including misclassified ones, and its passes are taken from
[`standard`](standard.md); a quick attack was run on the same images. They are used as two data sets: as they are, and
as {large:,} images drawn from them with replacement. Each data set was put into {draws:,} random orders, and the bounds
were computed at each look of a run that stops, with alpha 0.05. **Held** is the share of orders in which the bounds
contain the robust accuracy of the complete run at *every* look, from the first one to the last image; 95 % is promised.
**Cost** is the passes, forward and backward, of the quick attack on all images and of `standard` on the images seen,
relative to `standard` on all images: the median over the orders. On small networks, fewer passes save less time: a
small batch takes nearly as long as a large one. The steps of `pgd` are a quarter of eps long. Measured on {processor}.

## Coverage, and the cost of an interval of {width:g} points

The columns Images and Cost are for the {large:,} images.

| Network | Norm | eps | Quick attack | leaves | Robust | Its cost | Held, first | Held, {large:,} | Images | Cost |
|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|
"""
_GATES = """
## The cost of a gate, by its distance from robust accuracy

This table is for the {large:,} images. A gate below robust accuracy passes (-), one above it fails (+). **Wrong** is
the largest share of orders, over all gates of the row and both data sets, in which the gate was decided wrongly; at
most 5 % is promised.

"""


def page(results: Mapping[str, Any], complete: Mapping[str, Any]) -> str:
    """The page, in Markdown."""
    told = {"large": LARGE, "draws": results["draws"], "processor": results["processor"], "width": WIDTH}
    every = [(name, quick, known[quick]) for name, known in results["cases"].items() for quick in QUICK]
    lines = [_HEAD.format(**told).rstrip("\n")]
    for name, quick, found in every:
        few, many, entry = found["few"], found["many"], complete[name]
        lines.append(
            f"| {name.split()[0]} | {entry['norm']} | {entry['eps']:.4f} | {quick} | {few['quick']:.1%} | "
            f"{few['robust']:.1%} | {_share(many['quick cost'])} | {few['held']:.1%} of {few['images']} | "
            f"{many['held']:.1%} | {many['width']['images']:,.0f} | {_share(many['width']['cost'])} |"
        )
    signs = [*(f"-{points}" for points in reversed(DISTANCES)), *(f"+{points}" for points in DISTANCES)]
    lines += [_GATES.format(**told).rstrip("\n"), "", f"| Network | Quick attack | {' | '.join(signs)} | Wrong |"]
    lines.append(f"|---|---|{'--:|' * (len(signs) + 1)}")
    for name, quick, found in every:
        gates = found["many"]["gates"]
        cells = [_share(gates[sign]["cost"]) if sign in gates else "" for sign in signs]
        wrong = max(each["wrong"] for part in found.values() for each in part["gates"].values())
        lines.append(f"| {name.split()[0]} | {quick} | {' | '.join(cells)} | {wrong:.1%} |")
    return "\n".join(lines) + "\n"


def _share(cost: float) -> str:
    return f"1/{1 / cost:.0f}" if cost < 0.095 else f"{cost:.2f}"


if __name__ == "__main__":
    main()

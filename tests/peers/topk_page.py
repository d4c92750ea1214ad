"""The page `reports/topk/README.md` and its curves, generated from `results.json`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

OURS = "TopK"
Record = Mapping[str, Any]

_HEAD = """# Top-k exclusion

Made by `python -m tests.peers.topk --ordered --curve --limit`; the sizes for each image are in `results.json`.

The goal is that none of the original top k classes is in the top k afterwards. Every attack gets the same images and
the same number of gradients for each; attacks without gradients get twice as many forward passes. **Met** says on how
many images the attack reached the goal, by a fresh forward pass. **Median** is the median over the images of the
smallest size found (for Linf, in steps of 1/255). **Ours / theirs** is the geometric mean of the ratio of the sizes,
over the images on which both met the goal: below 1, ours are smaller.

**TopK, every set** follows each set of classes that could rise separately, and keeps the nearest result. This is about
the smallest size that can be found, so the other medians show how much any attack could still gain.
"""

_ORDERED_HEAD = """
## Ordered top-k

This follows the protocol of the papers on ordered targets: k random classes, in a random order, have to be the top k;
five such orders per image. For each image, **best** takes the order that needed the smallest change, and **worst** the
one that needed the largest, which counts as reached if all five were. Each column says how often the order was reached,
and the mean L2 where it was.

| Network | Attack | k | Gradients | Best | Mean | Worst |
|---|---|--:|--:|--:|--:|--:|
"""

_FOOT = """
## What was tried and did not help

On the networks for CIFAR-10, with k = 3 and 100 gradients; sizes are compared with those of the attack as it is:

- The smooth margin of the goal itself, which raises the k highest classes outside the top k at every step: 2 to 4 %
  larger. Keeping the k classes that are next in line at the clean image to the end: up to 10 % larger.
- Short steps, at first half of the perturbation's length, and a radius that changes by 5 %: 1 to 3 % larger; 3 to 7 %
  on EfficientNet-Lite0 and SqueezeNet (16 photographs that are not in the table), up to 20 % in L0.
- No choice of sets: 1 % larger. Races that stop before the end of their cosine schedule: sometimes the wrong set wins,
  and sizes on single images are up to 20 % larger. More and shorter races: the same.
- Choosing sets by the model's gradients at the boundary instead of at the clean image: no difference there, up to 4 %
  larger on nearly linear networks, where the descent has already settled on other classes by then.
- Choosing sets by a race even where there are a thousand classes: 1 % larger on SqueezeNet and 4 % on
  EfficientNet-Lite0 at 300 gradients (L2; 8 and 16 photographs, also not in the table), 16 % on the latter at 100. The
  choice is therefore skipped there.
- Cutting planes through the last gradients, and the nearest point of their polytope: this oscillates.
- No multipliers, or no momentum: half a per cent larger each.
- For whole orders: using only the gaps between neighbours (the gradients of a class in the middle cancel), multipliers
  that move before a fooling image is known, and long steps: up to ten times as large.
- Walking on the sphere as DDN does, instead of inside the ball: no difference.
"""


def page(results: Mapping[str, Record], folder: Path) -> str:
    """The page; the curves are drawn into the folder that it will be in."""
    records = list(results.values())
    text = _HEAD
    for net in dict.fromkeys(record["net"] for record in records):
        for norm in ("linf", "l2"):
            rows = [r for r in records if r["net"] == net and r.get("norm") == norm]
            text += "".join(_tables(net, norm, rows))
    text += "".join(_orders([record for record in records if "seeds" in record]))
    if _curves(records, folder / "norm-against-k.png"):
        text += "\n## Norm against k\n\n300 gradients.\n\n![Norm against k](norm-against-k.png)\n"
    return text + _panels(folder) + _FOOT


def _panels(folder: Path) -> str:
    """Section with the panels that `advbench attack` drew, whose files are named by their k."""
    paths = sorted(folder.glob("panel-*.png"), key=lambda path: int(path.stem.removeprefix("panel-")))
    if not paths:
        return ""
    shown = "".join(f"\n![k = {path.stem.removeprefix('panel-')}]({path.name})\n" for path in paths)
    told = "EfficientNet-Lite0, by `advbench attack --k K` on a photograph that ships with Foolbox."
    return f"\n## Panels\n\n{told}\n{shown}"


def _tables(net: str, norm: str, rows: Sequence[Record]) -> list[str]:
    parts = []
    ks = list(dict.fromkeys(row["k"] for row in rows))
    for k in ks:
        chosen = [row for row in rows if row["k"] == k]
        if len(ks) > 1 and len({row["attack"] for row in chosen}) < 3:  # only measured for the curves
            continue
        parts.append(f"\n## {net}, k = {k}, {'Linf' if norm == 'linf' else 'L2'}\n\n")
        parts.append("| Attack | Gradients | Met | Median | Ours / theirs | Forward | Backward | Seconds |\n")
        parts.append("|---|--:|--:|--:|--:|--:|--:|--:|\n")
        for gradients in sorted({row["gradients"] for row in chosen}):
            group = [row for row in chosen if row["gradients"] == gradients]
            ours = next((row for row in group if row["attack"] == OURS), None)
            parts += [_row(row, ours) for row in group]
    return parts


def _orders(records: Sequence[Record]) -> list[str]:
    """Table of five random orders per image: how often the order was reached, and the mean L2 where it was."""
    if not records:
        return []
    parts = [_ORDERED_HEAD]
    for record in records:
        sizes = list(zip(*(found["sizes"] for found in record["seeds"]), strict=True))
        every = [size for image in sizes for size in image]
        best = [min((s for s in image if s is not None), default=None) for image in sizes]
        worst = [None if None in image else max(image) for image in sizes]
        cells = " | ".join(_reached(chosen) for chosen in (best, every, worst))
        parts.append(f"| {record['net']} | {record['attack']} | {record['k']} | {record['gradients']:,} | {cells} |\n")
    return parts


def _reached(sizes: Sequence[float | None]) -> str:
    known = [size for size in sizes if size is not None]
    return f"{len(known) / len(sizes):.0%}, {fmean(known):.3f}" if known else "0 %"


def _row(row: Record, ours: Record | None) -> str:
    scale, digits = (255, 3) if row["norm"] == "linf" else (1, 4)
    middle = "-" if row["median"] is None else f"{row['median'] * scale:.{digits}f}"
    ratio = None if ours in (None, row) else ratio_of(ours["sizes"], row["sizes"])
    beside = "" if ratio is None else f"{ratio:.2f}"
    return (
        f"| {row['attack']} | {row['gradients']:,} | {row['met']} of {row['images']} | {middle} | {beside} "
        f"| {row['forwards']:,.0f} | {row['backwards']:,.0f} | {row['seconds']:.0f} |\n"
    )


def ratio_of(ours: Sequence[float | None], theirs: Sequence[float | None]) -> float | None:
    """Geometric mean of the ratios of sizes, over the images where both have one.

    Example:
        >>> ratio_of([1.0, 1.0, None], [2.0, 2.0, 1.0])
        0.5
    """
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True) if a and b]
    return math.exp(fmean(logs)) if logs else None


def _curves(records: Sequence[Record], path: Path) -> bool:
    """Draw the median norm against k for our attack and FMN, one plot per network and norm; False: nothing to draw."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = [r for r in records if "norm" in r and r["gradients"] == 300 and r["attack"] in (OURS, "FMN, margin")]
    fields = [key for key in dict.fromkeys((r["net"], r["norm"]) for r in chosen) if len(_ks(chosen, key)) > 2]
    if not fields:
        return False
    nets = list(dict.fromkeys(net for net, _ in fields))
    figure, axes = pyplot.subplots(2, len(nets), figsize=(3.2 * len(nets), 5.6), squeeze=False, layout="constrained")
    for (row, norm), (column, net) in ((a, b) for a in enumerate(("linf", "l2")) for b in enumerate(nets)):
        axis = axes[row][column]
        for attack, style in ((OURS, "o-"), ("FMN, margin", "s--")):
            points = {r["k"]: r for r in chosen if (r["net"], r["norm"], r["attack"]) == (net, norm, attack)}
            ks = sorted(points)
            scale = 255 if norm == "linf" else 1
            axis.plot(ks, [_middle(points, k) * scale for k in ks], style, label=attack, markersize=4)
        axis.set_title(net, fontsize=9)
        axis.set_xlabel("k")
        axis.set_ylabel("median Linf, 1/255" if norm == "linf" else "median L2")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def _ks(records: Sequence[Record], key: tuple[str, str]) -> set[int]:
    return {r["k"] for r in records if (r["net"], r["norm"]) == key}


def _middle(points: Mapping[int, Record], k: int) -> float:
    """Median over images of the smallest size for k or any larger k: what excludes more classes also excludes fewer."""
    sizes = [points[other]["sizes"] for other in points if other >= k]
    least = [min((s for s in image if s is not None), default=math.inf) for image in zip(*sizes, strict=True)]
    return median(least)

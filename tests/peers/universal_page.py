"""The page `reports/universal/README.md` and its curve, generated from `results.json`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from advbench.analysis.statistics import Proportion
from tests.peers.universal_methods import METHODS, OF_THE_ATTACK, OURS, VERSION

Record = Mapping[str, Any]

_HEAD = """# Universal perturbations

Made by `python -m tests.peers.universal`, and `--transfer` for the second table; the numbers are in `results.json`.

One perturbation for all images, fitted to some images and measured on others. **Fooled** is the fooling rate: how often
the predicted class differs from that of the clean image, with a 95 % interval. The table also shows the class that most
perturbed images end in. No perturbation was fitted to an image it is measured on, but some design choices were made
with these images in view: the loss (on the photographs), and which images are mirrored and that perturbations are
scaled to fill the budget (on all images). How views are weakened was chosen on two other networks with the same
photographs, after a version that weakened all views had lost on some rows of this table. So the rates may be slightly
flattering. The CIFAR-10 images are from the training set. Perturbations are in whole steps of 1/255, except ART's.

**UniversalPerturbation** is the attack with its defaults, except for the number of steps, which is given in the rows.
**Random pictures**: fitted to smooth random colours, so it has seen no photograph. **ART's images**: fitted to as few
images as ART's, and once with a quarter of the steps. **UAP-SGD**: signs of the gradient of the log-probability of the
top class, without views or momentum, for the same number of steps. **UniversalDeepFool**: the original algorithm, one
pass. ART's, also one pass, is given fewer images because each one is so expensive. **Seconds** are processor time on a
machine with other work; compare only their ratios.

"""
_OLDER = """Rows marked with * were measured with an earlier version, which gave every view the whole perturbation.

"""


_LIMIT = """## What limits it

[Fits that each change one thing](limits.md): the number of images, the loss, the target class, the number of gradients,
and the share of the perturbation that views get.
"""


def page(results: Record, folder: Path) -> str:
    """The page; the curve is drawn into the folder that it will be in."""
    every = list(results["rates"].values())
    rates = [row for row in every if not row.get("split")]
    lines = ["| Model | Linf eps | Method | Images | Fooled | Interval, % | Most frequent class | Seconds |"]
    lines += ["|---|--:|---|--:|--:|--:|--:|--:|"]
    nets = list(dict.fromkeys(row["net"] for row in rates))
    lines += [_row(row) for row in sorted(rates, key=lambda row: (nets.index(row["net"]), *_place(row)))]
    if _curve(rates, folder / "rate-against-eps.png"):
        lines += ["", "## Smaller budgets", "", "![Fooling rate against eps](rate-against-eps.png)"]
    lines += _splits(every, nets)
    lines += _transfer(results["transfer"], results["transfer_version"])
    lines += ["", *_LIMIT.splitlines()]
    kept = [net for net in nets if (folder / f"{net}.png").exists()]
    pictures = [f"![Scaled perturbation]({net}.png) *{net}*" for net in kept]
    older = _OLDER if any(map(_is_older, rates)) else ""
    return _HEAD + older + "\n".join([*lines, "", "## What they look like", "", *pictures]) + "\n"


def _splits(rows: Sequence[Record], nets: Sequence[str]) -> list[str]:
    """The table of fooling rates over several splits of the photographs; empty if there is only one."""
    found: dict[tuple[str, float, str], dict[int, float]] = {}
    for row in sorted(rows, key=lambda row: (nets.index(row["net"]), *_place(row))):
        rate = row["changed"] / row["images"]
        found.setdefault((row["net"], row["eps"], row["method"]), {})[row.get("split", 0)] = rate
    several = {case: splits for case, splits in found.items() if len(splits) > 1}
    if not several:
        return []
    one = next(row for row in rows if row.get("split"))
    told = f"Several splits of the photographs into {one['fitted']} to fit to and {one['images']} to measure on."
    count = 1 + max(max(splits) for splits in several.values())
    lines = ["", "## Other splits", "", told, ""]
    lines += [f"| Model | Linf eps | Method | {' | '.join(f'Split {k}' for k in range(count))} | Mean |"]
    lines += [f"|---|--:|---|{'--:|' * (count + 1)}"]
    for (net, eps, method), splits in several.items():
        shares = [f"{splits[k]:.1%}" if k in splits else "" for k in range(count)]
        lines.append(f"| {net} | {_shown(eps)} | {method} | {' | '.join(shares)} | {fmean(splits.values()):.1%} |")
    return lines


def _transfer(table: Record, version: int) -> list[str]:
    """The second table; empty if it was not measured."""
    if not table:
        return []
    columns = list(table)
    told = "Fooling rates of perturbations fitted to the row's model, on the column's model."
    told += "" if version == VERSION else " All of them are from the earlier version."
    lines = ["", "## Transfer", "", told, ""]
    lines += [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    for source, found in table.items():
        cells = [f"{found[c]['changed'] / found[c]['images']:.1%}" if c in found else "" for c in columns]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    return lines


def _place(row: Record) -> tuple[float, int]:
    """Sort key within a network: large budgets first, then the order of the methods."""
    return -row["eps"], list(METHODS).index(row["method"])


def _row(row: Record) -> str:
    share = Proportion(row["changed"], row["images"])
    most = f"{row['classes'][0][0]}: {row['classes'][0][1] / row['images']:.0%}"
    name = row["method"].removesuffix(", a quarter of the steps")
    method = f"{name}, {row['steps']} steps of {row['batch']}" if "steps" in row else name
    method += " *" if _is_older(row) else ""
    fooled = f"{share.percent} ({share.counts})"
    cells = (row["net"], _shown(row["eps"]), method, str(row["fitted"]), fooled, share.interval, most)
    return f"| {' | '.join(cells)} | {row['seconds']:.1f} |"


def _is_older(row: Record) -> bool:
    return row["method"] in OF_THE_ATTACK and row.get("version") != VERSION


def _shown(eps: float) -> str:
    return f"{eps:g}" if round(eps, 2) == eps else f"{eps * 255:g}/255"


def _curve(rates: Sequence[Record], path: Path) -> bool:
    """Draw the fooling rate against eps, for the networks with more than two budgets; False: there are none."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ours = [row for row in rates if row["method"] == OURS]
    nets = [net for net in dict.fromkeys(row["net"] for row in ours) if sum(row["net"] == net for row in ours) > 2]
    if not nets:
        return False
    figure, axis = pyplot.subplots(figsize=(5.2, 3.6), layout="constrained")
    for net in nets:
        rows = sorted((row for row in ours if row["net"] == net), key=lambda row: row["eps"])
        shares = [100 * row["changed"] / row["images"] for row in rows]
        axis.plot([row["eps"] * 255 for row in rows], shares, "o-", label=net)
    axis.set_xlabel("Linf eps, 1/255")
    axis.set_ylabel("fooled, %")
    axis.set_ylim(0, 100)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
